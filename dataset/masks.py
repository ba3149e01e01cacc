"""The masks of a record's objects as they lie over its picture.

Comes in: a record. Goes out: each object's category and mask, turned as `open_image` turns the picture. What it does
not know: who looks where.

COCO's masks, width and height are of the pixels as the file has them. Other programs annotate the picture as people see
it; where the sides that the record gives are those, its masks are upright already.
"""

from __future__ import annotations

import numpy as np
from PIL import Image

from dataset.pictures import turn_of
from dataset.records import Record


def upright_masks(record: Record) -> list[tuple[str, np.ndarray]]:
    """(category, bool (height, width)) of each object, over the picture that `open_image(record.path)` gives.

    [] if the record does not say its size. Raises ValueError if a mask is damaged.
    """
    if not (record.height and record.width and record.instances):
        return []
    masks = [(thing.category, thing.mask(record.height, record.width)) for thing in record.instances]
    (width, height), turn = turn_of(record.path)
    lies, stands = (width > height) - (width < height), (record.width > record.height) - (record.width < record.height)
    if turn is None or lies != stands:
        return masks
    return [(name, np.asarray(Image.fromarray(mask.astype(np.uint8)).transpose(turn), bool)) for name, mask in masks]
