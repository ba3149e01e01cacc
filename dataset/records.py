"""What a dataset becomes: a list of records, one for each image, with its captions and annotated objects.

Comes in: what the layouts have read. Goes out: `Record` and `Instance`, which cannot be changed and can be sent to
worker processes; the masks of objects as arrays; a fingerprint that tells datasets apart. It knows no files.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as rle

from dataset.checks import are_numbers, shown

SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class Instance:
    """One annotated object.

    `box` is (x, y, width, height) and `area` a number of pixels, both in the image as it lies on disk; `segmentation`
    is COCO's: polygons [[x, y, x, y, ...], ...] or a run-length encoding {"size": [height, width], "counts": ...}.
    """

    category: str
    box: tuple[float, float, float, float]
    area: float
    segmentation: list[list[float]] | dict[str, Any]
    crowd: bool = False
    attributes: dict[str, str] = field(default_factory=dict)

    def mask(self, height: int, width: int) -> np.ndarray:
        """The object's pixels in an image of that size: bool (height, width).

        Raises ValueError if the segmentation was encoded for an image of another size, or is none.
        """
        if isinstance(self.segmentation, dict):
            return self._decode_runs(self.segmentation, height, width)
        limit = 100 * max(height, width)
        if not isinstance(self.segmentation, list) or not all(are_numbers(p, limit) for p in self.segmentation):
            raise ValueError(f"The mask of this {self.category} is damaged: {shown(self.segmentation)} is no polygons.")
        # A polygon needs three corners; pycocotools would take four numbers for a box.
        polygons = [polygon for polygon in self.segmentation if len(polygon) >= 6]
        if not polygons:
            return np.zeros((height, width), dtype=bool)
        return rle.decode(rle.merge(rle.frPyObjects(polygons, height, width))).astype(bool)

    def _decode_runs(self, encoded: dict[str, Any], height: int, width: int) -> np.ndarray:
        size = encoded.get("size")
        if size != [height, width]:
            raise ValueError(
                f"The mask of this {self.category} was encoded for an image of height x width {shown(size)}, "
                f"not {[height, width]}: ask for it in its own size, then resize it."
            )
        counts = encoded.get("counts")
        runs = counts if isinstance(counts, list) else _runs_of(counts)  # crowds in COCO are not compressed
        if not are_numbers(runs) or any(type(run) is not int or run < 0 for run in runs) or sum(runs) != height * width:
            raise ValueError(f"The mask of this {self.category} is damaged: its runs do not fill {size}.")
        inside = np.arange(len(runs)) % 2 == 1  # the first run is outside the object; runs go down the columns
        return np.repeat(inside, runs).reshape(width, height).T


@dataclass(frozen=True)
class Record:
    """One image with its captions; `width` and `height` are 0 where the annotations do not give them."""

    image_id: int | str
    path: Path
    split: str
    captions: tuple[str, ...]
    width: int = 0
    height: int = 0
    instances: tuple[Instance, ...] = ()

    @property
    def categories(self) -> tuple[str, ...]:
        """Names of the annotated categories, each once, in order of first appearance."""
        return tuple(dict.fromkeys(instance.category for instance in self.instances))


def _runs_of(counts: Any) -> list[int]:
    """The run lengths in COCO's compressed text; [] if it is none.

    Each number is given in characters of five bits, the lowest first, a sixth bit saying that more follow; from the
    fourth number on it is the difference to the last but one. As `rleFrString` in pycocotools, which takes any bytes,
    and whose `decode` leaves what too few runs do not fill as the memory was.
    """
    runs, number, bits = list[int](), 0, 0
    text = counts.encode("ascii", "replace") if isinstance(counts, str) else counts
    for byte in text if isinstance(text, bytes) else b"":
        if bits > 30:  # no picture has as many pixels
            return []
        number |= (byte - 48 & 31) << bits
        bits += 5
        if not byte - 48 & 32:
            number -= (byte - 48 & 16) << bits - 4  # the sign
            runs.append(number + (runs[-2] if len(runs) > 2 else 0))
            number = bits = 0
    return runs


def fingerprint(records: Iterable[Record]) -> str:
    """A short hash of ids and captions, in their order: the same on every machine, another for another dataset."""
    digest = sha256()
    for record in records:
        digest.update(json.dumps([record.image_id, record.captions]).encode())
    return digest.hexdigest()[:16]


def split_rank(split: str) -> tuple[int, str]:
    """Sort key of splits: train, val, test, then any others by name."""
    return (SPLITS.index(split) if split in SPLITS else len(SPLITS)), split


def choose_splits(split: str | None, available: Iterable[str], folder: Path) -> list[str]:
    """The splits to read: the one asked for, or all that there are; ValueError if `folder` does not have it."""
    splits = sorted(set(available), key=split_rank)
    if split is not None and split not in splits:
        raise ValueError(f"{folder} has no split {split!r}; it has {', '.join(splits)}.")
    return splits if split is None else [split]
