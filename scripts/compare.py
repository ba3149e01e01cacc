"""Trains several presets alike and compares them: python -m scripts.compare rnn lstm attention_lstm [--dataset sample]

Alike: the pictures, the words, the batches and the seed are those of the first preset, and whatever setting is given
(`--epochs 10`) holds for all. Writes `runs/<dataset>/compare/<names>.md`, a table with captions side by side, and
`<names>.png`, the curves. A comparison that was stopped goes on where it ended.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from data_loader import Transform, get_loader
from dataset import files
from dataset.loading import load_records
from dataset.records import Record
from decoding.search import decode
from figures.curves import training_curves
from models import checkpoint
from models.devices import best_device
from scripts import evaluate, train
from training import config

SHARED = ("encoder", "weights", "image_size", "grid", "finetune", "subset", "threshold", "max_words", "caption_words")
SHARED += ("images_per_batch", "captions_per_image", "jitter", "seed")
SHOWN = 3  # pictures whose captions stand side by side


def main(arguments: Sequence[str] | None = None) -> Path:
    """Reads the command line, trains what is missing, writes table and figure; returns the table's path."""
    parser = argparse.ArgumentParser(
        prog="python -m scripts.compare",
        description=__doc__.split("\n\n")[0],
        epilog="Other options are those of scripts.train and hold for all presets.",
        allow_abbrev=False,
    )
    parser.add_argument("presets", nargs="+", choices=config.PRESETS, metavar="PRESET")
    parser.add_argument("--dataset", default="sample", help='"sample", "coco", "flickr8k" or a folder')
    parser.add_argument("--split", default="val", help="on which truth and captions are compared (default: val)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, mps (default: auto)")
    options, others = parser.parse_known_args(arguments)
    folder, where = train.home_of(options.dataset) / "compare", ["--device", options.device]
    first = config.for_dataset(options.dataset, options.presets[0])
    alike = [part for name in SHARED for part in (f"--{name.replace('_', '-')}", str(getattr(first, name)))]
    results = {}
    for name in options.presets:
        print(f"--- {name}", flush=True)
        how = ["--dataset", options.dataset, "--preset", name, "--run", str(folder / name)]
        run = train.main([*how, *alike, *where, *others])
        scores = evaluate.main(["--checkpoint", str(run), "--split", options.split, "--num-beams", "1", *where])
        results[name] = (run, json.loads((run / "history.json").read_text(encoding="utf-8")), scores)
    stem = folder / "-".join(options.presets)
    training_curves({name: history for name, (_, history, _) in results.items()}).savefig(f"{stem}.png")
    records = load_records(options.dataset, options.split)[:SHOWN]
    runs = [run for run, *_ in results.values()]
    table = [*scores_table(results), "", *captions_table(records, runs, options.device)]
    files.write(stem.with_suffix(".md"), "\n".join(table) + "\n")
    print("\n".join(table), f"\n{stem}.md and {stem}.png", sep="\n")
    return stem.with_suffix(".md")


def scores_table(results: dict[str, tuple[Path, list[dict], dict]]) -> list[str]:
    """A row per preset: numbers that learn, seconds an epoch, and every score that is a share or a perplexity."""
    names = list(
        dict.fromkeys(key for *_, scores in results.values() for key in scores if key not in ("images", "margins"))
    )
    lines = ["| preset | decoder's numbers | seconds an epoch | " + " | ".join(names) + " |"]
    lines.append("|---" * (3 + len(names)) + "|")
    for name, (run, history, scores) in results.items():
        size = sum(p.numel() for p in checkpoint.load(run).model.decoder.parameters())
        seconds = sorted(row["seconds"] for row in history)[len(history) // 2]  # the median: others use the machine too
        cells = [f"{v:.3f}" if isinstance(v := scores.get(key, "—"), float) else str(v) for key in names]
        lines.append(" | ".join([f"| {name}", f"{size / 1e6:.2f} M", f"{seconds:.1f}", *cells]) + " |")
    return lines


def captions_table(records: list[Record], runs: list[Path], device: str) -> list[str]:
    """What a person and the models say of the same pictures."""
    lines = ["| picture | a person | " + " | ".join(run.name for run in runs) + " |", "|---" * (2 + len(runs)) + "|"]
    said = []
    for run in runs:
        model, vocabulary, metadata = checkpoint.load(run, best_device(device))
        loader = get_loader(
            records, vocabulary, transform=Transform(model.encoder.image_size), shuffle=False, broken="stop"
        )
        longest = metadata["settings"]["caption_words"] + 1
        said.append({i: vocabulary.decode(h.ids) for i, h in decode(model, loader, max_length=longest).items()})
    for record in records:
        cells = [record.path.name, record.captions[0], *(captions[record.image_id] for captions in said)]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


if __name__ == "__main__":
    try:
        main()
    except (ValueError, OSError) as error:
        sys.exit(str(error))
