"""Pictures as the figures need them: as arrays of one size, in rows, with the outline of a mask.

Comes in: PIL images or uint8 arrays (H, W, 3); masks, bool (H, W). Goes out: uint8 arrays, axes that show them, a
`Figure` with pictures in rows. Knows no words, no attention, no files.
"""

import base64
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patheffects import withStroke
from numpy.typing import ArrayLike
from PIL import Image

from dataset.pictures import upright
from figures.style import Figure

Picture = Image.Image | np.ndarray


def as_array(image: Picture | Any, longest: int | None = None) -> np.ndarray:
    """A picture as uint8 (H, W, 3), scaled to `longest` pixels on its longest side, or as it is."""
    if not isinstance(image, Image.Image):
        known = "a picture must be a PIL image or a uint8 array (H, W, 3)"
        if isinstance(image, str | Path | bytes) or not hasattr(image, "__array__"):
            raise ValueError(f"{known}, not {type(image).__name__}; open a file with open_image")
        image = np.asarray(image)
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            raise ValueError(
                f"{known}, not {image.dtype} {image.shape}; turn a tensor (3, H, W) with .permute(1, 2, 0), and "
                "numbers from 0 to 1 with (255 * x).astype(np.uint8)"
            )
        image = Image.fromarray(image)
    image = upright(image)
    if longest and max(image.size) != longest:
        scale = longest / max(image.size)
        width, height = (max(1, round(side * scale)) for side in image.size)
        image = image.resize((width, height), Image.Resampling.BICUBIC)
    return np.asarray(image)


def listed(images: Any) -> list:
    """Pictures as a list, also where there is but one."""
    one = isinstance(images, Image.Image | str | Path) or (isinstance(images, np.ndarray) and images.ndim < 4)
    return [images] if one else list(images)


def data_url(picture: np.ndarray, quality: int = 90) -> str:
    """A picture, uint8 (H, W, 3), as a JPEG inside the address of an image: the page needs no file beside it."""
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=quality)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode()


def show(axes: Axes, picture: np.ndarray) -> None:
    """The picture in the axes, at their lower left, without a frame."""
    axes.imshow(picture, interpolation="antialiased")
    axes.set_anchor("SW")
    axes.axis("off")


def scaled_mask(mask: ArrayLike, image: Picture, picture: np.ndarray) -> np.ndarray:
    """A mask of the image, from 0 to 1 in the size of the scaled picture; a coarse one gets a smooth border."""
    mask, size = np.asarray(mask, bool), as_array(image).shape[:2]
    if mask.shape != size:
        raise ValueError(f"a mask is {mask.shape}, but its picture is {size} (height, width)")
    fine = Image.fromarray(mask.astype(np.float32)).resize(picture.shape[1::-1], Image.Resampling.BICUBIC)
    return np.asarray(fine).clip(0, 1)


def draw_outline(axes: Axes, cover: np.ndarray, color: str, seam: str = "#00000070") -> None:
    """Draw the border of what a scaled mask covers, closed also where the object leaves the picture."""
    height, width = cover.shape
    if cover.max() > 0.5:
        line = axes.contour(range(-1, width + 1), range(-1, height + 1), np.pad(cover, 1), [0.5], colors=color)
        line.set(linewidth=1.4, clip_on=False)
        line.set_path_effects([withStroke(linewidth=2.6, foreground=seam)])
        axes.set(xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5))


def panels(
    pictures: Sequence[np.ndarray], columns: int, width: float, alt: str, head: float = 0, feet: Sequence[float] = ()
) -> Figure:
    """Pictures in rows of `columns`, each `width` inches wide, with `head` inches free above it and its foot below."""
    if columns < 1:
        raise ValueError(f"columns must be 1 or more, not {columns}")
    columns = min(columns, len(pictures))
    gap, edge = 0.12, 0.05
    tall = width * min(1.5, max(picture.shape[0] / picture.shape[1] for picture in pictures))
    starts = range(0, len(pictures), columns)
    steps = [
        head + tall + max(feet[start : start + columns], default=0) + (gap / 2 if head else gap) for start in starts
    ]
    figure = Figure(columns * (width + gap) - gap + 2 * edge, sum(steps) + edge, alt)
    for place, picture in enumerate(pictures):
        row, column = divmod(place, columns)
        show(figure.inches(edge + column * (width + gap), edge + sum(steps[:row]) + head, width, tall), picture)
    return figure
