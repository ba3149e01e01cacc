"""Captions as a file in COCO's results format: [{"image_id": 42, "caption": "…"}, …].

Comes in: captions by image id, or such a file from anybody. Goes out: the file, or the captions of the images asked
for. What it does not know: references, scores, models.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from dataset import files
from dataset.paths import folded, stem
from evaluation.metrics import Id
from vocabulary import tokenize


def save(path: str | Path, captions: Mapping[Id, str]) -> None:
    """Write captions as pycocotools' `loadRes` and COCO's evaluation read them, the whole file or nothing."""
    ids = [image.item() if hasattr(image, "item") else image for image in captions]  # of NumPy or torch
    rows = [{"image_id": image, "caption": caption} for image, caption in zip(ids, captions.values(), strict=True)]
    files.write(path, json.dumps(rows, ensure_ascii=False, indent=0))


def load(path: str | Path, images: Iterable[Id], *, more: bool = False, partial: bool = False) -> dict[Id, str]:
    """`read` and `select` at once: the caption in this file of every one of these images; errors as theirs."""
    return select(read(path), path, images, more=more, partial=partial)


def select(
    rows: list[Any], path: str | Path, images: Iterable[Id], *, more: bool = False, partial: bool = False
) -> dict[Id, str]:
    """The caption of every one of these images, from what `read` gave of the file at `path`.

    With `more` the file may hold others, with `partial` lack some, too.

    An image may be named by its id as text, or by the name of its file, with or without folder and suffix. A caption
    without words counts as one, and that is printed; so is how much a file covers that is scored in part.

    Raises a ValueError that says which image is unknown, missing, repeated, or has no caption or no text.
    """
    wanted = set(images)
    find, captions, empty, others = _finder(wanted), dict[Id, str](), list[Id](), 0
    for number, row in enumerate(rows, 1):
        if not isinstance(row, dict) or not isinstance(row.get("caption"), str) or not _is_id(row.get("image_id")):
            raise ValueError(f"{path}: entry {number} is not an object with image_id and caption")
        given = row["image_id"]
        image = find(given)
        if image is None and not more and not partial:
            raise ValueError(
                f"{path}: entry {number} captions image {given}, which is not in this split: name its --split, or "
                "score with --partial the images that are in both"
            )
        if image is None:
            others += 1
            continue
        if image in captions:
            raise ValueError(f"{path}: image {given} has two captions, the second is entry {number}")
        if half := re.search(r"[\ud800-\udfff]", row["caption"]):
            raise ValueError(
                f"{path}: the caption of image {given}, entry {number}, has half a character ({half[0]!a}), which no "
                "file of text can keep: write the captions again, each character whole"
            )
        captions[image] = row["caption"]
        if not tokenize(row["caption"]):
            empty.append(image)
    missing = sorted(wanted - captions.keys(), key=str)
    if missing and (not partial or not captions):
        some = ", ".join(map(str, missing[:3]))
        way = "none is left to score" if partial else "--partial scores the others"
        raise ValueError(f"{path}: {len(missing):,} of {len(wanted):,} images have no caption, such as {some}; {way}")
    if partial and (missing or others):
        left = f"; {others:,} captions of other images are left out" if others else ""
        print(f"{path}: scored on the {len(captions):,} of {len(wanted):,} images that it captions{left}")
    if empty:
        some = ", ".join(map(str, empty[:3]))
        print(f"{path}: {len(empty):,} of {len(captions):,} captions have no words and score 0, such as that of {some}")
    return captions


def read(path: str | Path) -> list[Any]:
    """The entries of a results file, not yet looked at; FileNotFoundError, or ValueError if it is no list in JSON."""
    if os.path.isdir(path):
        raise ValueError(f"{path} is a folder: name the file of results in it")
    try:
        rows = json.loads(Path(path).read_bytes())  # UTF-8, also with a mark, or UTF-16
    except FileNotFoundError:
        raise FileNotFoundError(f"there are no results at {path}") from None
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not a results file: {error}") from None
    if not isinstance(rows, list):
        raise ValueError(f"{path} is not a results file: it should be a list of objects with image_id and caption")
    return rows


def _is_id(value: object) -> bool:
    whole = isinstance(value, float) and value.is_integer()
    return whole or (isinstance(value, (int, str)) and not isinstance(value, bool))


def _finder(images: Collection[Id]) -> Callable[[int | float | str], Id | None]:
    """A function from what an entry calls an image to that image; what could be several is none."""
    of_text = {str(image): image for image in images}
    of_file: dict[str, Id | None] = {}
    for image in images:
        for name in {folded(_base(str(image))), stem(_base(str(image)))}:
            of_file[name] = None if name in of_file else image

    def find(given: int | float | str) -> Id | None:
        exact = next((of_text[name] for name in _names(given) if name in of_text), None)
        return of_file.get(folded(_base(given))) if exact is None and isinstance(given, str) else exact

    return find


def _names(given: int | float | str) -> list[str]:
    """The ids, as text, that an entry may mean: 42, 42.0, "42", "000042", "COCO_val2014_000000000042.jpg"."""
    if not isinstance(given, str):
        return [str(int(given))]
    number = re.fullmatch(r"(?:.*/)?(?:COCO_[a-z]+\d{4}_)?0*(\d+)(?:\.\w+)?", given.strip())
    return [given, given.strip(), *([number[1]] if number else [])]


def _base(name: str) -> str:
    """A file's name without its folders."""
    return name.strip().replace("\\", "/").rpartition("/")[2]
