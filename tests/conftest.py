"""Fixtures that several tests share."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image, ImageDraw

from coco import Record, load
from model import Captioner, DecoderRNN, EncoderCNN
from vocabulary import Vocabulary

COLORS = ("red", "green", "blue", "black")
SHAPES = ("square", "triangle")


@pytest.fixture
def tiny_coco(tmp_path: Path) -> Path:
    """A dataset in COCO's layout: 12 drawn pictures of 64 pixels (6 train, 3 val, 3 test), five captions each,
    a left and a right shape annotated in each."""
    folder = tmp_path / "tiny"
    (folder / "annotations").mkdir(parents=True)
    number = 0
    for split, size in (("train", 6), ("val", 3), ("test", 3)):
        (folder / split).mkdir()
        images, captions, instances = [], [], []
        for _ in range(size):
            number += 1
            name = f"{number:06d}.png"
            picture = Image.new("RGB", (64, 64), "white")
            nouns = []
            for side in range(2):
                color, shape = COLORS[(number + side) % 4], SHAPES[(number // 2 + side) % 2]
                x, y = 4 + 32 * side, 20
                corners = [(x, y), (x + 24, y), (x + 24, y + 24), (x, y + 24)]
                if shape == "triangle":
                    corners = [(x + 12, y), (x + 24, y + 24), (x, y + 24)]
                ImageDraw.Draw(picture).polygon(corners, fill=color)
                nouns.append(f"{color} {shape}")
                instances.append(
                    {
                        "id": len(instances) + 1,
                        "image_id": number,
                        "category_id": SHAPES.index(shape) + 1,
                        "bbox": [x, y, 24, 24],
                        "area": 576 if shape == "square" else 288,
                        "iscrowd": 0,
                        "segmentation": [[value for corner in corners for value in corner]],
                        "attributes": {"color": color},
                    }
                )
            picture.save(folder / split / name)
            images.append({"id": number, "file_name": name, "width": 64, "height": 64})
            left, right = nouns
            for text in (
                f"A {left} to the left of a {right}.",
                f"a {right} is right of the {left}",
                f"A {left} and a {right}.",
                f"There is a {left} beside a {right}.",
                f"two shapes, a {left} and a {right}",
            ):
                captions.append({"id": len(captions) + 1, "image_id": number, "caption": text})
        categories = [{"id": i + 1, "name": name} for i, name in enumerate(SHAPES)]
        for kind, annotations in (("captions", captions), ("instances", instances)):
            content = {"images": images, "annotations": annotations, "categories": categories}
            if kind == "captions":
                del content["categories"]
            (folder / "annotations" / f"{kind}_{split}.json").write_text(json.dumps(content), encoding="utf-8")
    return folder


@pytest.fixture
def records(tiny_coco: Path) -> dict[str, list[Record]]:
    """The tiny dataset's records, by split."""
    return {split: load(tiny_coco, split) for split in ("train", "val", "test")}


@pytest.fixture
def vocabulary(records: dict[str, list[Record]]) -> Vocabulary:
    """The words of the tiny dataset's training captions."""
    return Vocabulary(caption for record in records["train"] for caption in record.captions)


@pytest.fixture
def captioner(vocabulary: Vocabulary) -> Callable[..., Captioner]:
    """Builds a tiny captioner of pictures of 32 pixels, 2 x 2 regions: `captioner(seed, …, **decoder)`."""

    def build(seed: int = 0, finetune: int | None = None, kind: type = DecoderRNN, **decoder) -> Captioner:
        torch.manual_seed(seed)
        encoder = EncoderCNN("small", image_size=32, grid=2, finetune=finetune)
        sizes = {"word_size": 8, "hidden_size": 16, "attention_size": 8, "dropout": 0.0}
        return Captioner(encoder, kind(len(vocabulary), encoder.feature_size, **(sizes | decoder)))

    return build
