"""Captions as a file in COCO's results format: [{"image_id": 42, "caption": "…"}, …].

Comes in: captions by image id, or such a file from anybody. Goes out: the file, or the captions of the images asked
for. What it does not know: references, scores, models.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from dataset import files
from evaluation.metrics import Id
from vocabulary import tokenize


def save(path: str | Path, captions: Mapping[Id, str]) -> None:
    """Write captions as pycocotools' `loadRes` and COCO's evaluation read them, the whole file or nothing."""
    rows = [{"image_id": image, "caption": caption} for image, caption in captions.items()]
    files.write(path, json.dumps(rows, ensure_ascii=False, indent=0))


def load(path: str | Path, images: Iterable[Id], *, more: bool = False) -> dict[Id, str]:
    """The caption of every one of these images; with `more` the file may hold others, too.

    Raises FileNotFoundError, or a ValueError that says which image is unknown, missing, repeated or without a caption.
    """
    try:
        rows = json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise FileNotFoundError(f"there are no results at {path}") from None
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not a results file: {error}") from None
    if not isinstance(rows, list):
        raise ValueError(f"{path} is not a results file: it should be a list of objects with image_id and caption")
    wanted, captions = set(images), {}
    for number, row in enumerate(rows, 1):
        if not isinstance(row, dict) or not isinstance(row.get("caption"), str) or not _is_id(row.get("image_id")):
            raise ValueError(f"{path}: entry {number} is not an object with image_id and caption")
        image = row["image_id"]
        if more and image not in wanted:
            continue
        if image not in wanted:
            raise ValueError(f"{path}: entry {number} captions image {image}, which is not in this split")
        if image in captions:
            raise ValueError(f"{path}: image {image} has two captions, the second is entry {number}")
        if not tokenize(row["caption"]):
            raise ValueError(f"{path}: the caption of image {image} (entry {number}) has no words")
        captions[image] = row["caption"]
    missing = wanted - captions.keys()
    if missing:
        some = ", ".join(map(str, sorted(missing, key=str)[:3]))
        raise ValueError(f"{path}: {len(missing)} of {len(wanted)} images have no caption, such as {some}")
    return captions


def _is_id(value: object) -> bool:
    return isinstance(value, (int, str)) and not isinstance(value, bool)
