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
import sys
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
from scripts.arguments import add_device, add_java, add_length_penalty, between, count
from scripts.scoring import Captioned, Captioners, Scores
from training import world
from training.experiment import Runtime


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
    captioners = Captioners(loaded, Runtime(device, best_precision(device), missing=options.broken), options.dataset)
    search, how = search_of(options, device)
    limits = {"limit": options.limit, "neighbours": options.consensus, "max_length": options.max_length}
    return captioners.caption(options.split, file, search, **limits, **how)


def search_of(options: argparse.Namespace, device: torch.device) -> tuple[Search, dict[str, Any]]:
    """The search the command line asks for, and its settings."""
    rules = {"min_length": options.min_length, "no_repeat_ngram_size": options.no_repeat_ngram_size}
    rules |= {"rounded": options.rounded}
    if options.temperature is not None:
        generator = torch.Generator(device).manual_seed(options.seed or 0)
        top_p = 1.0 if options.top_p is None else options.top_p
        return sample, rules | {"temperature": options.temperature, "top_p": top_p, "generator": generator}
    if options.num_beams == 1:
        return greedy, rules
    return beam, rules | {"num_beams": options.num_beams, "length_penalty": options.length_penalty}


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m scripts.evaluate", description=(__doc__ or "").split("\n\n")[0])
    add = parser.add_argument
    add("--checkpoint", nargs="+", default=[str(RUNS / "sample/model")], help="folders; several caption as an ensemble")
    add("--results", metavar="FILE", help="measure these captions (COCO's results JSON), no model")
    add("--partial", action="store_true", help="with --results: score the images of the split that the file captions")
    add("--against", metavar="FILE", help="other captions of the same images: does the difference mean anything?")
    add("--dataset", help="default: the one it was trained on")
    add("--split", default="val", help='default: val; "held-out": what scripts.train --hold-out kept apart')
    add("--limit", type=count, help="only the first so many images")
    add("--broken", choices=("skip", "stop"), default="stop", help="pictures that are missing (default: stop)")
    add("--out", metavar="FOLDER", help="where captions and scores go (default: the first checkpoint's folder)")
    add("--num-beams", type=count, default=5, help="beam width; 1: greedy (default: 5)")
    add_length_penalty(parser)
    add(
        "--consensus",
        type=count,
        metavar="N",
        help="of what the beam finds take the caption most like those of the N "
        "most similar training pictures (decoding/consensus.py)",
    )
    add("--temperature", type=between(0.001, 1000), help="draw the words at random; 1: as likely as the model has them")
    add("--top-p", type=float, help="draw among the likeliest words of so much probability (default: 1)")
    add("--seed", type=int, help="of the drawing (default: 0)")
    add("--rounded", action="store_true", help="products in bfloat16: sooner; one caption in a hundred is another")
    add("--no-repeat-ngram-size", type=int, default=0, metavar="N", help="no run of N words occurs twice in a caption")
    add("--min-length", type=int, default=1, help="words (default: 1)")
    add("--max-length", type=count, help="words and <end> (default: as long as the captions it learned from)")
    add_java(parser)
    add_device(parser)
    options = parser.parse_args(arguments)
    if options.results and not options.dataset:
        parser.error("--results needs --dataset: whose references?")
    if options.partial and not options.results:
        parser.error("--partial is for --results: whose captions?")
    if options.temperature is None and (options.top_p is not None or options.seed is not None):
        parser.error("--top-p and --seed are for words drawn at random: give a --temperature, as 1, too")
    if options.consensus and (options.num_beams == 1 or options.temperature is not None):
        parser.error("--consensus chooses among what a beam finds: leave out --temperature and --num-beams 1")
    return options


if __name__ == "__main__":
    try:
        with world.joined():
            main()
    except (ValueError, OSError) as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit(130)  # as a shell has it
