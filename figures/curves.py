"""Curves: perplexity and loss over the epochs of training, and one measured quantity over another.

Comes in: plain numbers, a dict for each epoch. Goes out: a `Figure`. Knows no models and no files.
"""

import math
from collections.abc import Mapping, Sequence
from itertools import cycle
from typing import Any

from matplotlib.ticker import MaxNLocator

from figures.style import (
    BLUE,
    DASHED,
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
    text_width,
)

RUNS = (BLUE, ORANGE, GREEN, PURPLE, SKY, INK)


def training_curves(
    history: Sequence[Mapping[str, float]] | Mapping[str, Sequence[Mapping[str, float]]],
    floor: float | None = None,
    uniform: float | None = None,
) -> Figure:
    """Perplexity per epoch, on a logarithmic axis; a ring marks the best epoch.

    Comes in: history, a dict per epoch with epoch, train_perplexity and val_perplexity, or several histories by name;
    floor, the best perplexity there can be, and uniform, that of guessing every word alike, as dashed lines. Raises
    ValueError if a history is empty.
    """
    runs = history if isinstance(history, Mapping) else {"validation": history}
    if not runs or not all(len(epochs) for epochs in runs.values()):
        raise ValueError("the history holds no epoch yet: train at least one before drawing the curves")
    known = {"best possible": floor, "uniform guess": uniform}
    lines = {text: value for text, value in known.items() if value is not None}
    labels = [(value, f"{text} {short_number(value)}", GREY) for text, value in lines.items()]
    best = {name: min(epochs, key=lambda row: row["val_perplexity"]) for name, epochs in runs.items()}
    for color, (name, epochs) in zip(cycle(RUNS), runs.items()):
        text = f"{name}: best {short_number(best[name]['val_perplexity'])}, epoch {best[name]['epoch']}"
        labels.append((epochs[-1]["val_perplexity"], text, color))
        if len(runs) == 1:
            training = epochs[-1]["train_perplexity"]
            labels.append((training, f"training {short_number(training)}", SKY))

    margin = 0.3 + max(text_width(text, 8.5) for _, text, _ in labels)
    figure = Figure(5.4 + margin, 3.6, "perplexity per epoch: " + "; ".join(text for _, text, _ in sorted(labels)))
    axes = figure.inches(0.65, 0.25, 4.75, 2.85)
    quiet(axes, "epoch", "perplexity")
    axes.set_yscale("log")
    for color, (name, epochs) in zip(cycle(RUNS), runs.items()):
        steps = [row["epoch"] for row in epochs]
        look: dict[str, Any] = {"color": color, "marker": "o" if len(epochs) == 1 else "", "ms": 4}
        axes.plot(steps, [row["train_perplexity"] for row in epochs], lw=1, alpha=0.5, **look)
        axes.plot(steps, [row["val_perplexity"] for row in epochs], lw=1.8, **look)
        ring: dict[str, Any] = {"ms": 8, "mfc": "none", "mec": color, "mew": 1.2, "clip_on": False}
        axes.plot(best[name]["epoch"], best[name]["val_perplexity"], "o", **ring)
    for value in lines.values():
        axes.axhline(value, color=GREY, lw=0.9, ls=DASHED)
    first, last = (choose(row["epoch"] for epochs in runs.values() for row in epochs) for choose in (min, max))
    axes.set_xlim(first - 0.03 * max(1, last - first), last + 0.03 * max(1, last - first))
    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True, min_n_ticks=1))
    log_ticks(axes.yaxis)
    if len(runs) > 1:
        axes.set_title("thick: validation, thin: training", loc="right", size=8, color=GREY)
    direct_labels(axes, labels)
    return figure


def learning(history: Sequence[Mapping[str, float]], epochs: int) -> Figure:
    """Loss and perplexity so far, side by side, with room for all `epochs`: a figure to be drawn anew after each.

    Comes in: history, as for `training_curves`, or still empty. Loss is nats per token, the logarithm of perplexity.
    """
    kinds = (("val_perplexity", "validation", BLUE, 1.8), ("train_perplexity", "training", SKY, 1.0))
    now = [f"{name} perplexity {short_number(history[-1][key])}" for key, name, _, _ in kinds if history]
    alt = f"epoch {len(history)} of {epochs}: " + (", ".join(now) or "nothing learned yet")
    figure = Figure(8.8, 2.7, alt)
    for left, what in ((0.6, "loss per token"), (5.05, "perplexity")):
        axes = figure.inches(left, 0.25, 2.5, 1.95)
        quiet(axes, "epoch", what)
        axes.set_xlim(0.8, max(epochs, 2) + 0.2)
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        labels = []
        for key, name, color, width in kinds if history else ():
            values = [math.log(row[key]) if what != "perplexity" else row[key] for row in history]
            axes.plot([row["epoch"] for row in history], values, color=color, lw=width, marker="o", ms=2.5)
            labels.append((values[-1], f"{name} {short_number(values[-1])}", color))
        axes.autoscale_view(scalex=False)
        direct_labels(axes, labels, gap=0.11)
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
