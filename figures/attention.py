"""Where the model looks: the attention of each word as colours over the picture, in a figure or a film.

Comes in: a picture, the caption's words, attention as a plain array (T, R) over R = g * g regions. Goes out: a
`Figure`, an array, or the pictures of a film. Knows no tensors, no models, no files.
"""

import io
import math
from collections.abc import Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.patheffects import withStroke
from numpy.typing import ArrayLike
from PIL import Image

from figures.pictures import Picture, as_array, draw_outline, panels, scaled_mask, show
from figures.style import BLUE, GREY, INK, Figure, line_count, quiet, shorten, text_width, wrap

# Light yellow to purple: the darker, the more, and so in grey and to colour-blind eyes alike.
HEAT = colormaps["plasma"](np.linspace(0.93, 0.25, 256))[:, :3].astype(np.float32)
HEAT[:86] = 1 + np.linspace(0, 1, 86, dtype=np.float32)[:, None] * (HEAT[:86] - 1)  # it begins as white: as nothing


def overlay(image: Picture, weights: ArrayLike, smooth: bool = True, top: float | None = None) -> np.ndarray:
    """The picture in pale grey, and over it, in colours, where the model looks: the darker, the more.

    Comes in: image; weights (R,), the attention on R = g * g regions in row-major order over the whole picture, or
    (g, g); smooth draws the weights as hills, and smooth=False shows the true grid cells; top, the weight of the
    strongest colour, by default `color_scale` of these weights. Goes out: uint8 (H, W, 3). A night scene becomes as
    pale as a bright one, so that colours look alike on both. Raises ValueError if R is no square, or weights are
    negative or not finite.
    """
    weights = np.asarray(weights, np.float32)
    side = math.isqrt(weights.size)
    if weights.size == 0 or side * side != weights.size or weights.shape not in {(weights.size,), (side, side)}:
        raise ValueError(f"attention must cover a square grid (R = g * g regions), but its shape is {weights.shape}")
    if not np.isfinite(weights).all() or weights.min() < 0:
        raise ValueError("attention weights must be finite and not negative: pass them after the softmax")
    picture = as_array(image)
    height, width = picture.shape[:2]
    how = Image.Resampling.BICUBIC if smooth else Image.Resampling.NEAREST
    heat = np.asarray(Image.fromarray(weights.reshape(side, side)).resize((width, height), how))
    heat = (heat / (color_scale(weights) if top is None else top)).clip(0, 1)  # (H, W)
    # a tint, not a cover: what lies below still shows
    return (255 * _pale(picture)[..., None] * HEAT[(255 * heat).round().astype(np.uint8)]).round().astype(np.uint8)


def color_scale(attention: ArrayLike) -> float:
    """The weight that gets the strongest colour: the largest of all, but at least six times their mean.

    Comes in: attention (R,) or (T, R), whose words then share one scale. Even attention is pale everywhere.
    """
    weights = np.asarray(attention, np.float32)
    return max(float(weights.max()), 6 * float(weights.mean()), 1e-12) if weights.size else 1.0


def _pale(picture: np.ndarray) -> np.ndarray:
    """A picture (H, W, 3) in light grey, from 0.66 to 1, with its contrast stretched: (H, W)."""
    grey = picture.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)
    dark, bright = np.percentile(grey, [1, 99])
    middle, half = (dark + bright) / 2, max((bright - dark) / 2, 40)  # a picture of one colour keeps its noise small
    return 0.66 + 0.34 * ((grey - middle) / half / 2 + 0.5).clip(0, 1)


def _attention(words: Sequence[str], attention: ArrayLike, **others: Sequence | None) -> np.ndarray:
    """The attention as an array (T, R); raises ValueError if it, or one of the others, has not one row per word."""
    rows = np.asarray(attention, np.float32)
    if len(rows) != len(words):
        raise ValueError(f"{len(words)} words but {len(rows)} rows of attention: there must be one row per word")
    for name, values in others.items():
        if values is not None and len(values) != len(words):
            raise ValueError(f"{len(words)} words but {len(values)} {name}: there must be one per word")
    return rows


def attention_figure(
    image: Picture,
    words: Sequence[str],
    attention: ArrayLike,
    probabilities: Sequence[float] | None = None,
    masks: Sequence[ArrayLike | None] | None = None,
    columns: int = 6,
    smooth: bool = True,
) -> Figure:
    """The picture, and then for each word, in colours, where the model looked when it said that word.

    Comes in: words (T); attention (T, R), R = g * g regions row-major over the whole picture; probabilities (T),
    written small beside the words; masks, per word a bool (H, W) of the image whose outline is drawn (the true
    object), or None; smooth as in `overlay`. Goes out: a figure of T + 1 panels, `columns` in a row; all words share
    one scale of colours, drawn over the bare picture. Raises ValueError if lengths differ or a mask has not the size
    of the image.
    """
    rows = _attention(words, attention, probabilities=probabilities, masks=masks)
    width, size = 1.5, 9.5
    picture = as_array(image, 300)
    top = color_scale(rows)
    heat = [overlay(picture, weights, smooth, top) for weights in rows]
    alt = "Where the model looks for each word: " + " ".join(words)
    figure = panels([picture, *heat], columns, width, alt, head=0.23)
    for number, (axes, word) in enumerate(zip(figure.axes[1:], words, strict=True)):
        room = width
        if probabilities is not None:
            chance = f"{probabilities[number]:.2f}"
            room -= text_width(chance, 7.5) + 0.06
            axes.set_title(chance, loc="right", size=7.5, color=GREY, pad=4)
        axes.set_title(shorten(word, room, size), loc="left", size=size, color=INK, pad=4)
        mask = masks[number] if masks is not None else None
        if mask is not None:
            draw_outline(axes, scaled_mask(mask, image, picture), INK, "white")
    if words:
        _scale_bar(figure, width, top)
    return figure


def _scale_bar(figure: Figure, width: float, top: float) -> None:
    """What the colours mean, over the first panel: from 0 to the weight of the strongest colour."""
    most = f"{top:.2g}"
    left, right = 0.05 + text_width("0", 7.5) + 0.05, 0.05 + width - text_width(most, 7.5) - 0.05
    figure.write(0.05, 0.19, "0", size=7.5, color=GREY)
    figure.write(right + 0.05, 0.19, most, size=7.5, color=GREY)
    bar = figure.inches(left, 0.12, right - left, 0.07)
    bar.imshow(HEAT[None], aspect="auto")
    bar.axis("off")


def attention_film(
    image: Picture, words: Sequence[str], attention: ArrayLike, probabilities: Sequence[float] | None = None
) -> list[Image.Image]:
    """The frames of a film: a picture for each word, in colours where the model looked, the caption below it.

    Comes in: as for `attention_figure`. Goes out: T + 1 pictures of one size, the bare one first; Pillow keeps them as
    an animation: `film[0].save("look.gif", save_all=True, append_images=film[1:], duration=900, loop=0)`.
    """
    rows = _attention(words, attention, probabilities=probabilities)
    wide, size, line, picture = 3.6, 11.0, 0.22, as_array(image, 360)
    tall = wide * picture.shape[0] / picture.shape[1]
    placed = wrap(words, wide, size)
    film, top = [], color_scale(rows)
    for now, seen in enumerate([picture, *(overlay(picture, row, top=top) for row in rows)]):
        figure = Figure(wide + 0.2, tall + 0.4 + line * line_count(placed), " ".join(words))
        show(figure.inches(0.1, 0.1, wide, tall), seen)
        for piece, x, row, place in placed:
            at, color = (0.1 + x, tall + 0.32 + row * line), BLUE if place + 1 == now else INK
            figure.write(*at, piece, size=size, color=color)
            if place + 1 == now:
                figure.underline(*at, text_width(piece, size), color)
        if now and probabilities is not None:
            chance = f"{probabilities[now - 1]:.2f}"
            seam = [withStroke(linewidth=2, foreground="white")]
            at = (wide + 0.05 - text_width(chance, 8), 0.24)
            figure.write(*at, chance, size=8, color=INK, path_effects=seam)
        film.append(Image.open(io.BytesIO(figure.encoded())).convert("RGB"))
    return film


def attention_mass(words: Sequence[str], shares: Sequence[float]) -> Figure:
    """How much each word of a caption looks at the picture at all: a bar over each word, 0 to 1.

    Comes in: words and, for each, the sum of its attention (1 - beta of Lu et al. 2017); what is missing to 1 went to
    what the decoder knew already. Raises ValueError if the lengths differ.
    """
    if len(words) != len(shares) or not len(words):
        raise ValueError(f"{len(words)} words and {len(shares)} shares: there must be one share per word")
    wide = max(0.42, max(text_width(word, 8.5) for word in words) + 0.12)
    text = "how much each word looks at the picture: "
    text += ", ".join(f"{word} {share:.2f}" for word, share in zip(words, shares, strict=True))
    figure = Figure(0.75 + wide * len(words), 2.0, text)
    axes = figure.inches(0.6, 0.2, wide * len(words), 1.4)
    quiet(axes, ylabel="looks at the picture")
    axes.bar(range(len(words)), shares, width=0.7, color=BLUE)
    for place, share in enumerate(shares):
        axes.text(place, share + 0.02, f"{share:.2f}", size=7, color=GREY, ha="center")
    axes.set_xticks(range(len(words)), words, size=8.5, color=INK)
    axes.set(xlim=(-0.6, len(words) - 0.4), ylim=(0, 1.1), yticks=(0, 0.5, 1))
    return figure


def grid_figure(image: Picture, rows: int, columns: int) -> Figure:
    """The picture cut into the regions that the encoder describes, numbered in row-major order from 0.

    Raises ValueError if there is not at least one row and one column.
    """
    if rows < 1 or columns < 1:
        raise ValueError(f"a grid needs at least one row and one column, not {rows} x {columns}")
    picture = as_array(image, 500)
    height, width = picture.shape[:2]
    wide = min(4.0, 4.0 * width / height)
    figure = Figure(wide + 0.1, wide * height / width + 0.1, f"a picture cut into {rows} x {columns} regions")
    axes = figure.inches(0.05, 0.05, wide, wide * height / width)
    show(axes, picture)
    stroke = [withStroke(linewidth=1.6, foreground="#00000090")]
    across, down = np.linspace(0, width, columns + 1) - 0.5, np.linspace(0, height, rows + 1) - 0.5
    axes.vlines(across[1:-1], -0.5, height - 0.5, color="white", lw=0.8, path_effects=stroke)
    axes.hlines(down[1:-1], -0.5, width - 0.5, color="white", lw=0.8, path_effects=stroke)
    size = max(4.5, min(9, 72 * 0.3 * wide / columns))
    for region in range(rows * columns):
        row, column = divmod(region, columns)
        at = (across[column] + 0.06 * width / columns, down[row] + 0.06 * height / rows)
        axes.text(*at, str(region), size=size, color="white", va="top", path_effects=stroke)
    return figure
