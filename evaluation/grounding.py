"""Did the model look at what it named? The pointing game (Zhang et al. 2016) over COCO's categories.

Comes in: the words of a caption, an attention map for each, and the masks of the picture's objects. Goes out: a `Look`
for every named object that is annotated. What it does not know: models, tensors, files.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from evaluation.objects import Tokens, find_object_mentions


class Look(NamedTuple):
    """One look at a named thing: is attention's peak in its mask, how much of attention is, how large is the mask."""

    category: str
    hit: bool
    mass: float
    chance: float  # the mask's share of the picture: what a random look would hit


def grounding(tokens: Tokens, attention: np.ndarray, instances: Sequence[tuple[str, np.ndarray]]) -> list[Look]:
    """For every noun of a caption whose category is annotated: did the model look at it while saying it?

    `tokens` are the caption's T words, `attention` (>= T, R) their maps, R = side * side regions row by row over the
    whole picture, `instances` the picture's objects as pairs (category, mask), the masks bool (height, width) of one
    size. A peak is the centre of its region.
    """
    looks = []
    for mention in find_object_mentions(tokens):
        masks = [mask for category, mask in instances if category == mention.category]
        if not masks:
            continue
        mask = np.logical_or.reduce(masks)
        weights = attention[mention.end - 1]
        side = round(len(weights) ** 0.5)
        row, column = divmod(int(weights.argmax()), side)
        height, width = mask.shape
        hit = mask[int((row + 0.5) * height / side), int((column + 0.5) * width / side)]
        share = _cell_shares(mask, side)
        looks.append(Look(mention.category, bool(hit), float(weights @ share.ravel()), float(mask.mean())))
    return looks


def _cell_shares(mask: np.ndarray, side: int) -> np.ndarray:
    """The share of each grid cell that the mask covers: (height, width) bool -> (side, side)."""
    rows = np.arange(mask.shape[0]) * side // mask.shape[0]
    columns = np.arange(mask.shape[1]) * side // mask.shape[1]
    cells = rows[:, None] * side + columns
    counts = np.bincount(cells.ravel(), minlength=side * side)
    return (np.bincount(cells.ravel(), mask.ravel(), minlength=side * side) / np.maximum(counts, 1)).reshape(side, side)
