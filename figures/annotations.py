"""A picture with its annotated objects: boxes, masks and names, each category in a colour of its own.

Comes in: a picture, and its objects as plain tuples. Goes out: a `Figure`. Knows no files and no dataset.
"""

from collections.abc import Sequence
from typing import Any
from zlib import crc32

import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.patches import Rectangle
from numpy.typing import ArrayLike

from figures.pictures import Picture, as_array, draw_outline, scaled_mask, show
from figures.style import Figure, text_width

# A category's colour comes from its letters: the same in every picture, without a list of categories. The start is one
# that gives the sample's thirteen categories thirteen colours; COCO's eighty have to share.
_KINDS = (
    *("#0072b2", "#c8500a", "#00805e", "#a8558a", "#96690a", "#3f93c4", "#6a3d9a"),
    *("#5b7f23", "#b3394c", "#4d4d4d", "#8c510a", "#2a6f77", "#c2477f"),
)
_START = 5114


def category_color(category: str) -> str:
    """The colour of a category, as #rrggbb."""
    return _KINDS[crc32(category.encode(), _START) % len(_KINDS)]


def show_annotations(
    image: Picture,
    instances: Sequence[tuple[str, ArrayLike | None, Sequence[float]]],
    names: bool = True,
    boxes: bool = True,
    masks: bool = True,
) -> Figure:
    """The picture with its annotated objects; a category has the same colour in every picture.

    Comes in: instances, each (category name, mask bool (H, W) or None, box (x, y, width, height) in pixels); names,
    boxes and masks say what is drawn. Raises ValueError if a mask has not the size of the picture.
    """
    picture = as_array(image, 700)
    scale, ratio = picture.shape[1] / as_array(image).shape[1], picture.shape[0] / picture.shape[1]
    wide = min(5.2, 5.2 / ratio)
    figure = Figure(wide + 0.1, wide * ratio + 0.1, "objects: " + ", ".join(name for name, _, _ in instances))
    axes = figure.inches(0.05, 0.05, wide, wide * ratio)
    show(axes, picture)
    pixel = wide / picture.shape[1]  # inches
    taken: list[tuple[float, float, float]] = []
    for name, mask, (x, y, width, height) in instances:
        color = category_color(name)
        x, y, width, height = (value * scale for value in (x, y, width, height))
        if masks and mask is not None:
            cover = scaled_mask(mask, image, picture)
            axes.imshow(np.dstack([np.full((*cover.shape, 3), to_rgb(color)), 0.35 * cover]))
            draw_outline(axes, cover, color)
        if boxes:
            axes.add_patch(Rectangle((x, y), width, height, fill=False, edgecolor=color, lw=1))
        if names:
            across, tall = (text_width(name, 8) + 0.08) / pixel, 0.17 / pixel
            x, y = min(max(x, 0), picture.shape[1] - across), max(y, tall)
            while any(abs(y - b) < tall and x < a + w and a < x + across for a, b, w in taken):
                y += tall  # two names at one place: the later one goes below
            taken.append((x, y, across))
            plate: dict[str, Any] = {"boxstyle": "square,pad=0.2", "facecolor": color, "edgecolor": "none"}
            axes.text(x + 0.04 / pixel, y - 0.05 / pixel, name, size=8, color="white", va="baseline", bbox=plate)
    return figure
