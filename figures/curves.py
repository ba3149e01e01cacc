"""Curves: perplexity and loss over the epochs of training, and one measured quantity over another.

Comes in: plain numbers, a dict for each epoch. Goes out: a `Figure`. Knows no models and no files.
"""

import math
from collections.abc import Mapping, Sequence
from itertools import cycle
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from figures.style import (
    BLUE,
    DASHED,
    DPI,
    GREEN,
    GREY,
    INK,
    ORANGE,
    PURPLE,
    SKY,
    Figure,
    direct_labels,
    log_ticks,
    quiet,
    short_number,
    shorten,
    text_width,
)

RUNS = (BLUE, ORANGE, GREEN, PURPLE, SKY, INK)
BEYOND = 1e100  # what is larger, as of a training that has gone wrong, has no place on an axis
NEAR = 1.5  # a level up to so many times above the highest validation perplexity is drawn at its height


def training_curves(
    history: Sequence[Mapping[str, float]] | Mapping[str, Sequence[Mapping[str, float]]],
    floor: float | None = None,
    rungs: Mapping[str, float] | None = None,
) -> Figure:
    """Perplexity per epoch; a ring marks the best epoch, dashed lines what to compare it with.

    Comes in: history, a dict per epoch with epoch, train_perplexity and val_perplexity, or several histories by name;
    floor, the best perplexity there can be; rungs, perplexities by name, as of simpler models. The axis shows where the
    curves are, from the floor up; rungs far above them stand over a break of it, in their order, not at their height.
    A curve has a gap where its perplexity is not finite. Raises ValueError if a history is empty or nowhere finite, or
    a floor or rung is no perplexity (at least 1).
    """
    runs = history if isinstance(history, Mapping) else {"validation": history}
    if not runs or not all(len(epochs) for epochs in runs.values()):
        raise ValueError("the history holds no epoch yet: train at least one before drawing the curves")
    runs = {shorten(name, 3.0, 8.5): [_with_gaps(row) for row in epochs] for name, epochs in runs.items()}
    for name, epochs in runs.items():
        if not _finite(epochs, "val_perplexity") or not _finite(epochs, "train_perplexity"):
            raise ValueError(f"{name}: no epoch has a finite perplexity; train again, with a lower learning rate")
    levels = dict(rungs or {}) | ({} if floor is None else {"floor": floor})
    if wrong := [f"{name} {value}" for name, value in levels.items() if not 1 <= value < math.inf]:
        raise ValueError(f"a perplexity is at least 1 and finite, but not {', '.join(wrong)}")
    # a gap counts as the worst
    best = {n: min(e, key=lambda row: (math.isnan(v := row["val_perplexity"]), v)) for n, e in runs.items()}
    top = NEAR * max(value for epochs in runs.values() for value in _finite(epochs, "val_perplexity"))
    named = [(value, f"{shorten(name, 3.0, 8.5)} {short_number(value)}") for name, value in levels.items()]
    near = [(value, text, GREY) for value, text in named if value <= top]
    far = sorted((value, text) for value, text in named if value > top)
    labels = list(near)
    for color, (name, epochs) in zip(cycle(RUNS), runs.items()):
        text = f"{name}: best {short_number(best[name]['val_perplexity'])}, epoch {best[name]['epoch']:g}"
        labels.append((_finite(epochs, "val_perplexity")[-1], text, color))
        if len(runs) == 1:
            training = epochs[-1]["train_perplexity"]
            labels.append((_finite(epochs, "train_perplexity")[-1], f"training {short_number(training)}", SKY))

    texts = [text for _, text, _ in sorted(labels)] + [text for _, text in far]
    margin, tall = 0.3 + max(text_width(text, 8.5) for text in texts), max(2.85, 0.18 * len(labels))
    above = 0.32 + 0.2 * len(far)
    figure = Figure(5.4 + margin, above + tall + 0.5, "perplexity per epoch: " + "; ".join(texts))
    axes = figure.inches(0.65, above, 4.75, tall)
    quiet(axes, "epoch", "perplexity")
    for color, (name, epochs) in zip(cycle(RUNS), runs.items()):
        _run(axes, epochs, color, best[name])
    for value, _, _ in near:
        axes.axhline(value, color=GREY, lw=0.9, ls=DASHED)
    first, last = (choose(row["epoch"] for epochs in runs.values() for row in epochs) for choose in (min, max))
    axes.set_xlim(first - 0.03 * max(1, last - first), last + 0.03 * max(1, last - first))
    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True, min_n_ticks=1))
    _heights(axes, [row for epochs in runs.values() for row in epochs], [value for value, _, _ in near])
    direct_labels(axes, labels)
    if far:
        _broken(figure.inches(0.65, 0.3, 4.75, above - 0.3), far)
    if len(runs) > 1:
        figure.write(5.4, 0.18, "thick: validation, thin: training", size=8, color=GREY, ha="right")
    return figure


def _with_gaps(row: Mapping[str, float]) -> dict[str, float]:
    """An epoch's numbers, NaN for those that no axis can hold."""
    return {name: value if abs(value) < BEYOND else math.nan for name, value in row.items()}


def _finite(epochs: Sequence[Mapping[str, float]], name: str) -> list[float]:
    return [row[name] for row in epochs if not math.isnan(row[name])]


def _run(axes: Axes, epochs: Sequence[Mapping[str, float]], color: str, best: Mapping[str, float]) -> None:
    """One run's two curves, and the ring at its best epoch."""
    steps = [row["epoch"] for row in epochs]
    look: dict[str, Any] = {"color": color, "marker": "o" if len(epochs) == 1 else "", "ms": 4}
    axes.plot(steps, [row["train_perplexity"] for row in epochs], lw=1, alpha=0.5, **look)
    axes.plot(steps, [row["val_perplexity"] for row in epochs], lw=1.8, **look)
    ring: dict[str, Any] = {"ms": 8, "mfc": "none", "mec": color, "mew": 1.2, "clip_on": False}
    axes.plot(best["epoch"], best["val_perplexity"], "o", **ring)


def _heights(axes: Axes, epochs: Sequence[Mapping[str, float]], levels: Sequence[float]) -> None:
    """The y axis from the lowest level or curve to the highest of validation; logarithmic if that is a long way.

    The first epochs of training may be far above: there the thin line leaves the picture.
    """
    validation, training = (_finite(epochs, name) for name in ("val_perplexity", "train_perplexity"))
    high = max([*levels, *validation, *sorted(training)[:1]])
    low = min([*levels, *validation, *training])
    if high > 5 * low:
        axes.set_yscale("log")
        axes.set_ylim(low / 1.1, high * 1.15)
        log_ticks(axes.yaxis)
    else:
        pad = 0.06 * max(high - low, 0.02 * high)
        axes.set_ylim(low - pad, high + pad)
        axes.yaxis.set_major_locator(MaxNLocator(6, min_n_ticks=3))
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.4g}")


def _broken(band: Axes, far: Sequence[tuple[float, str]]) -> None:
    """Levels over a break of the axis, line by line from the lowest up."""
    quiet(band)
    band.spines["bottom"].set_visible(False)
    band.set(xlim=(0, 1), ylim=(0, band.bbox.height / DPI), xticks=[], yticks=[])
    for place, (_, text) in enumerate(far):
        band.axhline(y := 0.12 + 0.2 * place, color=GREY, lw=0.9, ls=DASHED)
        band.text(1.02, y, text, size=8.5, va="center", color=GREY, transform=band.get_yaxis_transform())
    for y in (-0.03, 0.02):  # the two strokes of a break
        band.plot([-0.014, 0.014], [y - 0.025, y + 0.025], color=GREY, lw=0.9, clip_on=False)


def learning(history: Sequence[Mapping[str, float]], epochs: int, floor: float | None = None) -> Figure:
    """Perplexity so far, with room for all `epochs`: a figure to be drawn anew after each.

    Comes in: history and floor, as for `training_curves`; the history may still be empty.
    """
    kinds = (("val_perplexity", "validation", BLUE, 1.8), ("train_perplexity", "training", SKY, 1.0))
    now = [f"{name} perplexity {short_number(history[-1][key])}" for key, name, _, _ in kinds if history]
    alt = f"epoch {len(history)} of {epochs}: " + (", ".join(now) or "nothing learned yet")
    figure = Figure(7.4, 2.7, alt)
    axes = figure.inches(0.65, 0.25, 4.75, 1.95)
    quiet(axes, "epoch", "perplexity")
    axes.set_xlim(0.8, max(epochs, 2) + 0.2)
    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    history = [_with_gaps(row) for row in history]
    if not any(_finite(history, key) for key, *_ in kinds):
        axes.set_yticks([])
        return figure
    labels = [] if floor is None else [(floor, f"floor {short_number(floor)}", GREY)]
    for key, name, color, width in kinds:
        values = [row[key] for row in history]
        axes.plot([row["epoch"] for row in history], values, color=color, lw=width, marker="o", ms=2.5)
        if finite := _finite(history, key):
            labels.append((finite[-1], f"{name} {short_number(values[-1])}", color))
    if floor is not None:
        axes.axhline(floor, color=GREY, lw=0.9, ls=DASHED)
    _heights(axes, history, [] if floor is None else [floor])
    direct_labels(axes, labels)
    return figure


def curve(
    x: Sequence[float], y: Sequence[float], xlabel: str, ylabel: str, level: tuple[str, float] | None = None
) -> Figure:
    """One quantity over another, with a dot at each measurement; `level` (name, value) is a dashed line beside it.

    Raises ValueError if the lengths differ.
    """
    if len(x) != len(y) or not len(x):
        raise ValueError(f"{len(x)} places and {len(y)} values: there must be one value per place")
    margin = 0.2 if level is None else 0.25 + text_width(f"{level[0]} {short_number(level[1])}", 8.5)
    alt = f"{ylabel} over {xlabel}: " + ", ".join(f"{a:g}: {short_number(b)}" for a, b in zip(x, y, strict=True))
    figure = Figure(4.6 + margin, 2.6, alt)
    axes = figure.inches(0.65, 0.2, 3.95, 1.9)
    quiet(axes, xlabel, ylabel)
    axes.plot(x, y, "o-", color=BLUE, lw=1.8, ms=4)
    if level is not None:
        axes.axhline(level[1], color=GREY, lw=0.9, ls=DASHED)
    axes.margins(y=0.15)
    if level is not None:
        direct_labels(axes, [(level[1], f"{level[0]} {short_number(level[1])}", GREY)])
    return figure
