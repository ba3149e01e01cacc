"""What happens inside a step: the gates of an LSTM, a weighted sum of regions, a decoder that looks at the picture.

Comes in: nothing, or a picture and the weights of its regions. Goes out: a `Figure`. Knows no tensors and no models.
"""

import math
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Circle, FancyArrowPatch, FancyBboxPatch, Rectangle
from numpy.typing import ArrayLike
from PIL import Image

from figures.attention import HEAT, overlay
from figures.pictures import Picture, as_array, show
from figures.style import BLUE, FORMULA, GREEN, GREY, INK, ORANGE, PURPLE, Figure, text_width

SHOWN = 4  # regions cut out of the picture


# Pieces of a drawing


def _text(page: Axes, x: float, y: float, text: str, **how: Any) -> None:
    """Words of this course, with formulas between dollars."""
    look: dict[str, Any] = {"size": 9, "color": INK, "ha": "center", "va": "center_baseline", "gid": FORMULA}
    page.text(x, y, text, **look | how)


def _arrow(page: Axes, *points: tuple[float, float], color: str = INK, head: bool = True, seam: float = 0) -> None:
    """A line through the points, with a head at its end; a seam of white lets it pass over other lines."""
    if seam:
        page.plot(*zip(*points, strict=True), color="white", lw=seam, zorder=1, solid_capstyle="butt")
    page.plot(*zip(*points, strict=True), color=color, lw=1.3, zorder=1, solid_capstyle="butt")
    if head:
        (x, y), (before, above) = points[-1], points[-2]
        long = math.hypot(x - before, y - above)
        start = x - (x - before) * 0.01 / long, y - (y - above) * 0.01 / long
        look: dict[str, Any] = {"arrowstyle": "-|>", "mutation_scale": 9, "lw": 0, "shrinkA": 0, "shrinkB": 0}
        page.add_patch(FancyArrowPatch(start, (x, y), color=color, zorder=2, **look))


def _box(page: Axes, x: float, y: float, text: str, color: str = INK, fill: str = "white", wide: float = 0) -> None:
    """A box with round corners around a text, its centre at (x, y)."""
    across, tall = max(wide, text_width(text, 9) + 0.22), 0.3
    shape = FancyBboxPatch(
        (x - across / 2 + 0.05, y - tall / 2 + 0.05), across - 0.1, tall - 0.1, boxstyle="round,pad=0.05"
    )
    shape.set(facecolor=fill, edgecolor=color, linewidth=1.2, zorder=3)
    page.add_patch(shape)
    _text(page, x, y, text, color=color, zorder=4)


def _node(page: Axes, x: float, y: float, sign: str) -> None:
    """A ring in which two values are multiplied or added, number by number."""
    page.add_patch(Circle((x, y), 0.13, facecolor="white", edgecolor=INK, linewidth=1.2, zorder=3))
    arm = 0.055
    strokes = (
        [((-arm, arm), (-arm, arm)), ((-arm, arm), (arm, -arm))]
        if sign == "×"
        else [((-arm, arm), (0, 0)), ((0, 0), (-arm, arm))]
    )
    for across, down in strokes:
        page.plot([x + a for a in across], [y + d for d in down], color=INK, lw=1.3, zorder=4)


def lstm_figure() -> Figure:
    """An LSTM step: four gates from the word's vector x and the state h; what they do to the memory c.

    c' = σ(f) · c + σ(i) · tanh(g) and h' = σ(o) · tanh(c'), number by number (σ is the sigmoid).
    """
    alt = (
        "An LSTM step. One product of the input x and the state h gives 4D numbers, cut into i, f, g, o. "
        "i, f and o go through a sigmoid (0 to 1), g through a tanh (-1 to 1). The new memory is "
        "c' = σ(f) · c + σ(i) · tanh(g), the new state h' = σ(o) · tanh(c')."
    )
    figure = Figure(8.6, 3.95, alt)
    page = figure.page()
    high, low, squash, bar = 0.55, 1.45, 2.2, 2.9  # the memory's line, the products, the squashing, the four quarters
    first, step = 2.45, 1.25
    at = {name: first + step * number for number, name in enumerate("ifgo")}
    color = {"i": BLUE, "f": ORANGE, "g": GREEN, "o": PURPLE}

    _arrow(page, (0.75, high), (at["f"] - 0.13, high))
    _arrow(page, (at["f"] + 0.13, high), (at["g"] - 0.13, high))
    _arrow(page, (at["g"] + 0.13, high), (7.6, high))
    _arrow(page, (at["o"], high), (at["o"], high + 0.3), head=False)
    _arrow(page, (at["o"], high + 0.6), (at["o"], low - 0.13))
    _arrow(page, (at["o"] + 0.13, low), (7.6, low))
    for name, kind in (("i", "input"), ("f", "forget"), ("g", "candidate"), ("o", "output")):
        _gate(page, at[name], (bar, squash), step, f"{name}  {kind}", color[name])
    _arrow(page, (at["f"], squash - 0.15), (at["f"], high + 0.13), color=ORANGE)
    _arrow(page, (at["i"], squash - 0.15), (at["i"], low), (at["g"] - 0.13, low), color=BLUE, seam=5)
    _arrow(page, (at["g"], squash - 0.15), (at["g"], low + 0.13), color=GREEN)
    _arrow(page, (at["o"], squash - 0.15), (at["o"], low + 0.13), color=PURPLE)
    _arrow(page, (at["g"], low - 0.13), (at["g"], high + 0.13))
    _box(page, at["o"], high + 0.45, "tanh", wide=0.56)
    for name, y, sign in (("f", high, "×"), ("g", high, "+"), ("g", low, "×"), ("o", low, "×")):
        _node(page, at[name], y, sign)

    for x, y, text in ((at["f"], high, "what is kept"), (at["g"], high, "kept + written")):
        _text(page, x, y - 0.27, text, size=8, color=GREY)
    _text(page, at["g"] + 0.2, low - 0.17, "what is written", size=8, color=GREY, ha="left")
    _text(page, at["o"] + 0.2, low + 0.2, "what is shown", size=8, color=GREY, ha="left")
    for x, y, letter, text in (
        (0.6, high, "c", "memory"),
        (7.75, high, "c'", "new memory"),
        (7.75, low, "h'", "new state"),
    ):
        _text(page, x, y, f"${letter}$", size=12)
        _text(page, x, y + 0.24, text, size=8, color=GREY)
    _text(page, 0.4, bar, "$x, h$", size=12)
    _text(page, 0.4, bar + 0.24, "word, state", size=8, color=GREY)
    _arrow(page, (0.62, bar), (first - step / 2 - 0.02, bar))
    _text(page, 1.22, bar - 0.14, "$W_x x + W_h h + b$", size=9, color=GREY)
    _text(page, first + 1.5 * step, bar + 0.3, "4D numbers, cut into four quarters of D", size=8, color=GREY)
    _equations(page, first - step / 2, 3.7, color)
    return figure


def _gate(page: Axes, x: float, heights: tuple[float, float], wide: float, name: str, color: str) -> None:
    """A quarter of the product, its name in it, and the function that squashes it."""
    bar, squash = heights
    page.add_patch(Rectangle((x - wide / 2, bar - 0.16), wide, 0.32, facecolor=color, alpha=0.14, lw=0))
    _text(page, x, bar, rf"$\bf{{{name[0]}}}${name[1:]}", color=color)
    _arrow(page, (x, bar - 0.18), (x, squash + 0.16), color=color)
    candidate = name.startswith("g")
    _box(page, x, squash, "tanh" if candidate else "σ", color, wide=0.56)
    _text(page, x + 0.33, squash, "−1 to 1" if candidate else "0 to 1", size=7.5, color=GREY, ha="left")


def _equations(page: Axes, left: float, y: float, color: dict[str, str]) -> None:
    """What the drawing says, in one line, each gate in its colour."""
    for text in ("c' = ", "σ(f)", " · c + ", "σ(i)", " · ", "tanh(g)", "          h' = ", "σ(o)", " · tanh( c' )"):
        gate = text[-2] if text.endswith(")") else ""
        weight = "bold" if gate in color else "normal"
        page.text(left, y, text, size=12, color=color.get(gate, INK), va="center_baseline", weight=weight)
        left += text_width(text, 12, weight)


def weighted_sum_figure(picture: Picture, weights: ArrayLike, title: str = "") -> Figure:
    """Attention as a sum: the regions of the largest weights, each times its weight, and the vector z that they give.

    Comes in: picture; weights (R,), R = g * g regions row-major, that sum to one; title, such as the word they belong
    to. The vectors are drawn as colours: for want of the encoder's, a region's is here the colours of eight patches of
    it, so that the sum is a true one. Raises ValueError if R is no square, or weights are negative or do not sum to 1.
    """
    alpha = np.asarray(weights, np.float32)
    image = as_array(picture, 512)
    heat = overlay(image, alpha, smooth=False)  # refuses what is no attention
    if abs(alpha.sum() - 1) > 0.01:
        raise ValueError(f"the weights of a picture sum to one, but these sum to {alpha.sum():.3g}")
    alpha, side = alpha.ravel(), math.isqrt(alpha.size)
    tiles, vectors = _regions(image, side)
    order = np.argsort(-alpha, kind="stable")
    chosen, others = order[:SHOWN], order[SHOWN:]
    rows = [(float(alpha[region]), vectors[region], f"$a_{{{region}}}$") for region in chosen]
    if len(others):
        rest = float(alpha[others].sum())
        mean = np.tensordot(alpha[others], vectors[others], 1) / max(rest, 1e-12)
        rows.append((rest, mean, f"the other {len(others)}"))
    top, wide, pitch = 0.4 if title else 0.1, 3.0, 0.56
    tall = wide * image.shape[0] / image.shape[1]
    if tall > 3.4:
        tall, wide = 3.4, wide * 3.4 / tall
    terms = ", ".join(f"{weight:.2f} times region {region}" for region, (weight, *_) in zip(chosen, rows, strict=False))
    alt = f"{title or 'attention'}: z is the sum of {terms}" + (", and the others" if len(others) else "")
    figure = Figure(wide + 5.0, top + max(tall + 0.3, pitch * (len(rows) + 1) + 0.25), alt)
    page = figure.page()
    if title:
        page.text(0.05, 0.24, title, size=11, color=INK)
    axes = figure.inches(0.05, top, wide, tall)
    show(axes, heat)
    _grid(axes, heat.shape, side, chosen)
    page.text(0.05, top + tall + 0.2, f"{alpha.size} regions; the darker, the larger α", size=8, color=GREY)

    left = wide + 0.85
    for row, (weight, vector, name) in enumerate(rows):
        y = top + 0.23 + pitch * row
        if row < len(chosen):
            line, column = divmod(int(chosen[row]), side)
            edge = 0.05 + (column + 0.85) * wide / side, top + (line + 0.5) * tall / side
            figure.line(edge, (left - 0.05, y), GREY)
            tile = figure.inches(left, y - 0.22, 0.44, 0.44)
            tile.imshow(tiles[chosen[row]], aspect="auto")
            tile.axis("off")
        if row:
            _text(page, left + 0.66, y, "+", size=11, color=GREY)
        _text(page, left + 1.24, y, f"{weight:.2f} ×", ha="right")
        _strip(figure, page, left + 1.4, y, vector, name)
    y = top + 0.23 + pitch * len(rows)
    page.plot([left + 0.55, left + 2.95], [y - 0.27] * 2, color=INK, lw=0.9)
    _text(page, left + 1.24, y, r"$z\,=$", ha="right", size=11)
    _strip(figure, page, left + 1.4, y, np.tensordot(alpha, vectors, 1), r"$\Sigma\;\alpha_i\, a_i$", BLUE)
    page.text(left + 0.55, y + 0.42, "colours stand here for the E numbers of a region", size=8, color=GREY)
    return figure


def _regions(image: np.ndarray, side: int) -> tuple[list[np.ndarray], np.ndarray]:
    """The g * g regions of a picture, and the colours, from 0 to 1, of eight patches of each: (R, 8, 3)."""
    height, width = (max(size, side) for size in image.shape[:2])  # each region of a thin picture has a pixel, too
    down, across = (np.linspace(0, size, side + 1).astype(int) for size in (height, width))
    boxes = [(across[x], down[y], across[x + 1], down[y + 1]) for y in range(side) for x in range(side)]
    whole = Image.fromarray(image).resize((width, height))
    tiles = [whole.crop(box) for box in boxes]
    small = [np.asarray(tile.resize((4, 2), Image.Resampling.BOX)).reshape(8, 3) / 255 for tile in tiles]
    return [np.asarray(tile) for tile in tiles], np.array(small)


def _grid(axes: Axes, shape: tuple[int, ...], side: int, chosen: np.ndarray) -> None:
    """Thin lines between the regions, a frame around the chosen ones."""
    down, across = shape[0] / side, shape[1] / side
    for line in range(1, side):
        axes.axhline(line * down - 0.5, color="white", lw=0.6)
        axes.axvline(line * across - 0.5, color="white", lw=0.6)
    for region in chosen:
        row, column = divmod(int(region), side)
        at = (column * across - 0.5, row * down - 0.5)
        axes.add_patch(Rectangle(at, across, down, fill=False, edgecolor=INK, lw=1.2, zorder=3))


def _strip(figure: Figure, page: Axes, left: float, y: float, vector: np.ndarray, name: str, color: str = INK) -> None:
    """A vector (8, 3) as a row of coloured cells, and its name."""
    axes = figure.inches(left, y - 0.11, 1.55, 0.22)
    axes.imshow(vector[None].clip(0, 1), aspect="auto", interpolation="nearest")
    axes.vlines(np.arange(1, len(vector)) - 0.5, -0.5, 0.5, color="white", lw=1)
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set(color=color, linewidth=1.6 if color != INK else 0.8)
    _text(page, left + 1.65, y, name, size=10, color=color, ha="left")


def spatial_step_figure() -> Figure:
    """A step of `model.SpatialDecoder`: take in the last word, look at the regions, remember, score the next word."""
    alt = (
        "A step of the decoder. The last word is embedded and goes into the word LSTM; its state h asks where to look. "
        "Weights α over the regions give z, the sum of α times a, and tanh(h + W z) is what is seen. The language LSTM "
        "takes that in; what is seen and what it remembers are added and give a score for every word."
    )
    figure = Figure(8.6, 2.75, alt)
    page = figure.page()
    line, base = 0.85, 2.25
    stops = {"embedding": 1.35, "word LSTM": 2.75, "look": 4.4, "language LSTM": 6.1, "scores": 8.05}
    half = {name: max(0.28, text_width(name, 9) / 2 + 0.11) for name in stops}
    for name, x in stops.items():
        hue = {"word LSTM": BLUE, "look": ORANGE, "language LSTM": BLUE}.get(name, INK)
        _box(page, x, line, name, hue, wide=2 * half[name])
    _text(page, 0.4, line, "word", size=10, style="italic")
    _text(page, 0.4, line + 0.25, "the last one", size=8, color=GREY)
    plus = 7.3
    between = [("embedding", 0.68), ("word LSTM", stops["embedding"]), ("look", stops["word LSTM"])]
    between += [("language LSTM", stops["look"])]
    for name, start in between:
        before = next((half[other] for other, x in stops.items() if x == start), 0.0)
        _arrow(page, (start + before, line), (stops[name] - half[name], line))
    _arrow(page, (stops["language LSTM"] + half["language LSTM"], line), (plus - 0.13, line))
    _node(page, plus, line, "+")
    _arrow(page, (plus + 0.13, line), (stops["scores"] - half["scores"], line))
    _text(page, stops["scores"], line + 0.3, "one for each", size=8, color=GREY)
    _text(page, stops["scores"], line + 0.46, "of V words", size=8, color=GREY)
    for name, x in (("h", 3.6), ("s", 5.08), ("k", 6.93)):
        _text(page, x, line - 0.16, f"${name}$", size=11)
    _arrow(page, (5.08, line), (5.08, line + 0.55), (plus, line + 0.55), (plus, line + 0.13))
    for name, state in (("word LSTM", "h, c"), ("language LSTM", "k, d")):
        x = stops[name]
        _arrow(page, (x - 0.22, line - 0.62), (x - 0.22, line - 0.15), color=BLUE)
        _arrow(page, (x + 0.22, line - 0.15), (x + 0.22, line - 0.62), color=BLUE)
        _text(page, x - 0.28, line - 0.72, f"${state}$ before", size=8, color=BLUE, ha="right")
        _text(page, x + 0.28, line - 0.72, "after", size=8, color=BLUE, ha="left")

    _regions_below(page, stops["look"], base, line + 0.15)
    return figure


def _regions_below(page: Axes, x: float, base: float, end: float) -> None:
    """The picture's regions, an arrow up from them to where they are looked at, and what is computed there."""
    cell = 0.17
    shades = np.array([0.05, 0.1, 0.05, 0.12, 0.9, 0.3, 0.05, 0.2, 0.05])
    for region, shade in enumerate(shades):
        row, column = divmod(region, 3)
        at = x + (column - 1.5) * cell, base + (row - 1.5) * cell
        page.add_patch(Rectangle(at, cell, cell, facecolor=HEAT[int(255 * shade)], edgecolor=GREY, lw=0.6))
    _arrow(page, (x, base - 1.5 * cell), (x, end), color=ORANGE)
    _text(page, x - 0.4, base - 0.08, "the picture", size=8, color=GREY, ha="right")
    _text(page, x - 0.4, base + 0.09, "regions $a_1 … a_R$", size=8, color=GREY, ha="right")
    looks = r"$\alpha$ = softmax of $v \cdot \tanh(W_k a_i + W_q h)$", r"$z = \Sigma\;\alpha_i\, a_i$"
    for row, text in enumerate((*looks, r"$s = \tanh(h + W_z z)$")):
        _text(page, x + 0.5, base - 0.25 + 0.25 * row, text, size=9, color=ORANGE, ha="left")
