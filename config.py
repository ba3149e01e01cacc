"""Settings and the named presets: what notebooks and scripts read, and nobody else.

A `Config` is plain numbers and names; the library's functions take plain arguments, so a setting means what it says
there.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, replace

from training import Plan


@dataclass(frozen=True)
class Config:
    """One way to build and train a captioner. The defaults learn the drawn sample on a laptop."""

    dataset: str = "sample"  # "sample", "coco", "flickr8k" or a folder

    # words
    threshold: int = 1  # a word must occur so often in the training captions
    max_words: int | None = None  # and be among the so many most frequent ones; None: no limit
    caption_words: int = 30  # longer captions are cut

    # encoder
    encoder: str = "small"  # or any torchvision classifier, e.g. "resnet50"
    weights: str | None = None  # a name of torchvision's ("IMAGENET1K_V1"), a file, or None
    image_size: int | None = None  # pixels; None: what the encoder was made for
    grid: int | None = 8  # regions per side; None: the encoder's own
    finetune: int | None = 0  # so many last blocks learn; 0: frozen, features are cached; None: all
    detector_epochs: int = 14  # the `small` encoder first learns which words fit a picture (detector.py)
    detector_rate: float = 6e-3

    # decoder
    decoder: str = "SpatialDecoder"  # the state looks after it has taken in a word; "DecoderRNN": before
    cell: str = "lstm"  # rnn, gru, lstm
    attention: str = "additive"  # none, additive, dot
    gate: bool = False  # DecoderRNN only, as is `project`
    word_size: int = 128
    hidden_size: int = 256
    attention_size: int = 128
    project: int | None = None  # shrink the regions to so many numbers first
    dropout: float = 0.2

    # batches
    images_per_batch: int = 16
    captions_per_image: int = 2  # drawn anew each epoch; 5: all
    jitter: float = 0.06  # brightness, contrast and margins of training pictures vary by this share

    # training
    epochs: int = 12
    learning_rate: float = 2.5e-3
    tune_epochs: int = 14  # afterwards, encoder and decoder together, from the pictures; 0: the encoder stays frozen
    tune_rate: float = 1e-3
    weight_decay: float = 0.05
    warmup: float = 0.05
    label_smoothing: float = 0.0
    teacher_forcing: float = 1.0
    patience: int | None = None
    seed: int = 0

    def plan(self) -> Plan:
        """The part of the settings that `training.fit` takes."""
        return Plan(**{name: getattr(self, name) for name in Plan.__dataclass_fields__ if hasattr(self, name)})

    def encoder_options(self) -> dict:
        """The arguments of `EncoderCNN`."""
        names = ("weights", "image_size", "grid", "finetune")
        return {"name": self.encoder} | {name: getattr(self, name) for name in names}

    def decoder_options(self) -> dict:
        """The decoder's arguments beside the sizes of vocabulary and features."""
        names = ["word_size", "hidden_size", "attention_size", "cell", "attention", "dropout"]
        if self.decoder == "DecoderRNN":
            names += ["gate", "project"]
        return {name: getattr(self, name) for name in names}


# Photographs: an ImageNet network, frozen, its features cached; words seen fewer than five times are `<unk>`.
PHOTOGRAPHS = Config(
    dataset="coco",
    threshold=5,
    caption_words=20,
    encoder="resnet50",
    weights="IMAGENET1K_V2",
    grid=None,
    decoder="DecoderRNN",
    word_size=512,
    hidden_size=512,
    attention_size=512,
    project=512,
    dropout=0.5,
    images_per_batch=32,
    captions_per_image=5,
    weight_decay=0.01,
    tune_epochs=0,
    jitter=0.0,
    epochs=12,
    learning_rate=1.2e-3,
)

PRESETS = {"sample": Config(), "photographs": PHOTOGRAPHS}


def for_dataset(dataset: str) -> Config:
    """The preset that suits a dataset: the drawn sample's own, or the one for photographs."""
    return PRESETS["sample"] if dataset == "sample" else replace(PHOTOGRAPHS, dataset=dataset)


def override(settings: Config, given: Mapping[str, str]) -> Config:
    """The settings with some of them given as text, as a command line has them; "none" stands for None.

    Raises ValueError if the text is not of the setting's type.
    """
    kinds = typing.get_type_hints(Config)
    values = {}
    for name, text in given.items():
        kind = kinds[name]
        options = typing.get_args(kind) if isinstance(kind, types.UnionType) else (kind,)
        if text.lower() == "none" and type(None) in options:
            values[name] = None
            continue
        kind = next(k for k in options if k is not type(None))
        try:
            values[name] = {"true": True, "false": False}[text.lower()] if kind is bool else kind(text)
        except (ValueError, KeyError):
            raise ValueError(f"--{name.replace('_', '-')} takes {kind.__name__}, not {text!r}") from None
    return replace(settings, **values)
