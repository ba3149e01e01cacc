"""Trains several presets alike and compares them: python -m scripts.compare rnn lstm attention_lstm [--dataset sample]

Alike: the pictures, the words, the batches and the seed are those of the first preset, and whatever setting is given
(`--epochs 10`) holds for all. Writes `runs/<dataset>/compare/<names>.md`, a table with captions side by side, and
`<names>.png`, the curves. A comparison that was stopped goes on where it ended.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from data_loader import Transform, get_loader
from dataset import files
from dataset.loading import load_records
from dataset.records import Record
from decoding.search import decode
from figures.curves import training_curves
from models import checkpoint
from models.devices import best_device, best_precision
from scripts import scoring
from scripts.arguments import add_dataset, add_training, parse_training
from scripts.runs import run
from scripts.scoring import Captioners, Scores
from training.config import Config, override
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
    scores: Scores


def main(arguments: Sequence[str] | None = None) -> Path:
    """Reads the command line, trains what is missing, writes table and figure; returns the table's path."""
    options, given = parse(arguments)
    folder = home_of(options.dataset) / "compare"
    results = {}
    for name in options.presets:
        print(f"--- {name}", flush=True)
        cfg = settings_of(name, options.presets[0], options.dataset, given)
        history = run(cfg, folder / name, options, name)
        results[name] = Result(folder / name, history, score(folder / name, options.split, options.device))
    stem = folder / "-".join(options.presets)
    training_curves({name: result.history for name, result in results.items()}).savefig(f"{stem}.png")
    records = load_records(options.dataset, options.split)[:SHOWN]
    folders = [result.folder for result in results.values()]
    table = [*scores_table(results), "", *captions_table(records, folders, options.device)]
    files.write(stem.with_suffix(".md"), "\n".join(table) + "\n")
    print("\n".join(table), f"\n{stem}.md and {stem}.png", sep="\n")
    return stem.with_suffix(".md")


def settings_of(preset: str, first: str, dataset: str, given: dict[str, str]) -> Config:
    """A preset's settings, what must be alike from the first one, and over both what the command line gives."""
    shared = for_dataset(dataset, first)
    alike = {name: getattr(shared, name) for name in SHARED}
    return override(replace(for_dataset(dataset, preset), **alike), given)


def score(folder: Path, split: str, device_name: str) -> Scores:
    """Caption a split greedily with the model in `folder`, leave captions and scores there; returns the scores."""
    device = best_device(device_name)
    captioners = Captioners([checkpoint.load(folder, device)], Runtime(device, best_precision(device)))
    stem = folder / f"captions-{split}"
    captioned, scores = captioners.caption(split, Path(f"{stem}.json"))
    measured, with_margins = scoring.measure(captioned)
    scores |= {name: score.value for name, score in with_margins.items()} | scoring.about_objects(captioned)
    scores |= {"margins": {name: score.margin for name, score in with_margins.items()}}
    scoring.write(stem, f"scores-{split}.json", captioned, measured, scores)
    return scores


def scores_table(results: dict[str, Result]) -> list[str]:
    """A row per preset: numbers that learn, seconds an epoch, and every score that is a share or a perplexity."""
    keys = dict.fromkeys(key for result in results.values() for key in result.scores)
    names = [key for key in keys if key not in ("images", "margins")]
    lines = ["| preset | decoder's numbers | seconds an epoch | " + " | ".join(names) + " |"]
    lines.append("|---" * (3 + len(names)) + "|")
    for name, (folder, history, scores) in results.items():
        size = sum(p.numel() for p in checkpoint.load(folder).model.decoder.parameters())
        seconds = sorted(row["seconds"] for row in history)[len(history) // 2]  # the median: others use the machine too
        cells = [f"{v:.3f}" if isinstance(v := scores.get(key, "—"), float) else str(v) for key in names]
        lines.append(" | ".join([f"| {name}", f"{size / 1e6:.2f} M", f"{seconds:.1f}", *cells]) + " |")
    return lines


def captions_table(records: list[Record], folders: list[Path], device: str) -> list[str]:
    """What a person and the models say of the same pictures."""
    names = " | ".join(folder.name for folder in folders)
    lines = [f"| picture | a person | {names} |", "|---" * (2 + len(folders)) + "|"]
    said = []
    for folder in folders:
        one = checkpoint.load(folder, best_device(device))
        transform = Transform.of(one.model.encoder)
        loader = get_loader(records, one.vocabulary, transform=transform, shuffle=False, broken="stop")
        hypotheses = decode(one.model, loader, max_length=one.max_length)
        said.append({image: one.vocabulary.decode(hypothesis.ids) for image, hypothesis in hypotheses.items()})
    for record in records:
        cells = [record.path.name, record.captions[0], *(captions[record.image_id] for captions in said)]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def parse(arguments: Sequence[str] | None) -> tuple[argparse.Namespace, dict[str, str]]:
    """The command line -> its options, and the settings that it gives for all presets."""
    parser = argparse.ArgumentParser(
        prog="python -m scripts.compare",
        description=(__doc__ or "").split("\n\n")[0],
        epilog="All other options are those of scripts.train and hold for all presets.",
        allow_abbrev=False,
    )
    parser.add_argument("presets", nargs="+", choices=PRESETS, metavar="PRESET")
    add_dataset(parser)
    parser.add_argument("--split", default="val", help="on which truth and captions are compared (default: val)")
    add_training(parser)
    return parse_training(parser, arguments)


if __name__ == "__main__":
    try:
        main()
    except (ValueError, OSError, FloatingPointError) as error:
        sys.exit(str(error))
