"""Figures of pictures: where the model looks, galleries, annotations; and the style that all figures share.

Comes in: pictures (PIL images or uint8 arrays (H, W, 3)), words, plain arrays. Goes out: a `Figure`, which Jupyter
shows when it is the last line of a cell, and which `figure.savefig("name.png")` keeps. Knows no tensors, no models,
no files.
"""

import base64
import html
import io
import math
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.figure
import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import RendererAgg
from matplotlib.colors import to_rgb
from matplotlib.font_manager import FontProperties
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke
from numpy.typing import ArrayLike
from PIL import Image

Picture = Image.Image | np.ndarray

# After Okabe and Ito, distinct for colour-blind readers too; some a little darker, so that text in them is readable.
INK, GREY, FAINT = "#222222", "#6f6f6f", "#d4d4d4"
BLUE, ORANGE, GREEN, PURPLE, SKY = "#0072b2", "#c8500a", "#00805e", "#a8558a", "#3f93c4"
AMBER = np.array([255, 176, 0], np.float32)
CIVIDIS = colormaps["cividis"](np.linspace(0, 1, 256))[:, :3].astype(np.float32)
DPI = 100
_ruler = RendererAgg(1, 1, DPI)  # measures text exactly as the figures will draw it


class Figure(matplotlib.figure.Figure):
    """A figure that pyplot never hears of, so nothing needs closing; Jupyter shows it, with a text for the blind."""

    def __init__(self, width: float, height: float, alt: str) -> None:
        """Comes in: width and height in inches, and in `alt` what somebody who cannot see the figure should know."""
        super().__init__(figsize=(width, height), dpi=DPI, facecolor="white")
        self.alt = alt

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> tuple[dict, dict]:
        kind, data = "image/png", _encoded(self, pil_kwargs={"optimize": True})
        if len(data) > 60_000:  # pictures in it: a notebook must stay small enough to open everywhere
            how = {"quality": 85, "subsampling": 0, "optimize": True}
            kind, data = "image/jpeg", _encoded(self, format="jpeg", pil_kwargs=how)
        return {kind: base64.b64encode(data).decode()}, {kind: {"alt": self.alt}}

    def as_html(self) -> str:
        """The figure as an <img> that needs no file beside it: what a widget can show."""
        ((kind, data),) = self._repr_mimebundle_()[0].items()
        return f'<img alt="{html.escape(self.alt)}" src="data:{kind};base64,{data}" style="max-width:100%">'

    def inches(self, left: float, top: float, width: float, height: float) -> Axes:
        """Axes whose place is given in inches from the figure's top left corner."""
        across, down = self.get_size_inches()
        return self.add_axes((left / across, 1 - (top + height) / down, width / across, height / down))

    def below(self, axes: Axes) -> tuple[float, float]:
        """Where the first line of text below a picture starts: inches from the left, inches from the top."""
        box = axes.get_position(original=True)
        return box.x0 * self.get_figwidth(), (1 - box.y0) * self.get_figheight() + 0.17

    def write(self, left: float, top: float, text: str, **how: Any) -> None:
        """Text at a place given in inches from the left and from the top; a $ is a $, no formula."""
        self.text(left / self.get_figwidth(), 1 - top / self.get_figheight(), text, parse_math=False, **how)

    def underline(self, left: float, top: float, width: float, color: str) -> None:
        """A line under a text written at the same place."""
        across, y = self.get_figwidth(), 1 - (top + 0.035) / self.get_figheight()
        self.add_artist(Line2D([left / across, (left + width) / across], [y, y], color=color, linewidth=0.9))

    def page(self) -> Axes:
        """Axes over the whole figure in inches, y pointing down: a sheet to draw on."""
        axes = self.inches(0, 0, *self.get_size_inches())
        axes.set(xlim=(0, self.get_figwidth()), ylim=(self.get_figheight(), 0))
        axes.axis("off")
        return axes


def _encoded(figure: Figure, **how: Any) -> bytes:
    file = io.BytesIO()
    figure.savefig(file, dpi=DPI, **how)
    return file.getvalue()


def text_width(text: str, size: float, weight: str = "normal") -> float:
    """The width in inches of `text` at `size` points."""
    return _ruler.get_text_width_height_descent(text, FontProperties(size=size, weight=weight), False)[0] / DPI


def shorten(text: str, width: float, size: float) -> str:
    """`text`, cut with an ellipsis where it would be wider than `width` inches."""
    if text_width(text, size) <= width:
        return text
    while text and text_width(text + "…", size) > width:
        text = text[:-1]
    return text + "…"


def as_array(image: Picture, longest: int | None = None) -> np.ndarray:
    """A picture as uint8 (H, W, 3), scaled to `longest` pixels on its longest side, or as it is."""
    if not isinstance(image, Image.Image):
        image = np.asarray(image)
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            raise ValueError(
                f"a picture must be a PIL image or a uint8 array (H, W, 3), not {image.dtype} {image.shape}; "
                "turn a tensor (3, H, W) with .permute(1, 2, 0)"
            )
        image = Image.fromarray(image)
    image = image.convert("RGB")
    if longest and max(image.size) != longest:
        scale = longest / max(image.size)
        width, height = (max(1, round(side * scale)) for side in image.size)
        image = image.resize((width, height), Image.Resampling.BICUBIC)
    return np.asarray(image)


def _show(axes: Axes, picture: np.ndarray) -> None:
    axes.imshow(picture, interpolation="antialiased")
    axes.set_anchor("SW")
    axes.axis("off")


def _scaled(mask: ArrayLike, image: Picture, picture: np.ndarray) -> np.ndarray:
    """A mask of the image, from 0 to 1 in the size of the scaled picture; a coarse one gets a smooth border."""
    mask, size = np.asarray(mask, bool), as_array(image).shape[:2]
    if mask.shape != size:
        raise ValueError(f"a mask is {mask.shape}, but its picture is {size} (height, width)")
    fine = Image.fromarray(mask.astype(np.float32)).resize(picture.shape[1::-1], Image.Resampling.BICUBIC)
    return np.asarray(fine).clip(0, 1)


def _outline(axes: Axes, cover: np.ndarray, color: str) -> None:
    """Draw the border of what a scaled mask covers, closed also where the object leaves the picture."""
    height, width = cover.shape
    if cover.max() > 0.5:
        line = axes.contour(range(-1, width + 1), range(-1, height + 1), np.pad(cover, 1), [0.5], colors=color)
        line.set(linewidth=1.4, clip_on=False)
        line.set_path_effects([withStroke(linewidth=2.6, foreground="#00000070")])
        axes.set(xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5))


def _panels(
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
        _show(figure.inches(edge + column * (width + gap), edge + sum(steps[:row]) + head, width, tall), picture)
    return figure


# Where the model looks


def overlay(
    image: Picture, weights: ArrayLike, smooth: bool = True, strength: float = 0.6, colors: bool = False
) -> np.ndarray:
    """The picture with light where the model looks; the rest is darker and greyer.

    Comes in: image; weights (R,), the attention on R = g * g regions in row-major order over the whole picture, or
    (g, g); smooth draws the weights as hills, with a thin line at half of the peak, and smooth=False shows the true
    grid cells; strength, from 0 (no effect) to 1 (black where the weight is 0); colors lays the weights over the grey
    picture as colours from blue to yellow instead (cividis, alike to colour-blind readers). Goes out: uint8 (H, W, 3).
    The largest weight keeps the picture as it is, and other weights count relative to it, so that even attention
    leaves the whole picture bright. Raises ValueError if R is no square, or weights are negative or not finite.
    """
    weights = np.asarray(weights, np.float32)
    side = math.isqrt(weights.size)
    if weights.size == 0 or side * side != weights.size or weights.shape not in {(weights.size,), (side, side)}:
        raise ValueError(f"attention must cover a square grid (R = g * g regions), but its shape is {weights.shape}")
    if not np.isfinite(weights).all() or weights.min() < 0:
        raise ValueError("attention weights must be finite and not negative: pass them after the softmax")
    picture = as_array(image).astype(np.float32)
    height, width = picture.shape[:2]
    how = Image.Resampling.BICUBIC if smooth else Image.Resampling.NEAREST
    light = np.asarray(Image.fromarray(weights.reshape(side, side)).resize((width, height), how))
    light = (light / max(light.max(), 1e-12)).clip(0, 1)[..., None]  # (H, W, 1)
    grey = picture @ np.array([[0.299], [0.587], [0.114]], np.float32)  # (H, W, 1)
    if colors:
        lit = (1 - strength) * grey + strength * 255 * CIVIDIS[(255 * light[..., 0]).astype(np.uint8)]
    else:
        dark = (1 - strength) * (0.5 * picture + 0.5 * grey)
        lit = light * picture + (1 - light) * dark
    if colors or not smooth:
        return lit.round().astype(np.uint8)
    slope = np.hypot(*np.gradient(light[..., 0]))[..., None]
    line = 0.8 * (1.5 - abs(light - 0.5) / np.maximum(slope, 1e-6)).clip(0, 1)  # 1 within a pixel of the line
    return (line * AMBER + (1 - line) * lit).round().astype(np.uint8)


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
    strength: float = 0.6,
) -> Figure:
    """The picture, and then for each word the picture lit where the model looked when it said that word.

    Comes in: words (T); attention (T, R), R = g * g regions row-major over the whole picture; probabilities (T),
    written small beside the words; masks, per word a bool (H, W) of the image whose outline is drawn in white (the
    true object), or None; smooth and strength as in `overlay`. Goes out: a figure of T + 1 panels, `columns` in a
    row. Raises ValueError if lengths differ or a mask has not the size of the image.
    """
    rows = _attention(words, attention, probabilities=probabilities, masks=masks)
    width, size = 1.5, 9.5
    picture = as_array(image, 300)
    lit = [overlay(picture, weights, smooth, strength) for weights in rows]
    alt = "Where the model looks for each word: " + " ".join(words)
    figure = _panels([picture, *lit], columns, width, alt, head=0.23)
    for number, (axes, word) in enumerate(zip(figure.axes[1:], words, strict=True)):
        room = width
        if probabilities is not None:
            chance = f"{probabilities[number]:.2f}"
            room -= text_width(chance, 7.5) + 0.06
            axes.set_title(chance, loc="right", size=7.5, color=GREY, pad=4)
        axes.set_title(shorten(word, room, size), loc="left", size=size, color=INK, pad=4, parse_math=False)
        if masks is not None and masks[number] is not None:
            _outline(axes, _scaled(masks[number], image, picture), "white")
    return figure


def attention_film(
    image: Picture, words: Sequence[str], attention: ArrayLike, probabilities: Sequence[float] | None = None
) -> list[Image.Image]:
    """The same one after the other: a picture for each word, lit where the model looked, the sentence below it.

    Comes in: as for `attention_figure`. Goes out: T + 1 pictures of one size, the bare one first; Pillow keeps them as
    an animation: `film[0].save("look.gif", save_all=True, append_images=film[1:], duration=900, loop=0)`.
    """
    rows = _attention(words, attention, probabilities=probabilities)
    wide, size, line, picture = 3.6, 11.0, 0.22, as_array(image, 360)
    tall = wide * picture.shape[0] / picture.shape[1]
    placed = _wrap(" ".join(words), wide, size)
    film = []
    for now, lit in enumerate([picture, *(overlay(picture, row) for row in rows)]):
        figure = Figure(wide + 0.2, tall + 0.4 + line * _deep(placed), " ".join(words))
        _show(figure.inches(0.1, 0.1, wide, tall), lit)
        for place, (word, x, row) in enumerate(placed, start=1):
            at, color = (0.1 + x, tall + 0.32 + row * line), BLUE if place == now else INK
            figure.write(*at, word, size=size, color=color)
            if place == now:
                figure.underline(*at, text_width(word, size), color)
                if probabilities is not None:
                    chance = f"{probabilities[now - 1]:.2f}"
                    figure.write(wide + 0.1 - text_width(chance, 8), 0.22, chance, size=8, color="white")
        film.append(Image.open(io.BytesIO(_encoded(figure))).convert("RGB"))
    return film


def data_url(picture: np.ndarray) -> str:
    """A picture, uint8 (H, W, 3), as the address of an image on a page that needs no file beside it."""
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=90)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode()


# Pictures with words


def _wrap(text: str, width: float, size: float) -> list[tuple[str, float, int]]:
    """Break a text into lines of `width` inches: for each word the word, its x in inches and its line, from 0."""
    placed: list[tuple[str, float, int]] = []
    line = -1
    for paragraph in text.split("\n"):
        before, line = "", line + 1
        for word in paragraph.split():
            word = shorten(word, width, size)
            if before and text_width(before + word, size) > width:
                before, line = "", line + 1
            placed.append((word, text_width(before + word, size) - text_width(word, size), line))
            before += word + " "
    return placed


def _deep(words: Sequence[tuple[str, float, int]]) -> int:
    """The number of lines that wrapped words fill; an empty text fills one."""
    return words[-1][2] + 1 if words else 1


LINE, SIZE = 0.165, 8.5  # of text below pictures: inches from line to line, points


def image_grid(
    images: Sequence[Picture],
    titles: Sequence[str] | None = None,
    columns: int = 6,
    masks: Sequence[ArrayLike | None] | None = None,
) -> Figure:
    """Pictures in rows of `columns`, each with its title, if any, wrapped below it.

    Comes in: titles, one per picture; a line break in it starts a new line; masks, per picture a bool (H, W) of the
    image whose outline is drawn in white, or None. Raises ValueError if the numbers differ or a mask has not the size
    of its picture.
    """
    for name, values in (("titles", titles), ("masks", masks)):
        if not len(images) or (values is not None and len(values) != len(images)):
            raise ValueError(f"{len(images)} pictures and {len(values or ())} {name}: there must be one per picture")
    width = 1.5
    texts = [_wrap(title, width, SIZE) for title in titles or ()]
    feet = [0.13 + LINE * _deep(words) for words in texts]
    alt = f"{len(images)} pictures" + (": " + "; ".join(titles) if titles else "")
    figure = _panels([as_array(image, 300) for image in images], columns, width, alt, feet=feet)
    for axes, words in zip(list(figure.axes), texts, strict=False):
        left, top = figure.below(axes)
        for word, x, row in words:
            figure.write(left + x, top + row * LINE, word, size=SIZE, color=INK)
    for axes, image, mask in zip(list(figure.axes), images, masks or (), strict=False):
        if mask is not None:
            _outline(axes, _scaled(mask, image, np.asarray(axes.images[0].get_array())), "white")
    return figure


def captioned(
    images: Sequence[Picture],
    captions: Sequence[Sequence[str]],
    columns: int = 2,
    named: Sequence[Sequence[Mapping[int, str]]] | None = None,
    masks: Sequence[ArrayLike | None] | None = None,
) -> Figure:
    """Pictures, each with all its captions beside it.

    Comes in: captions, a list per picture; named, per picture and caption a dict from the place of a word (0 is the
    first) to the category that it names: the word gets that category's colour, as in `show_annotations`, and a line;
    masks, as in `image_grid`. Raises ValueError if the lengths differ or a mask has not the size of its picture.
    """
    if not len(images) or len(captions) != len(images):
        raise ValueError(f"{len(images)} pictures and {len(captions)} lists of captions: there must be one per picture")
    if named is not None and [len(said) for said in named] != [len(said) for said in captions]:
        raise ValueError("the words named must be given for each caption of each picture")
    if masks is not None and len(masks) != len(images):
        raise ValueError(f"{len(images)} pictures and {len(masks)} masks: there must be one per picture")
    if columns < 1:
        raise ValueError(f"columns must be 1 or more, not {columns}")
    columns, wide, room, gap, edge = min(columns, len(images)), 1.6, 2.7, 0.25, 0.05
    pictures = [as_array(image, 320) for image in images]
    talls = [wide * min(1.5, picture.shape[0] / picture.shape[1]) for picture in pictures]
    texts = [[_wrap(caption, room, SIZE) for caption in said] for said in captions]
    heights = [
        max(tall, sum(LINE * _deep(words) + 0.09 for words in said)) for tall, said in zip(talls, texts, strict=True)
    ]
    rows = [max(heights[start : start + columns]) + gap for start in range(0, len(images), columns)]
    alt = "; ".join(f"a picture and its captions: {' / '.join(said)}" for said in captions)
    figure = Figure(columns * (wide + room + gap) - gap / 2 + edge, sum(rows) - gap + 2 * edge, alt)
    for place, (picture, said) in enumerate(zip(pictures, texts, strict=True)):
        row, column = divmod(place, columns)
        left, top = edge + column * (wide + room + gap), edge + sum(rows[:row])
        axes = figure.inches(left, top, wide, talls[place])
        _show(axes, picture)
        axes.set_anchor("NW")
        if masks is not None and masks[place] is not None:
            _outline(axes, _scaled(masks[place], images[place], picture), "white")
        left, top = left + wide + 0.12, top + 0.11
        for number, words in enumerate(said):
            for word_place, (word, x, line) in enumerate(words):
                category = named[place][number].get(word_place) if named is not None else None
                at, color = (left + x, top + line * LINE), INK if category is None else _color_of(category)
                figure.write(*at, word, size=SIZE, color=color)
                if category is not None:  # a line too: colour alone does not reach everybody
                    figure.underline(*at, text_width(word, SIZE), color)
            top += _deep(words) * LINE + 0.09
    return figure


def gallery(
    images: Sequence[Picture],
    actual: Sequence[str],
    predicted: Sequence[str],
    columns: int = 3,
    highlight: Sequence[Mapping[int, bool]] | None = None,
) -> Figure:
    """Pictures with the caption a human wrote ("actual") and the caption of the model ("predicted") below.

    Comes in: three lists of one length; highlight, per picture a dict from the place of a predicted word (0 is the
    first) to True (right: green) or False (wrong: red and underlined). Raises ValueError if the lengths differ.
    """
    lengths = {len(images), len(actual), len(predicted)} | ({len(highlight)} if highlight is not None else set())
    if len(lengths) != 1 or not len(images):
        raise ValueError(
            f"{len(images)} pictures, {len(actual)} actual and {len(predicted)} predicted captions"
            + (f", {len(highlight)} highlights" if highlight is not None else "")
            + ": there must be one of each per picture"
        )
    width, indent = 2.9, 0.68
    texts = [[_wrap(text, width - indent, SIZE) for text in pair] for pair in zip(actual, predicted, strict=True)]
    feet = [0.2 + LINE * (_deep(one) + _deep(other)) for one, other in texts]
    alt = "; ".join(f"actual: {one}, predicted: {other}" for one, other in zip(actual, predicted, strict=True))
    figure = _panels([as_array(image, 300) for image in images], columns, width, alt, feet=feet)
    for number, axes in enumerate(list(figure.axes)):
        left, top = figure.below(axes)
        for kind, words in zip(("actual", "predicted"), texts[number], strict=True):
            figure.write(left, top, kind, size=7.5, color=GREY)
            for place, (word, x, row) in enumerate(words):
                right = highlight[number].get(place) if highlight is not None and kind == "predicted" else None
                at, color = (left + indent + x, top + row * LINE), {None: INK, True: GREEN, False: ORANGE}[right]
                figure.write(*at, word, size=SIZE, color=color)
                if right is False:  # a line too: colour alone does not reach everybody
                    figure.underline(*at, text_width(word, SIZE), color)
            top += _deep(words) * LINE + 0.03
    return figure


# A category's colour comes from its letters: the same in every picture, without a list of categories.
_KINDS = (
    *("#0072b2", "#c8500a", "#00805e", "#a8558a", "#96690a", "#3f93c4", "#6a3d9a"),
    *("#5b7f23", "#b3394c", "#4d4d4d", "#8c510a", "#2a6f77", "#c2477f"),
)


def _color_of(category: str) -> str:
    return _KINDS[sum(category.encode()) % len(_KINDS)]


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
    _show(axes, picture)
    pixel = wide / picture.shape[1]  # inches
    taken: list[tuple[float, float, float]] = []
    for name, mask, (x, y, width, height) in instances:
        color = _color_of(name)
        x, y, width, height = (value * scale for value in (x, y, width, height))
        if masks and mask is not None:
            cover = _scaled(mask, image, picture)
            axes.imshow(np.dstack([np.full((*cover.shape, 3), to_rgb(color)), 0.35 * cover]))
            _outline(axes, cover, color)
        if boxes:
            axes.add_patch(Rectangle((x, y), width, height, fill=False, edgecolor=color, lw=1))
        if names:
            across, tall = (text_width(name, 8) + 0.08) / pixel, 0.17 / pixel
            x, y = min(max(x, 0), picture.shape[1] - across), max(y, tall)
            while any(abs(y - b) < tall and x < a + w and a < x + across for a, b, w in taken):
                y += tall  # two names at one place: the later one goes below
            taken.append((x, y, across))
            plate = {"boxstyle": "square,pad=0.2", "facecolor": color, "edgecolor": "none"}
            axes.text(x + 0.04 / pixel, y - 0.05 / pixel, name, size=8, color="white", va="baseline", bbox=plate)
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
    _show(axes, picture)
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
