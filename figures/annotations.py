"""A picture with its annotated objects: boxes, masks and names, each category in a colour of its own.

Comes in: a picture, and its objects as plain tuples. Goes out: a `Figure`. Knows no files and no dataset.
"""

import zlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke
from numpy.typing import ArrayLike

from figures.pictures import Picture, as_array, draw_outline, scaled_mask, show
from figures.style import Figure, text_width

# Each is dark enough for white letters on it and for letters of it on white (contrast 4.5 : 1 or more).
KINDS = (
    *("#0072b2", "#c8500a", "#00805e", "#b0388f", "#8a6d00", "#6a3d9a", "#c0272d", "#007f8c"),
    *("#55771c", "#7a4a2b", "#4d5b6b", "#1f3a93", "#d0406f", "#9a52d0", "#222222"),
)
Object = tuple[str, ArrayLike | None]  # a category, a mask (H, W) or None


def category_colors(categories: Iterable[str]) -> dict[str, str]:
    """A colour, as #rrggbb, for each of the categories that one figure shows, no two alike as long as there are enough.

    It comes from the category's letters, so that it is the same in every figure; only where two of one figure would
    share a colour, the later in the alphabet takes the next that is free. The categories of the sample never do.
    """
    chosen: dict[str, str] = {}
    for category in sorted(set(categories)):
        first = zlib.crc32(f"525{category}".encode()) % len(KINDS)  # with this number the sample's are all distinct
        order = KINDS[first:] + KINDS[:first]
        chosen[category] = next((color for color in order if color not in chosen.values()), order[0])
    return chosen


def draw_objects(axes: Axes, image: Picture, picture: np.ndarray, objects: Iterable[Object], colors: Mapping) -> None:
    """Over the scaled picture that the axes show, the outline of each object's mask in its category's colour.

    Raises ValueError if a mask has not the size of the image.
    """
    for category, mask in objects:
        if mask is not None:
            cover = scaled_mask(mask, image, picture)
            draw_outline(axes, cover, colors[category], "white")


def show_annotations(
    image: Picture,
    instances: Sequence[tuple[str, ArrayLike | None, Sequence[float]]],
    names: bool = True,
    boxes: bool = True,
    masks: bool = True,
) -> Figure:
    """The picture with its annotated objects; each category has its own colour, see `category_colors`.

    Comes in: instances, each (category name, mask bool (H, W) or None, box (x, y, width, height) in pixels); names,
    boxes and masks say what is drawn. Raises ValueError if a mask has not the size of the picture.
    """
    picture = as_array(image, 700)
    scale, ratio = picture.shape[1] / as_array(image).shape[1], picture.shape[0] / picture.shape[1]
    wide = min(5.2, 5.2 / ratio)
    figure = Figure(wide + 0.1, wide * ratio + 0.1, "objects: " + ", ".join(name for name, _, _ in instances))
    axes = figure.inches(0.05, 0.05, wide, wide * ratio)
    show(axes, picture)
    colors = category_colors(name for name, _, _ in instances)
    if masks:
        for name, mask, _ in instances:
            if mask is not None:  # tinted: that is what the mask keeps
                cover = scaled_mask(mask, image, picture)
                axes.imshow(np.dstack([np.full((*cover.shape, 3), to_rgb(colors[name])), 0.35 * cover]))
        draw_objects(axes, image, picture, [(name, mask) for name, mask, _ in instances], colors)
    if boxes:
        for name, _, box in instances:
            x, y, width, height = (value * scale for value in box)
            frame: dict[str, Any] = {"fill": False, "edgecolor": colors[name], "lw": 1.6}
            seam = [withStroke(linewidth=3, foreground="white")]
            axes.add_patch(Rectangle((x, y), width, height, path_effects=seam, **frame))
    if names:
        pixel = wide / picture.shape[1]  # inches
        _name(axes, [(name, box[0] * scale, box[1] * scale) for name, _, box in instances], colors, pixel)
    return figure


def _name(axes: Axes, places: Sequence[tuple[str, float, float]], colors: Mapping[str, str], pixel: float) -> None:
    """Names on plates of their colour above (x, y), each inside the picture, none over another while there is room."""
    width, height = axes.get_xlim()[1] + 0.5, axes.get_ylim()[0] + 0.5
    tall, taken = 0.19 / pixel, list[tuple[float, float, float]]()
    for name, x, y in places:
        across = (text_width(name, 8) + 0.12) / pixel
        x, wanted = min(max(x, 0), max(width - across, 0)), min(max(y, tall), height)
        # at its place, else in the nearest free line: of those above and below that are inside the picture
        lines = sorted(np.arange(wanted % tall, height + 1, tall), key=lambda line: (abs(line - wanted), line))
        inside = [line for line in lines if tall <= line + 1e-6 and line <= height]
        free = (line for line in inside if not any(_meet(x, line, across, other, tall) for other in taken))
        y = next(free, wanted)
        taken.append((x, y, across))
        plate: dict[str, Any] = {
            "boxstyle": "square,pad=0.2",
            "facecolor": colors[name],
            "edgecolor": "white",
            "lw": 0.6,
        }
        at = (x + 0.06 / pixel, y - 0.06 / pixel)
        axes.text(*at, name, size=8, color="white", va="baseline", bbox=plate)


def _meet(x: float, y: float, across: float, other: tuple[float, float, float], tall: float) -> bool:
    """Whether a plate at (x, y) would lie over another one."""
    left, line, wide = other
    return abs(y - line) < tall - 1e-6 and x < left + wide and left < x + across
