"""How good is a trained captioner? python -m scripts.evaluate --checkpoint runs/sample/model [--split val]

Captions every image of a split once and measures: perplexity of the true captions, BLEU, ROUGE-L and CIDEr-D with 95 %
intervals, what the captions are like, what they name that is not there, whether attention looks at what they name.
`torchrun --nproc-per-node 4 -m scripts.evaluate …` captions with four processes.
Several checkpoints caption together, as an ensemble. Beside the (first) checkpoint it leaves `captions-<split>.json`
(COCO's results format), `scores-<split>.json` and `captions-<split>.html`: the best, the worst, and some by chance.

`--results FILE` measures captions in COCO's format, whoever made them; `--against FILE` tells whether the difference to
other captions of the same images means anything.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from dataset import files
from dataset.loading import load_records
from dataset.paths import RUNS
from decoding.beam import beam
from decoding.search import Search, greedy, sample
from evaluation import metrics, results
from models import checkpoint
from models.devices import best_device, best_precision
from scripts import scoring
from scripts.arguments import add_device, add_java, add_length_penalty, between, count, length_penalty
from scripts.ending import one_sentence
from scripts.scoring import Captioned, Captioners, Scores
from training import world
from training.experiment import Runtime

RULES = ("min_length", "no_repeat_ngram_size", "rounded")
OF_MODELS = {f"--{name.replace('_', '-')}" for name in RULES}
OF_MODELS |= {
    "--checkpoint",
    "--num-beams",
    "--length-penalty",
    "--consensus",
    "--own",
    "--temperature",
    "--top-p",
    "--seed",
}
OF_MODELS |= {"--max-length", "--out", "--broken"}


def main(arguments: Sequence[str] | None = None) -> Scores:
    """Reads the command line, captions, measures, prints and writes; returns the scores."""
    options = parse(arguments)
    part = options.limit is not None  # then files may caption more images than are measured
    scores: Scores = {}
    stem = _stem(options)
    files.check_writable(stem)  # now, and not after the captions
    against = results.read(options.against) if options.against else None  # now: it may be the file that is written
    if options.results:
        records = load_records(options.dataset, options.split, missing="keep")[: options.limit]
        ids = [record.image_id for record in records]
        captions = results.load(options.results, ids, more=part, partial=options.partial)
        captioned = Captioned([record for record in records if record.image_id in captions], captions)
    else:
        captioned, scores = caption(options, Path(f"{stem}.json"))
    if world.rank() > 0:  # the first of several processes measures
        return scores
    measured, with_margins = scoring.measure(captioned, options.java)
    scores |= {name: score.value for name, score in with_margins.items()} | scoring.about_objects(captioned)
    for name, value in scores.items():
        margin = f" ± {with_margins[name].margin:.3f}" if name in with_margins else ""
        print(f"{name:22} {value:.3f}{margin}" if isinstance(value, float) else f"{name:22} {value}")
    if len(captioned.captions) > 1 == len(set(map(tuple, captioned.words.values()))):
        print("warning: every picture has the same caption: a model that says it has not learned to look")
    if len(captioned.captions) == 1:
        print("CIDEr-D of a single image is 0, whatever its caption: it weighs words by how few of the images they fit")
    if against is not None:
        more = part or options.partial
        others = results.select(against, options.against, captioned.captions, more=more)
        other = metrics.statistics(metrics.tokenized(others), captioned.references)
        print(f"against {options.against}:")
        if len(measured.ids) == 1:  # every draw is the same: its margins are 0
            print("  one picture tells nothing: what a difference means is seen over many")
        else:
            for name, difference in metrics.bootstrap(measured, other).items():
                print(" ", metrics.describe_difference(name, difference))
    scores |= {"margins": {name: score.margin for name, score in with_margins.items()}}
    name = f"{stem.name}-scores.json" if options.results else f"scores-{options.split}.json"
    print(f"captions with their pictures: {scoring.write(stem, name, captioned, measured, scores)}")
    return scores


def _stem(options: argparse.Namespace) -> Path:
    """Where captions and scores go, the end of their names still to come."""
    if options.results:
        return Path(options.results).with_suffix("")
    return Path(options.out or options.checkpoint[0].replace("hf:", f"{RUNS}/hf/")) / f"captions-{options.split}"


def caption(options: argparse.Namespace, file: Path) -> tuple[Captioned, Scores]:
    """Caption the split with the model, or the ensemble, that the command line names."""
    device = best_device(options.device)
    loaded = [checkpoint.load(folder, device) for folder in options.checkpoint]
    broken = options.broken or "stop"
    runtime = Runtime(device, best_precision(device), missing=broken)
    captioners = Captioners(loaded, runtime, options.dataset)
    search, how = search_of(options, device)
    limits = {"limit": options.limit, "neighbours": options.consensus, "max_length": options.max_length}
    limits |= {"broken": broken, "own": options.own or 0.0}
    return captioners.caption(options.split, file, search, **limits, **how)


def search_of(options: argparse.Namespace, device: torch.device) -> tuple[Search, dict[str, Any]]:
    """The search the command line asks for, and its settings."""
    rules = {name: value for name in RULES if (value := getattr(options, name)) is not None}
    if options.temperature is not None:
        generator = torch.Generator(device).manual_seed(options.seed or 0)
        top_p = 1.0 if options.top_p is None else options.top_p
        return sample, rules | {"temperature": options.temperature, "top_p": top_p, "generator": generator}
    if options.num_beams == 1:
        return greedy, rules
    return beam, rules | {"num_beams": options.num_beams or 5, "length_penalty": length_penalty(options)}


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m scripts.evaluate", description=(__doc__ or "").split("\n\n")[0])
    add = parser.add_argument
    usual = str(RUNS / "sample/model")
    add("--checkpoint", nargs="+", help=f"folders; several caption as an ensemble (default: {usual})")
    add("--results", metavar="FILE", help="measure these captions (COCO's results JSON), no model")
    add("--partial", action="store_true", help="with --results: score the images of the split that the file captions")
    add("--against", metavar="FILE", help="other captions of the same images: does the difference mean anything?")
    add("--dataset", help="default: the one it was trained on")
    add("--split", default="val", help='default: val; "held-out": what scripts.train --hold-out kept apart')
    add("--limit", type=count, help="only the first so many images")
    add("--broken", choices=("skip", "stop"), help="pictures that are missing or cannot be read (default: stop)")
    add("--out", metavar="FOLDER", help="where captions and scores go (default: the first checkpoint's folder)")
    add("--num-beams", type=count, help="beam width; 1: greedy (default: 5)")
    add_length_penalty(parser)
    add(
        "--consensus",
        type=count,
        metavar="N",
        help="of what the beam finds take the caption most like those of the N "
        "most similar training pictures (decoding/consensus.py)",
    )
    add(
        "--own",
        type=between(0, 1000),
        metavar="WEIGHT",
        help="with --consensus: how much it counts that the captions of the beam are like each other (default: 0)",
    )
    add("--temperature", type=between(0.001, 1000), help="draw the words at random; 1: as likely as the model has them")
    add("--top-p", type=float, help="draw among the likeliest words of so much probability (default: 1)")
    add("--seed", type=int, help="of the drawing (default: 0)")
    add("--rounded", action="store_true", help="products in bfloat16: sooner; one caption in a hundred is another")
    add("--no-repeat-ngram-size", type=int, metavar="N", help="no run of N words occurs twice in a caption")
    add("--min-length", type=int, help="words (default: 1)")
    add("--max-length", type=count, help="words and <end> (default: as long as the captions it learned from)")
    add_java(parser)
    add_device(parser)
    options = parser.parse_args(arguments)
    if options.results and not options.dataset:
        parser.error("--results needs --dataset: whose references?")
    if options.partial and not options.results:
        parser.error("--partial is for --results: whose captions?")
    given = {
        f"--{name.replace('_', '-')}" for name, value in vars(options).items() if not (value is None or value is False)
    }
    if options.results and (of_models := sorted(given & OF_MODELS)):
        parser.error(f"--results measures captions that are there, no model: leave out {' and '.join(of_models)}")
    if options.temperature is None and given & {"--top-p", "--seed"}:
        parser.error("--top-p and --seed are for words drawn at random: give a --temperature, as 1, too")
    if options.temperature is not None and "--num-beams" in given:
        parser.error("words are drawn at random, or a beam looks for them: --temperature or --num-beams, not both")
    no_beam = options.num_beams == 1 or options.temperature is not None
    if options.consensus and no_beam:
        parser.error("--consensus chooses among what a beam finds: leave out --temperature and --num-beams 1")
    if options.own is not None and not options.consensus:
        parser.error("--own is a part of --consensus: say how many neighbours, too")
    if options.length_penalty is not None and no_beam:
        parser.error("--length-penalty is for a beam: leave it out with --temperature and --num-beams 1")
    options.checkpoint = options.checkpoint or [usual]
    return options


if __name__ == "__main__":
    with one_sentence(), world.joined():
        main()
