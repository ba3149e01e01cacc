"""Trains several presets alike and compares them: python -m scripts.compare rnn lstm attention_lstm [--dataset sample]

Alike: the pictures, the words, the batches and the seed are those of the first preset, and whatever setting is given
(`--epochs 10`) holds for all. With `--encoders resnet50 timm/tf_efficientnet_lite2=FILE …` one preset looks through
each of them. Writes `runs/<dataset>/compare/<names>.md`, a table with captions side by side, and `<names>.png`, the
curves. A comparison that was stopped goes on where it ended. `torchrun --nproc-per-node 4 -m scripts.compare …` does it
with four processes.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from torch import nn

from dataset import files
from dataset.loading import load_records
from decoding.beam import beam
from decoding.search import greedy
from figures.curves import training_curves
from model import EncoderCNN
from models import checkpoint
from models.devices import best_device, best_precision
from scripts import scoring
from scripts.arguments import add_dataset, add_java, add_training, count, parse_training
from scripts.ending import one_sentence
from scripts.runs import run
from scripts.scoring import Captioned, Captioners, Scores
from training import world
from training.config import Config
from training.experiment import Runtime, home_of
from training.loop import History
from training.presets import PRESETS, for_dataset

SHARED = ["encoder", "weights", "image_size", "grid", "finetune", "subset", "threshold", "max_words", "caption_words"]
SHARED += ["images_per_batch", "captions_per_image", "jitter", "seed"]
SHOWN = 3  # pictures whose captions stand side by side


class Result(NamedTuple):
    """What is known of one of the runs that are compared."""

    folder: Path
    history: History
    captioned: Captioned
    scores: Scores
    margins: dict[str, float]  # half the widths of 95 % intervals, of those scores that have one


def main(arguments: Sequence[str] | None = None) -> Path:
    """Reads the command line, trains what is missing, writes table and figure; returns the table's path."""
    options, given = parse(arguments)
    folder = home_of(options.dataset) / "compare"
    settings = settings_for(options, given)
    check_split(options, settings)
    stem = folder / "-".join(settings)
    table_file = Path(f"{stem}.md")  # not with_suffix: what follows a dot in the name belongs to it
    files.check_writable(table_file)
    results = {}
    for name, cfg in settings.items():
        print(f"--- {name}", flush=True)
        history = run(cfg, folder / name, options, next(iter(options.presets), None) if options.encoders else name)
        captioned, scores = caption(folder / name, options)
        if world.rank() == 0:  # the first of several processes measures
            results[name] = Result(
                folder / name, history, captioned, *measure(folder / name, captioned, scores, options)
            )
    if world.rank() > 0:
        return table_file
    training_curves({name: result.history for name, result in results.items()}).savefig(f"{stem}.png")
    table = [*scores_table(results), "", *captions_table(results)]
    files.write(table_file, "\n".join(table) + "\n")
    print("\n".join(table), f"\n{table_file} and {stem}.png", sep="\n")
    return table_file


def check_split(options: argparse.Namespace, settings: dict[str, Config]) -> None:
    """ValueError if there is no such split to compare captions on: now, not after the trainings."""
    if options.split != "held-out":
        load_records(options.dataset, options.split, instances=False, missing="keep")
    elif any(cfg.hold_out is None for cfg in settings.values()):
        raise ValueError("--split held-out: nothing is held out; say how many pictures with --hold-out")


def settings_for(options: argparse.Namespace, given: dict[str, str]) -> dict[str, Config]:
    """What is compared, by the names of the runs; errors as `of_encoders`'."""
    presets, dataset = options.presets, options.dataset
    if options.encoders:
        return of_encoders(options.encoders, dataset, next(iter(presets), None), given)
    return {name: settings_of(name, presets[0], dataset, given) for name in presets}


def settings_of(preset: str, first: str, dataset: str, given: dict[str, str]) -> Config:
    """A preset's settings as scripts.train has them with what is given; what must be alike is the first preset's."""
    shared = for_dataset(dataset, first, given)
    return replace(for_dataset(dataset, preset, given), **{name: getattr(shared, name) for name in SHARED})


def of_encoders(encoders: Sequence[str], dataset: str, preset: str | None, given: dict[str, str]) -> dict[str, Config]:
    """The settings of one preset with each encoder, "NAME" or "NAME=WEIGHTS", by the name of its run.

    Each is built once before the first is trained: ValueError or OSError for one that cannot be.
    """
    settings = {}
    for encoder in encoders:
        cfg = for_dataset(dataset, preset, given, encoder=encoder)
        EncoderCNN(**cfg.encoder_options())
        name, _, weights = encoder.partition("=")
        run_name = "-".join([name.replace("/", "-"), *([Path(weights).stem] if weights else [])])
        if run_name in settings:
            raise ValueError(f"--encoders: {encoder} is there twice, or has weights of the same name as another one")
        settings[run_name] = cfg
    return settings


def caption(folder: Path, options: argparse.Namespace) -> tuple[Captioned, Scores]:
    """Caption a split with the model in `folder`, leave the captions there; returns them, and what the model scores."""
    device = best_device(options.device)
    missing, broken = options.broken or "stop", options.broken or "skip"  # as in the training
    runtime = Runtime(device, best_precision(device), options.workers, broken, missing)
    with world.first():  # which has kept the model
        loaded = checkpoint.load(folder, device)
    captioners = Captioners([loaded], runtime, options.dataset)
    search, how = (beam, {"num_beams": options.num_beams}) if options.num_beams > 1 else (greedy, {})
    limits = {"limit": options.limit, "broken": broken}
    return captioners.caption(options.split, folder / f"captions-{options.split}.json", search, **limits, **how)


def measure(
    folder: Path, captioned: Captioned, scores: Scores, options: argparse.Namespace
) -> tuple[Scores, dict[str, float]]:
    """Measure captions, leave scores and a page in `folder`; returns the scores, those given too, and their margins."""
    measured, with_margins = scoring.measure(captioned, options.java)
    scores |= {name: score.value for name, score in with_margins.items()} | scoring.about_objects(captioned)
    margins = {name: score.margin for name, score in with_margins.items()}
    stem, file = folder / f"captions-{options.split}", f"scores-{options.split}.json"
    scoring.write(stem, file, captioned, measured, scores | {"margins": margins})
    return scores, margins


def scores_table(results: dict[str, Result]) -> list[str]:
    """A row per run: what it looks through, numbers that learn, seconds an epoch, and every score, ± its margin."""
    names = list(dict.fromkeys(key for result in results.values() for key in result.scores if key != "images"))
    lines = ["| run | looks through | decoder's numbers | seconds an epoch | " + " | ".join(names) + " |"]
    lines.append("|---" * (4 + len(names)) + "|")
    for run_name, result in results.items():
        model = checkpoint.load(result.folder).model
        side, size, decoder = round(model.encoder.regions**0.5), model.encoder.feature_size, parameters(model.decoder)
        looks = f"{side} x {side} x {size}, {parameters(model.encoder) / 1e6:.1f} M"
        # the median: others use the machine too
        seconds = sorted(row["seconds"] for row in result.history)[len(result.history) // 2]
        cells = [described(name, result) for name in names]
        lines.append(" | ".join([f"| {run_name}", looks, f"{decoder / 1e6:.2f} M", f"{seconds:.1f}", *cells]) + " |")
    return lines


def parameters(module: nn.Module) -> int:
    """How many numbers a module has."""
    return sum(p.numel() for p in module.parameters())


def described(name: str, result: Result) -> str:
    """A score as a table has it."""
    value = result.scores.get(name, "—")
    margin = f" ± {result.margins[name]:.3f}" if name in result.margins else ""
    return f"{value:.3f}{margin}" if isinstance(value, float) else str(value)


def captions_table(results: dict[str, Result]) -> list[str]:
    """What a person and the models say of the first pictures that were scored."""
    said = [result.captioned for result in results.values()]
    lines = [f"| picture | a person | {' | '.join(results)} |", "|---" * (2 + len(results)) + "|"]
    for record in said[0].records[:SHOWN]:
        cells = [record.path.name, record.captions[0], *(captioned.captions[record.image_id] for captioned in said)]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def parse(arguments: Sequence[str] | None) -> tuple[argparse.Namespace, dict[str, str]]:
    """The command line -> its options, and the settings that it gives for all presets."""
    parser = argparse.ArgumentParser(
        prog="python -m scripts.compare",
        description=(__doc__ or "").split("\n\n")[0],
        epilog="All other options are those of scripts.train and hold for all.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("presets", nargs="*", metavar="PRESET", help="python -m scripts.presets lists them")
    add(
        "--encoders",
        nargs="+",
        metavar="NAME[=WEIGHTS]",
        help="one preset (default: what suits the dataset) with each of these: torchvision's, or timm/NAME; weights "
        "are a name, a file or none (default: those of that package)",
    )
    add_dataset(parser)
    add("--split", default="val", help="on which captions are compared (default: val)")
    add("--num-beams", type=count, default=1, help="beam width (default: 1, greedy)")
    add_java(parser)
    add_training(parser)
    options, given = parse_training(parser, arguments)
    if unknown := next((name for name in options.presets if name not in PRESETS), None):
        parser.error(f"unknown preset {unknown!r}: take one of {', '.join(PRESETS)}")
    if options.encoders and (len(options.presets) > 1 or {"encoder", "weights"} & set(given)):
        parser.error("--encoders compares encoders of one preset: give one preset, and no --encoder or --weights")
    if not (options.presets or options.encoders):
        parser.error("what is to be compared? name presets, or --encoders")
    return options, given


if __name__ == "__main__":
    with one_sentence(), world.joined():
        main()
