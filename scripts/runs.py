"""A training as a command runs it: what scripts.train, scripts.compare and scripts.app have in common.

Comes in: settings, and options that `arguments.add_training` has read. Goes out: a run in a folder, its curves beside
it, lines on the screen. What it does not know: how options are spelt.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from figures.curves import training_curves
from models.devices import best_device, best_precision
from training import world
from training.config import Config
from training.experiment import Runtime, train_captioner
from training.loop import History


def run(cfg: Config, folder: Path, options: argparse.Namespace, preset: str | None = None) -> History:
    """Train, draw the curves, say how good the model became; returns the history."""
    began, device = time.perf_counter(), best_device(options.device)
    runtime = Runtime(device, best_precision(device), options.workers)
    if options.broken:
        runtime = replace(runtime, broken=options.broken, missing=options.broken)
    history = train_captioner(
        cfg,
        folder,
        runtime,
        preset=preset,
        begin_with=options.begin_with,
        limit=options.limit,
        report=print_epoch,
    )
    if world.rank() == 0:
        training_curves(history).savefig(folder / "curves.png")
    best, minutes = kept_epoch(history), (time.perf_counter() - began) / 60
    print(f"val perplexity {best['val_perplexity']:.3f} after {minutes:.1f} minutes; the model is in {folder}")
    return history


def kept_epoch(history: History) -> dict[str, Any]:
    """The row of the epoch whose weights the model has: of the highest score, else of the lowest perplexity."""
    return max(history, key=lambda row: row.get("score", -row["val_perplexity"]))


def print_epoch(row: dict[str, Any], caption: str) -> None:
    """A line of numbers, and what the model says of one picture."""
    score = f"CIDEr-D {row['score']:.3f}  " if "score" in row else ""
    numbers = "epoch {epoch:2}  train {train_perplexity:7.2f}  val {val_perplexity:7.2f}  ".format(**row)
    print(f"{numbers}{score}{row['seconds']:5.0f} s  {caption!r}", flush=True)
