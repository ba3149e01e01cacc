"""The named presets: the course's own two, and published systems as settings.

Comes in: the name of a preset, and of a dataset. Goes out: a `Config`. What it does not know: how a model is built or
trained.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from models.cells import named
from models.encoders import check_network
from training.config import Config, override

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
# paper's own encoder is one override away: --encoder vgg19 --image-size 224 --grid none (14 x 14 x 512).
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

# No ImageNet network knows the drawn sample: there every preset has the encoder that `2_Training` trains, the same
# words, and batches of the same size, so that a table compares decoders.
_OF_SAMPLE = ["encoder", "weights", "image_size", "grid", "finetune", "subset", "threshold", "max_words"]
_OF_SAMPLE += ["caption_words", "images_per_batch", "captions_per_image"]


def for_dataset(
    dataset: str, preset: str | None = None, given: Mapping[str, str] | None = None, *, encoder: str | None = None
) -> Config:
    """The settings of a preset on a dataset, some of them overridden by text, as a command line has them.

    Without a preset the one that suits the dataset: the drawn sample's own, or the one for photographs. A preset on the
    sample gets the sample's encoder, unless `given` names another. Where `given` names no weights, the small encoder
    has none, one of timm's "DEFAULT", and one of torchvision's the preset's, or "DEFAULT" if it has none: random
    weights must be asked for. `encoder` names encoder and weights at once: "NAME=WEIGHTS", or "NAME" for those of its
    package; errors as `check_network`'s. ValueError as `override`'s.
    """
    given = dict(given or {})
    if encoder is not None:
        name, _, weights = encoder.partition("=")
        given |= {"encoder": name, "weights": weights or ("none" if name == "small" else "DEFAULT")}
        check_network(name, None if given["weights"] == "none" else given["weights"])
    if preset is None:
        preset = "sample" if dataset == "sample" else "photographs"
    settings = replace(named(PRESETS, preset, "preset"), dataset=dataset)
    if dataset == "sample" and "encoder" not in given:
        settings = replace(settings, **{name: getattr(PRESETS["sample"], name) for name in _OF_SAMPLE})
    name = given.get("encoder", settings.encoder)
    if name == "small" or name.startswith("timm/") or settings.weights is None:
        settings = replace(settings, weights=None if name == "small" else "DEFAULT")
    if "threshold" in given:  # asked for: it stays
        given = {"unknown": "1"} | given
    return override(settings, given)
