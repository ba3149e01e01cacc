"""The settings of an experiment: plain numbers and names, their ranges, and how a command line overrides them.

Comes in: numbers, or text. Goes out: a `Config`, which notebooks, scripts and training/experiment.py read. All other
functions of the library take plain arguments, so a setting means what it says there. A decoder takes those settings
that its own arguments are called by.
"""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from difflib import get_close_matches
from typing import Any

from models.decoders import DECODERS
from training.optimization import TrainingConfig
from training.ranges import AT_LEAST_ONE, NOT_NEGATIVE, POSITIVE, SHARE, Range, check_ranges

RANGES = {
    **dict.fromkeys(("subset", "hold_out", "threshold", "max_words"), AT_LEAST_ONE),
    "caption_words": Range(1, 999),
    **dict.fromkeys(("image_size", "grid", "detector_epochs", "detector_batch"), AT_LEAST_ONE),
    "finetune": NOT_NEGATIVE,
    "unknown": SHARE,
    "detector_rate": POSITIVE,
    **dict.fromkeys(("layers", "heads", "word_size", "hidden_size", "attention_size", "project"), AT_LEAST_ONE),
    "dropout": SHARE,
    **dict.fromkeys(("images_per_batch", "captions_per_image", "views"), AT_LEAST_ONE),
    "jitter": SHARE,
    "tune_epochs": NOT_NEGATIVE,
    "tune_rate": POSITIVE,
    "self_critical": NOT_NEGATIVE,
    "samples": Range(2),
    "seed": NOT_NEGATIVE,
}
OTHER_NAMES = {"batch_size": "images_per_batch", "lr": "learning_rate", "min_freq": "threshold"}
CRITERIA = ("perplexity", "cider")  # by which the best epoch may be chosen


@dataclass(frozen=True)
class Config:
    """One way to build and train a captioner. The defaults learn the drawn sample on a laptop.

    Raises ValueError for a number outside its range, an unknown optimizer or an unknown `select_on`.
    """

    dataset: str = "sample"  # "sample", "coco", "flickr8k" or a folder

    # words and captions
    subset: int | None = None  # train on so many captions only, whole pictures at random; None: on all
    hold_out: int | None = None  # validate on so many training pictures, alike for every seed; None: the val split
    threshold: int = 1  # a word must occur so often in the training captions
    unknown: float = 0.05  # or less often, where more than this share of their words would be unknown
    max_words: int | None = None  # and be among the so many most frequent ones; None: no limit
    caption_words: int = 30  # longer captions are cut

    # encoder; `small` is pre-trained, if it is frozen and has no weights (training/pretraining.py)
    encoder: str = "small"  # or any torchvision classifier, e.g. "resnet50", or any model of timm's, "timm/NAME"
    weights: str | None = None  # torchvision's name ("IMAGENET1K_V1"), timm's ("DEFAULT"), a file, a checkpoint
    image_size: int | None = None  # pixels; None: what the encoder was made for
    grid: int | None = 8  # regions per side; None: the encoder's own
    finetune: int | None = 0  # so many last blocks learn; 0: frozen, features are cached; None: all
    detector_epochs: int = 12  # of the pre-training: which words fit a picture?
    detector_rate: float = 6e-3
    detector_batch: int = 8  # pictures

    # decoder
    decoder: str = "SpatialDecoder"  # a class of models/decoders.py; of the following it takes those that it knows
    cell: str = "lstm"  # rnn, gru, lstm
    attention: str = "additive"  # additive, dot, or uniform: everywhere alike
    gate: bool = False  # a sigmoid on what is seen
    deep_output: bool = False  # word, state and what is seen say the next word together
    image_at: str = "first"  # ShowAndTell: the picture is the first input, or added to "every" one
    tied: bool = False  # ShowAndTell: one matrix for reading words and saying them
    layers: int = 1
    heads: int = 8
    word_size: int = 128
    hidden_size: int = 256
    attention_size: int = 128
    project: int | None = None  # shrink the regions to so many numbers first
    dropout: float = 0.2

    # batches
    images_per_batch: int = 16
    captions_per_image: int = 2  # drawn anew each epoch; 5: all
    views: int = 1  # of a training picture that are kept, if the encoder is frozen; each epoch draws one of them. All
    # but the first are cropped and mirrored: not where captions say left. Each takes as much of the disk as the first
    jitter: float = 0.06  # brightness, contrast and margins of training pictures vary by this share

    # training
    epochs: int = 6
    learning_rate: float = 4e-3
    tune_epochs: int = 12  # afterwards, encoder and decoder together, from the pictures; 0: the encoder stays frozen
    tune_rate: float = 3e-3
    optimizer: str = "adamw"  # adamw, adam, sgd, rmsprop
    weight_decay: float = 0.3
    warmup: float = 0.05
    clip: float = 5.0
    label_smoothing: float = 0.0
    attention_penalty: float = 0.0  # doubly stochastic attention
    teacher_forcing: float = 1.0
    self_critical: float = 0.0  # weight of the loss of captions drawn from the model, judged by CIDEr-D; 0: none
    samples: int = 5  # captions drawn of each picture for it
    select_on: str = "perplexity"  # the best epoch: by validation "perplexity", or by "cider" of greedy captions
    patience: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        check_ranges(self, RANGES)
        self.training_config()  # checks those that it takes
        if self.select_on not in CRITERIA:
            raise ValueError(f"select_on must be {' or '.join(CRITERIA)}, not {self.select_on!r}")

    @property
    def max_length(self) -> int:
        """Ids that a caption may have: its words, and `<end>`."""
        return self.caption_words + 1

    def training_config(self) -> TrainingConfig:
        """The part of the settings that `training.fit` takes."""
        return TrainingConfig(
            **{name: getattr(self, name) for name in TrainingConfig.__dataclass_fields__ if hasattr(self, name)}
        )

    def encoder_options(self) -> dict[str, Any]:
        """The arguments of `EncoderCNN`."""
        names = ("weights", "image_size", "grid", "finetune")
        return {"name": self.encoder} | {name: getattr(self, name) for name in names}

    def decoder_options(self) -> dict[str, Any]:
        """The decoder's arguments beside the sizes of vocabulary and features. ValueError for an unknown decoder."""
        if self.decoder not in DECODERS:
            raise ValueError(f"unknown decoder {self.decoder!r}: take one of {', '.join(DECODERS)}")
        known = inspect.signature(DECODERS[self.decoder]).parameters
        return {field.name: getattr(self, field.name) for field in fields(self) if field.name in known}


def override(settings: Config, given: Mapping[str, str]) -> Config:
    """The settings with some of them given as text; "none" stands for None.

    Raises ValueError if there is no such setting, its decoder does not know it, the text is not of its type, or the
    value is outside its range.
    """
    kinds = typing.get_type_hints(Config)
    for name in given:
        if name not in kinds:
            close = [OTHER_NAMES[name]] if name in OTHER_NAMES else get_close_matches(name, kinds, n=1)
            raise ValueError(f"unknown setting {_flag(name)}" + (f": did you mean {_flag(close[0])}?" if close else ""))
    values: dict[str, Any] = {name: _parse(name, text, kinds[name]) for name, text in given.items()}
    settings = replace(settings, **values)
    of_decoders = {name for kind in DECODERS.values() for name in inspect.signature(kind).parameters}
    unknown = next((name for name in given if name in of_decoders and name not in settings.decoder_options()), None)
    if unknown is not None:
        raise ValueError(f"{settings.decoder} knows no {_flag(unknown)}")
    return settings


def _parse(name: str, text: str, kind: Any) -> Any:
    """The text as a value of this type, which may be a union with None."""
    options = typing.get_args(kind) if isinstance(kind, types.UnionType) else (kind,)
    if text.lower() == "none" and type(None) in options:
        return None
    plain = next(option for option in options if option is not type(None))
    try:
        return {"true": True, "false": False}[text.lower()] if plain is bool else plain(text)
    except (ValueError, KeyError):
        raise ValueError(f"{_flag(name)} takes {plain.__name__}, not {text!r}") from None


def _flag(name: str) -> str:
    """A setting as the command line has it."""
    return f"--{name.replace('_', '-')}"
