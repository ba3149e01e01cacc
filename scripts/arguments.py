"""What several commands read from their command line alike.

Comes in: text. Goes out: values, or what argparse prints for a wrong one. What it does not know: what a command does.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Callable, Sequence
from difflib import get_close_matches

import torch

from training.config import Config, override

DEVICES = ("auto", "cpu", "cuda", "mps")
OTHER_NAMES = {"gpu": "cuda", "nvidia": "cuda", "metal": "mps", "apple": "mps"}


def count(text: str) -> int:
    """How many: a whole number of 1 or more."""
    if int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be 1 or more, not {text}")
    return int(text)


def seed(text: str) -> int:
    """A seed that every generator of random numbers takes."""
    if not 0 <= int(text) < 2**62:
        raise argparse.ArgumentTypeError(f"must be 0 to 2**62, not {text}")
    return int(text)


def between(low: float, high: float) -> Callable[[str], float]:
    """What reads a number from `low` to `high`, both included."""

    def number(text: str) -> float:
        if not low <= float(text) <= high:  # nor is NaN
            raise argparse.ArgumentTypeError(f"must be {low:g} to {high:g}, not {text}")
        return float(text)

    return number


def device(text: str) -> str:
    """The name of a device that is here: auto, cpu, cuda, mps; or one of several, as cuda:1."""
    kind, _, number = text.partition(":")
    if kind not in DEVICES or (number and not number.isdecimal()):
        close = OTHER_NAMES.get(kind.lower()) or next(iter(get_close_matches(kind.lower(), DEVICES, n=1)), "auto")
        raise argparse.ArgumentTypeError(f"unknown device {text!r}: did you mean {close}? take {', '.join(DEVICES)}")
    if {"cuda": torch.cuda, "mps": torch.mps}.get(kind, torch.cpu).is_available() is False:
        raise argparse.ArgumentTypeError(f"this machine has no {kind} device: take cpu, or auto")
    return text


def add_device(parser: argparse.ArgumentParser) -> None:
    """The option --device."""
    parser.add_argument("--device", type=device, default="auto", help="auto, cpu, cuda, mps (default: auto)")


def add_dataset(parser: argparse.ArgumentParser) -> None:
    """The option --dataset."""
    parser.add_argument(
        "--dataset", default="sample", help='"sample", "coco", "flickr8k" or a folder (default: sample)'
    )


def add_broken(parser: argparse.ArgumentParser) -> None:
    """The option --broken, of pictures that are missing or cannot be read; without it None: `Runtime` decides."""
    parser.add_argument(
        "--broken",
        choices=("skip", "stop"),
        help="pictures that are missing or cannot be read (default: stop if one is missing, skip what cannot be read)",
    )


def add_length_penalty(parser: argparse.ArgumentParser) -> None:
    """The option --length-penalty, of a beam search; `length_penalty` reads it."""
    parser.add_argument("--length-penalty", type=between(-10, 10), help="0 favours short captions (default: 0.7)")


def length_penalty(options: argparse.Namespace) -> float:
    """The one that was given, else 0.7."""
    return 0.7 if options.length_penalty is None else options.length_penalty


def add_java(parser: argparse.ArgumentParser) -> None:
    """The option --java, of the scores that need it."""
    parser.add_argument(
        "--java", type=float, default=0, metavar="SECONDS", help="METEOR and SPICE, too, each for so long at most"
    )


def add_training(parser: argparse.ArgumentParser) -> None:
    """The options of a training: --begin-with, --device, --workers, --broken, --limit, and all settings."""
    parser.add_argument("--begin-with", metavar="FOLDER", help="begin with this checkpoint's weights and words")
    add_device(parser)
    parser.add_argument("--workers", type=int, default=0, help="processes that read pictures (default: 0)")
    add_broken(parser)
    parser.add_argument("--limit", type=count, help="only the first so many images of each split")
    settings = parser.add_argument_group("settings (training/config.py says what they mean)")
    for field in dataclasses.fields(Config):
        if field.name != "dataset":
            settings.add_argument(f"--{field.name.replace('_', '-')}", dest=f"set_{field.name}", metavar="VALUE")


def parse_training(
    parser: argparse.ArgumentParser, arguments: Sequence[str] | None
) -> tuple[argparse.Namespace, dict[str, str]]:
    """The command line -> its options, and the settings that it gives, as text.

    Raises ValueError for an unknown option, with the nearest setting's name.
    """
    options, others = parser.parse_known_args(arguments)
    for other in others:
        override(Config(), {other.lstrip("-").replace("-", "_").split("=")[0]: ""})
    given = {name[4:]: value for name, value in vars(options).items() if name.startswith("set_") and value is not None}
    return options, given
