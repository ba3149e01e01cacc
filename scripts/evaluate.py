"""How good is a trained captioner? python -m scripts.evaluate --checkpoint runs/sample/model [--split val]

Captions every image of a split once and measures: perplexity of the true captions, BLEU, ROUGE-L and CIDEr-D with 95 %
intervals, what the captions are like, what they name that is not there, whether attention looks at what they name.
Several checkpoints caption together, as an ensemble. Beside the (first) checkpoint it leaves `captions-<split>.json`
(COCO's results format), `scores-<split>.json` and `captions-<split>.html`: the best, the worst, and some by chance.

`--results FILE` measures captions in COCO's format, whoever made them; `--against FILE` tells whether the difference to
other captions of the same images means anything.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from data_loader import Transform, get_loader
from dataset import files
from dataset.loading import load_records
from dataset.records import Record
from decoding.beam import beam
from decoding.consensus import Consensus
from decoding.ensemble import Ensemble
from decoding.search import Hypothesis, decode, greedy, sample
from evaluation import metrics, official, results
from evaluation.grounding import grounding
from evaluation.hallucination import hallucination
from evaluation.truth import count_accuracy, relation_accuracy, truthfulness
from models import checkpoint
from models.devices import best_device, best_precision
from scripts.page import captions_page
from scripts.train import count, home_of, part_of, pictures, records_of
from training import config
from training.features import fingerprint
from training.loop import evaluate
from vocabulary import SPECIALS, Vocabulary, tokenize

Captions = dict[int | str, str]
Words = dict[int | str, list[str]]


def main(arguments: Sequence[str] | None = None) -> dict:
    """Reads the command line, captions, measures, prints and writes; returns the scores."""
    options = parse(arguments)
    part = options.limit is not None  # then files may caption more images than are measured
    if options.results:
        scores, stem = {}, Path(options.results).with_suffix("")
        records = load_records(options.dataset, options.split)[: options.limit]
        captions = results.load(options.results, (record.image_id for record in records), more=part)
        words = metrics.tokenized(captions)
    else:
        stem = Path(options.out or options.checkpoint[0]) / f"captions-{options.split}"
        scores, captions, words, records = say(options, Path(f"{stem}.json"))
    references = metrics.tokenized_references({record.image_id: record.captions for record in records})
    measured = metrics.statistics(words, references)
    with_margins = metrics.bootstrap(measured)
    scores |= {name: score.value for name, score in with_margins.items()} | about_objects(words, references, records)
    for name in official.DATA if options.java else ():
        outcome = official.java_score(name, words, references, seconds=options.java)
        if isinstance(outcome, str):
            print(outcome)
        else:
            with_margins[name], scores[name] = outcome, outcome.value
    for name, value in scores.items():
        margin = f" ± {with_margins[name].margin:.3f}" if name in with_margins else ""
        print(f"{name:22} {value:.3f}{margin}" if isinstance(value, float) else f"{name:22} {value}")
    if options.against:
        others = metrics.tokenized(results.load(options.against, captions, more=part))
        other = metrics.statistics(others, references)
        print(f"against {options.against}:")
        for name, difference in metrics.bootstrap(measured, other).items():
            print(" ", metrics.describe_difference(name, difference))
    scores |= {"margins": {name: score.margin for name, score in with_margins.items()}}
    name = f"{stem.name}-scores.json" if options.results else f"scores-{options.split}.json"
    files.write(stem.with_name(name), json.dumps(scores, indent=1))
    by_image = dict(zip(measured.ids, measured.cider.tolist(), strict=True))
    page = f"{stem}.html"  # not with_suffix: what follows a dot in the name belongs to it
    files.write(page, captions_page(records, captions, by_image))
    print(f"captions with their pictures: {page}")
    return scores


def say(options: argparse.Namespace, file: Path) -> tuple[dict, Captions, Words, list[Record]]:
    """Caption the split with the model, or the ensemble; what only a model can be asked is measured here.

    The captions are in `file` as soon as they are said: nothing that fails later can lose them.
    """
    device = best_device(options.device)
    loaded = [checkpoint.load(folder, device) for folder in options.checkpoint]
    vocabulary = loaded[0].vocabulary
    settings = [one.metadata.get("settings", {}) | {"limit": one.metadata.get("limit")} for one in loaded]
    if any(other.vocabulary.words != vocabulary.words for other in loaded):
        raise ValueError("these checkpoints do not know the same words: no ensemble")
    model = loaded[0].model if len(loaded) == 1 else Ensemble([one.model for one in loaded]).eval()
    first = settings[0]
    dataset = options.dataset or first.get("dataset", "sample")
    if options.split == "held-out":
        if not first.get("hold_out"):
            raise ValueError(f"{options.checkpoint[0]} was trained with nothing held out: --split val or test")
        if any(parted(other, dataset) != parted(first, dataset) for other in settings):
            raise ValueError("these checkpoints held out different pictures: give one alone, or --split val or test")
        held = {record.image_id for record in records_of(parted(first, dataset))[1]}
        records = [record for record in load_records(dataset, "train") if record.image_id in held]
    else:
        records = load_records(dataset, options.split)
    records = records[: options.limit]
    longest = first.get("caption_words", 20)
    part = options.limit is not None or options.split == "held-out"
    served = seen_by([one.model.encoder for one in loaded], records, dataset, device, part)
    loader = get_loader(records, vocabulary, **served, max_words=longest, shuffle=False, broken="stop")
    search, how = search_of(options)
    if options.consensus:
        search = among_neighbours(model, loaded, first, records, options)
    scores = {"images": len(records), "perplexity": evaluate(model, loader, device, best_precision(device))}
    said = decode(model, loader, search, max_length=options.max_length or longest + 1, **how)
    captions = {image: vocabulary.decode(hypothesis.ids) for image, hypothesis in said.items()}
    results.save(file, captions)
    words = metrics.tokenized(captions)
    learned = [tokenize(caption) for of_one in settings for caption in learned_by(of_one, dataset)]
    scores |= {"unfinished": sum(not hypothesis.finished for hypothesis in said.values()) / len(said)}
    scores |= metrics.caption_statistics(words, vocabulary.words[len(SPECIALS) :], learned) | pointing(
        said, records, vocabulary
    )
    return scores, captions, words, records


def parted(settings: dict, dataset: str) -> config.Config:
    """What of a checkpoint's settings tells which pictures of a dataset it held out."""
    return config.Config(dataset=dataset, hold_out=settings.get("hold_out"), seed=settings.get("seed", 0))


def learned_by(settings: dict, dataset: str) -> list[str]:
    """The captions that a model of these settings learned from; none where they are of another dataset, or not here."""
    if Path(dataset) != Path(settings.get("dataset", "sample")):
        return []
    try:
        return [caption for record in learned_from(settings, dataset) for caption in record.captions]
    except (ValueError, OSError):  # the split that is measured may lie here alone
        return []


def learned_from(settings: dict, dataset: str) -> list[Record]:
    """The pictures of a dataset that a model of these settings learned from."""
    cfg = parted(settings, dataset)
    return part_of(records_of(cfg)[0][: settings.get("limit")], settings.get("subset"), cfg.seed)


def seen_by(encoders: list, records: list[Record], dataset: str, device: torch.device, part: bool) -> dict:
    """What a loader serves to all of these encoders: cached features if they are one and the same, else pictures."""
    if len({fingerprint(encoder) for encoder in encoders}) == 1:
        return pictures(records, encoders[0], home_of(dataset), best_precision(device), part=part)
    sizes = {encoder.image_size for encoder in encoders}
    if len(sizes) > 1:
        raise ValueError(f"these checkpoints see pictures of {sorted(sizes)} pixels: an ensemble needs one size")
    return {"transform": Transform(sizes.pop())}


def search_of(options: argparse.Namespace) -> tuple:
    """The search the command line asks for, and its settings."""
    rules = {"min_length": options.min_length, "no_repeat_ngram_size": options.no_repeat_ngram_size}
    if options.temperature is not None:
        generator = torch.Generator(best_device(options.device)).manual_seed(options.seed)
        return sample, rules | {"temperature": options.temperature, "top_p": options.top_p, "generator": generator}
    if options.num_beams == 1:
        return greedy, rules
    return beam, rules | {"num_beams": options.num_beams, "length_penalty": options.length_penalty}


def among_neighbours(model, loaded: list, settings: dict, captioned: list[Record], options) -> Consensus:
    """A search among the pictures that a model of these settings learned from, less those that are captioned."""
    dataset, out = settings.get("dataset", "sample"), {record.path.resolve() for record in captioned}
    learned = learned_from(settings, dataset)
    near = [record for record in learned if record.path.resolve() not in out]
    if not near:
        raise ValueError(
            "--consensus: every picture that the model learned from is captioned here, no neighbour is left: "
            "choose another --split, or a --limit"
        )
    part = any(settings.get(name) for name in ("hold_out", "subset", "limit"))
    served = seen_by([one.model.encoder for one in loaded], learned, dataset, best_device(options.device), part)
    longest = settings.get("caption_words", 20)
    return Consensus(
        model, get_loader(near, loaded[0].vocabulary, **served, max_words=longest, shuffle=False), options.consensus
    )


def about_objects(
    captions: Words, references: dict[int | str, list[list[str]]], records: list[Record]
) -> dict[str, float]:
    """What captions name against what is annotated: shares, 0 to 1; nothing where nothing is annotated."""
    if not any(record.instances for record in records):
        return {}
    h = hallucination(captions, references, records)
    scores = {"CHAIR-i": h.chair_i, "CHAIR-s": h.chair_s, "object recall": h.recall, "objects named": h.mentions}
    if not any("color" in instance.attributes for record in records for instance in record.instances):
        return scores
    t = truthfulness(captions, records)
    scores |= {"pairs named": t.named, "true pairs": t.true_share, "true captions": t.true_captions, "recall": t.recall}
    for name, (right, cases) in (
        ("counts", count_accuracy(captions, records)),
        ("relations", relation_accuracy(captions, records)),
    ):
        scores |= {f"{name} said": cases} | ({f"{name} right": right} if cases else {})
    return scores


def pointing(said: dict[int | str, Hypothesis], records: list[Record], vocabulary: Vocabulary) -> dict[str, float]:
    """Where attention's peak lies when a caption names something that is annotated. Shares, 0 to 1."""
    looks = []
    for record in records:
        hypothesis = said[record.image_id]
        if hypothesis.attention is not None and record.width and record.height:  # of unknown size are no masks
            words = [vocabulary.words[i] for i in hypothesis.ids]
            things = [(i.category, i.mask(record.height, record.width)) for i in record.instances]
            looks += grounding(words, hypothesis.attention.numpy(), things)
    if not looks:
        return {}
    hits, mass, chance = (sum(column) / len(looks) for column in list(zip(*looks, strict=True))[1:])
    return {"nouns looked at": len(looks), "peak in mask": hits, "mass in mask": mass, "by chance": chance}


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m scripts.evaluate", description=__doc__.split("\n\n")[0])
    add = parser.add_argument
    add("--checkpoint", nargs="+", default=["runs/sample/model"], help="folders; several caption as an ensemble")
    add("--results", metavar="FILE", help="measure these captions (COCO's results JSON), no model")
    add("--against", metavar="FILE", help="other captions of the same images: does the difference mean anything?")
    add("--dataset", help="default: the one it was trained on")
    add("--split", default="val", help='default: val; "held-out": what scripts.train --hold-out kept apart')
    add("--limit", type=count, help="only the first so many images")
    add("--out", metavar="FOLDER", help="where captions and scores go (default: the first checkpoint's folder)")
    add("--num-beams", type=int, default=5, help="beam width; 1: greedy (default: 5)")
    add("--length-penalty", type=float, default=0.7, help="0 favours short captions (default: 0.7)")
    add(
        "--consensus",
        type=count,
        metavar="N",
        help="of what the beam finds take the caption most like those of the N "
        "most similar training pictures (decoding/consensus.py)",
    )
    add("--temperature", type=float, help="draw the words at random instead; 1: as likely as the model has them")
    add("--top-p", type=float, default=1.0, help="draw among the likeliest words of so much probability (default: 1)")
    add("--seed", type=int, default=0, help="of the drawing (default: 0)")
    add("--no-repeat-ngram-size", type=int, default=0, metavar="N", help="no run of N words occurs twice in a caption")
    add("--min-length", type=int, default=1, help="words (default: 1)")
    add("--max-length", type=int, help="words and <end> (default: as long as the captions it learned from)")
    add("--java", type=float, default=0, metavar="SECONDS", help="METEOR and SPICE, too, each for so long at most")
    add("--device", default="auto", help="auto, cpu, cuda, mps (default: auto)")
    options = parser.parse_args(arguments)
    if options.results and not options.dataset:
        parser.error("--results needs --dataset: whose references?")
    if options.num_beams < 1:
        parser.error("--num-beams must be 1 or more")
    if options.consensus and (options.num_beams == 1 or options.temperature is not None):
        parser.error("--consensus chooses among what a beam finds: leave out --temperature and --num-beams 1")
    return options


if __name__ == "__main__":
    try:
        main()
    except (ValueError, OSError) as error:
        sys.exit(str(error))
