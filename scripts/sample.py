"""Draws the sample dataset: python -m scripts.sample [FOLDER] [--train 2000] [--val 400] [--test 400] [--seed 0]"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from dataset.paths import DATA
from dataset.sample.canvas import UNITS
from dataset.sample.making import make
from scripts.ending import one_sentence


def main(arguments: Sequence[str] | None = None) -> None:
    """Reads the command line and draws, unless the same sample is there already."""
    parser = argparse.ArgumentParser(prog="python -m scripts.sample", description="Draw the sample dataset.")
    parser.add_argument("folder", nargs="?", type=Path, default=DATA / "sample", help="default: %(default)s")
    for name, default in (("train", 2000), ("val", 400), ("test", 400), ("seed", 0), ("size", UNITS)):
        parser.add_argument(f"--{name}", type=int, default=default, help="default: %(default)s")
    make(**vars(parser.parse_args(arguments)))


if __name__ == "__main__":
    with one_sentence():
        main()
