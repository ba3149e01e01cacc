"""Trains a captioner: python -m scripts.train [--dataset sample] [--preset NAME] [--any-setting value …]

By default the preset that suits the dataset, on the drawn sample; training/presets.py has them all. The best model by
validation perplexity is kept in `runs/<dataset>/<name>`, history and curves beside it; the same command goes on where a
stopped run ended. `torchrun --nproc-per-node 4 -m scripts.train …` does it with four processes (docs/SCALING.md).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from scripts.arguments import add_dataset, add_training, parse_training
from scripts.ending import one_sentence
from scripts.runs import run
from training import world
from training.config import Config
from training.experiment import home_of
from training.presets import PRESETS, for_dataset


def main(arguments: Sequence[str] | None = None) -> Path:
    """Reads the command line, trains, says how good the model became; returns the run's folder."""
    options, cfg = parse(arguments)
    folder = Path(options.folder or home_of(cfg.dataset) / (options.name or options.preset or "model"))
    run(cfg, folder, options, options.preset)
    return folder


def parse(arguments: Sequence[str] | None) -> tuple[argparse.Namespace, Config]:
    """The command line -> its own options, and the settings with what was overridden."""
    parser = argparse.ArgumentParser(
        prog="python -m scripts.train",
        usage="%(prog)s [--dataset NAME] [--preset NAME] [--any-setting VALUE …], all of them by --help",
        description=(__doc__ or "").split("\n\n")[0],
        allow_abbrev=False,
    )
    add_dataset(parser)
    parser.add_argument(
        "--preset",
        choices=PRESETS,
        help="settings to start from; python -m scripts.presets lists them (default: what suits the dataset)",
    )
    parser.add_argument(
        "--name", help="the run is kept in runs/<dataset>/<name> (default: the preset's name, or model)"
    )
    parser.add_argument("--folder", help="keep the run in this folder instead")
    add_training(parser)
    try:
        options, given = parse_training(parser, arguments)
        return options, for_dataset(options.dataset, options.preset, given)
    except ValueError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    with one_sentence(), world.joined():
        main()
