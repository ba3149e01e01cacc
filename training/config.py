"""Settings and the named presets: what notebooks and scripts read, and nobody else.

A `Config` is plain numbers and names; the library's functions take plain arguments, so a setting means what it says
there. A decoder takes those settings that its own arguments are called by.
"""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from difflib import get_close_matches

from models.decoders import DECODERS
from training.loop import TrainingConfig


@dataclass(frozen=True)
class Config:
    """One way to build and train a captioner. The defaults learn the drawn sample on a laptop."""

    dataset: str = "sample"  # "sample", "coco", "flickr8k" or a folder

    # words and captions
    subset: int | None = None  # train on so many captions only, whole pictures at random; None: on all
    hold_out: int | None = None  # validate on so many of the training pictures instead of the val split; None: on that
    threshold: int = 1  # a word must occur so often in the training captions
    max_words: int | None = None  # and be among the so many most frequent ones; None: no limit
    caption_words: int = 30  # longer captions are cut

    # encoder
    encoder: str = "small"  # or any torchvision classifier, e.g. "resnet50"
    weights: str | None = None  # a name of torchvision's ("IMAGENET1K_V1"), a file, or None
    image_size: int | None = None  # pixels; None: what the encoder was made for
    grid: int | None = 8  # regions per side; None: the encoder's own
    finetune: int | None = 0  # so many last blocks learn; 0: frozen, features are cached; None: all
    detector_epochs: int = 12  # the `small` encoder first learns which words fit a picture (training/pretraining.py)
    detector_rate: float = 6e-3
    detector_batch: int = 8  # pictures

    # decoder
    decoder: str = "SpatialDecoder"  # a class of models/decoders.py; of the following it takes those that it knows
    cell: str = "lstm"  # rnn, gru, lstm
    attention: str = "additive"  # additive, dot
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
    epochs: int = 8
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

    def training_config(self) -> TrainingConfig:
        """The part of the settings that `training.fit` takes."""
        return TrainingConfig(
            **{name: getattr(self, name) for name in TrainingConfig.__dataclass_fields__ if hasattr(self, name)}
        )

    def encoder_options(self) -> dict:
        """The arguments of `EncoderCNN`."""
        names = ("weights", "image_size", "grid", "finetune")
        return {"name": self.encoder} | {name: getattr(self, name) for name in names}

    def decoder_options(self) -> dict:
        """The decoder's arguments beside the sizes of vocabulary and features. ValueError for an unknown decoder."""
        if self.decoder not in DECODERS:
            raise ValueError(f"unknown decoder {self.decoder!r}: take one of {', '.join(DECODERS)}")
        known = inspect.signature(DECODERS[self.decoder]).parameters
        return {field.name: getattr(self, field.name) for field in fields(self) if field.name in known}


# Photographs: an ImageNet network, frozen, its features cached; words seen fewer than five times are `<unk>`.
PHOTOGRAPHS = Config(
    dataset="coco",
    threshold=5,
    caption_words=20,
    encoder="resnet50",
    weights="IMAGENET1K_V2",
    grid=None,
    decoder="AttentionDecoder",
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

# What every published system of those below has in common.
_PUBLISHED = replace(
    PHOTOGRAPHS, weights="IMAGENET1K_V1", project=None, weight_decay=0.0, warmup=0.0, dropout=0.0, optimizer="adam"
)

# yc930401/Image-Captioning-pytorch. Its learning rate, 1e-8, and weight decay, 0.95, learn nothing; it tosses the coin
# of teacher forcing once for a caption, here it falls for every word; its `view` mixed regions and channels.
VGG19_GRU = replace(
    _PUBLISHED,
    encoder="vgg19",  # 14 x 14 x 512 at 224 px: before the last pool
    cell="gru",
    attention="dot",
    project=256,
    word_size=256,
    hidden_size=256,
    attention_size=256,
    dropout=0.1,
    teacher_forcing=0.5,  # 1: always the true word, 0: never
    threshold=1,
    optimizer="adamw",
    learning_rate=1e-3,
    weight_decay=0.01,
    epochs=20,
)

# leob03/Image_captionning: assignment 5 of EECS 498-007. Three decoders, everything else alike. The source has its
# 10,000 pictures with one caption each in coco.pt (python -m scripts.convert), and no validation.
RNN = replace(
    _PUBLISHED,
    encoder="regnet_x_400mf",
    image_size=112,  # 4 x 4 x 400
    finetune=None,
    threshold=1,
    caption_words=15,
    decoder="DecoderRNN",
    cell="rnn",
    word_size=256,
    hidden_size=512,
    images_per_batch=256,
    captions_per_image=1,
    optimizer="adamw",
    learning_rate=1e-3,
    weight_decay=0.01,
    epochs=60,
)
LSTM = replace(RNN, cell="lstm")
ATTENTION_LSTM = replace(LSTM, decoder="AttentionLSTM")

# yuanxiaosc/Image-Captioning, after TensorFlow's tutorial of 2019. Its code keeps 3,000 words and embeds them in 128
# numbers, its text says 5,000 and 256; it splits by caption, here by picture, and forgets the GRU's state, kept here.
INCEPTION_GRU = replace(
    _PUBLISHED,
    encoder="inception_v3",  # 8 x 8 x 2048 at 299 px
    subset=30_000,
    threshold=1,
    max_words=5_000,
    caption_words=50,
    decoder="BahdanauGRU",
    project=256,
    word_size=256,
    hidden_size=512,
    attention_size=512,
    images_per_batch=64,
    captions_per_image=1,
    learning_rate=1e-3,
    epochs=20,
)

# shett044/coco-image-caption, after Vinyals et al. 2015. Its encoder is any ResNet, its optimizer any of many; its
# pictures stand upside down by mistake, and its LSTM writes from a random state.
SHOW_AND_TELL = replace(
    _PUBLISHED,
    encoder="resnet50",
    grid=1,
    threshold=4,
    max_words=5_000,
    decoder="ShowAndTell",
    layers=2,
    word_size=256,
    hidden_size=512,
    images_per_batch=128,
    captions_per_image=1,
    learning_rate=1e-3,
    epochs=20,
)

# Xu et al. 2015 as the best-known PyTorch tutorial has it (sgrvinod/a-PyTorch-Tutorial-to-Image-Captioning). The
# paper's own eye is one override away: --encoder vgg19 --image-size 224 --grid none (14 x 14 x 512).
SHOW_ATTEND_TELL = replace(
    _PUBLISHED,
    encoder="resnet101",
    image_size=256,  # 8 x 8 x 2048, kept so
    grid=14,  # stretched when read
    caption_words=50,
    decoder="ShowAttendTell",
    dropout=0.5,
    attention_penalty=1.0,
    learning_rate=4e-4,
    epochs=20,
    patience=8,
)

# Lu et al. 2017. The paper fine-tunes the CNN after 20 epochs: --finetune 1 trains its last block.
ADAPTIVE = replace(
    _PUBLISHED,
    encoder="resnet152",  # 7 x 7 x 2048 at 224 px
    caption_words=18,
    decoder="AdaptiveDecoder",
    dropout=0.5,
    images_per_batch=80,
    learning_rate=5e-4,
    epochs=20,
)

# What replaced the rest: Vaswani et al. 2017 with layer norm first.
TRANSFORMER = replace(
    _PUBLISHED,
    encoder="resnet101",  # 7 x 7 x 2048 at 224 px
    decoder="TransformerDecoder",
    layers=3,
    heads=8,
    hidden_size=512,
    dropout=0.1,
    optimizer="adamw",
    weight_decay=0.01,
    warmup=0.05,
    clip=1.0,
    learning_rate=4e-4,
    epochs=20,
)

PRESETS = {
    "sample": Config(),
    "photographs": PHOTOGRAPHS,
    "vgg19_gru": VGG19_GRU,
    "rnn": RNN,
    "lstm": LSTM,
    "attention_lstm": ATTENTION_LSTM,
    "inception_gru": INCEPTION_GRU,
    "show_and_tell": SHOW_AND_TELL,
    "show_attend_tell": SHOW_ATTEND_TELL,
    "adaptive": ADAPTIVE,
    "transformer": TRANSFORMER,
}

# No ImageNet network knows the drawn sample: there a preset's decoder looks through the eye that `2_Training` trains,
# at the same words and with batches of the same size, so that a table compares decoders.
_ON_SAMPLE = {"encoder": "small", "weights": None, "image_size": None, "grid": 8, "finetune": 0}
_ON_SAMPLE |= {"subset": None, "threshold": 1, "max_words": None, "caption_words": 30}
_ON_SAMPLE |= {"images_per_batch": 16, "captions_per_image": 2}


def for_dataset(dataset: str, preset: str | None = None, given: Mapping[str, str] | None = None) -> Config:
    """The settings of a preset on a dataset, some of them overridden by text, as a command line has them.

    Without a preset the one that suits the dataset: the drawn sample's own, or the one for photographs. A preset on the
    sample gets the sample's eye, unless `given` names another encoder. ValueError as `override`'s.
    """
    given = given or {}
    if preset is None:
        preset = "sample" if dataset == "sample" else "photographs"
    settings = replace(PRESETS[preset], dataset=dataset)
    if dataset == "sample" and "encoder" not in given:
        settings = replace(settings, **_ON_SAMPLE)
    return override(settings, given)


def override(settings: Config, given: Mapping[str, str]) -> Config:
    """The settings with some of them given as text; "none" stands for None.

    Raises ValueError if there is no such setting, its decoder does not know it, or the text is not of its type.
    """
    kinds = typing.get_type_hints(Config)
    values = {}
    for name, text in given.items():
        if name not in kinds:
            close = get_close_matches(name, kinds, n=1)
            hint = f": did you mean --{close[0].replace('_', '-')}?" if close else ""
            raise ValueError(f"unknown setting --{name.replace('_', '-')}{hint}")
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
    settings = replace(settings, **values)
    if settings.select_on not in ("perplexity", "cider"):
        raise ValueError(f"--select-on takes perplexity or cider, not {settings.select_on!r}")
    if settings.views < 1:
        raise ValueError(f"--views must be 1 or more, not {settings.views}")
    of_decoders = {name for kind in DECODERS.values() for name in inspect.signature(kind).parameters}
    unknown = next((n for n in given if n in of_decoders and n not in settings.decoder_options()), None)
    if unknown is not None:
        raise ValueError(f"{settings.decoder} knows no --{unknown.replace('_', '-')}")
    return settings
