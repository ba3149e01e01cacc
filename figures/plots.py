"""Figures of numbers and ideas: training curves, the dataset in counts, a batch, teacher forcing, the course's map.

Comes in: plain numbers and lists of words. Goes out: a `visualize.Figure`. Knows no pictures, no tensors, no models.
"""

import math
import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import cycle

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.patches import FancyArrowPatch, Rectangle
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator
from numpy.typing import ArrayLike

from figures.visualize import BLUE, FAINT, GREEN, GREY, INK, ORANGE, PURPLE, SKY, Figure, text_width

RUNS = (BLUE, ORANGE, GREEN, PURPLE, SKY, INK)
DASHED = (0, (5, 4))
SHADES = LinearSegmentedColormap.from_list("shades", ["#f4f7fa", "#9cc3de", BLUE, "#0b2f4d"])


def _quiet(axes: Axes, xlabel: str = "", ylabel: str = "") -> None:
    """Two thin lines and small grey numbers: the frame steps back behind the data."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set(color=FAINT, linewidth=0.8)
    axes.tick_params(which="both", color=FAINT, labelcolor=GREY, labelsize=8, width=0.8, length=3)
    axes.set_xlabel(xlabel, size=8.5, color=GREY)
    axes.set_ylabel(ylabel, size=8.5, color=GREY)


def _log_ticks(axis: Axis) -> None:
    """Few round numbers, written out, on a logarithmic axis, also on a short one."""
    low, high = axis.get_view_interval()
    decades = LogLocator(subs=(1,) if high / low > 300 else (1, 2, 5))
    axis.set_major_locator(decades if high / low > 6 else MaxNLocator(6))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(lambda value, _: f"{value:,.4g}" if value < 1000 else f"{value:,.0f}")


def _plain(number: float) -> str:
    """1234.5 -> "1,234", 12.34 -> "12.3", 4.567 -> "4.57"."""
    return f"{number:,.0f}" if number >= 100 else f"{number:.3g}"


# Training


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
    labels = [(value, f"{text} {_plain(value)}", GREY) for text, value in lines.items()]
    best = {name: min(epochs, key=lambda row: row["val_perplexity"]) for name, epochs in runs.items()}
    for color, (name, epochs) in zip(cycle(RUNS), runs.items()):
        text = f"{name}: best {_plain(best[name]['val_perplexity'])}, epoch {best[name]['epoch']}"
        labels.append((epochs[-1]["val_perplexity"], text, color))
        if len(runs) == 1:
            training = epochs[-1]["train_perplexity"]
            labels.append((training, f"training {_plain(training)}", SKY))

    margin = 0.3 + max(text_width(text, 8.5) for _, text, _ in labels)
    figure = Figure(5.4 + margin, 3.6, "perplexity per epoch: " + "; ".join(text for _, text, _ in sorted(labels)))
    axes = figure.inches(0.65, 0.25, 4.75, 2.85)
    _quiet(axes, "epoch", "perplexity")
    axes.set_yscale("log")
    for color, (name, epochs) in zip(cycle(RUNS), runs.items()):
        steps = [row["epoch"] for row in epochs]
        look = {"color": color, "marker": "o" if len(epochs) == 1 else "", "ms": 4}
        axes.plot(steps, [row["train_perplexity"] for row in epochs], lw=1, alpha=0.5, **look)
        axes.plot(steps, [row["val_perplexity"] for row in epochs], lw=1.8, **look)
        ring = {"ms": 8, "mfc": "none", "mec": color, "mew": 1.2, "clip_on": False}
        axes.plot(best[name]["epoch"], best[name]["val_perplexity"], "o", **ring)
    for value in lines.values():
        axes.axhline(value, color=GREY, lw=0.9, ls=DASHED)
    first, last = (choose(row["epoch"] for epochs in runs.values() for row in epochs) for choose in (min, max))
    axes.set_xlim(first - 0.03 * max(1, last - first), last + 0.03 * max(1, last - first))
    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True, min_n_ticks=1))
    _log_ticks(axes.yaxis)
    if len(runs) > 1:
        axes.set_title("thick: validation, thin: training", loc="right", size=8, color=GREY)
    _direct_labels(axes, labels)
    return figure


def learning(history: Sequence[Mapping[str, float]], epochs: int) -> Figure:
    """Loss and perplexity so far, side by side, with room for all `epochs`: a figure to be drawn anew after each.

    Comes in: history, as for `training_curves`, or still empty. Loss is nats per token, the logarithm of perplexity.
    """
    kinds = (("val_perplexity", "validation", BLUE, 1.8), ("train_perplexity", "training", SKY, 1.0))
    now = [f"{name} perplexity {_plain(history[-1][key])}" for key, name, _, _ in kinds if history]
    alt = f"epoch {len(history)} of {epochs}: " + (", ".join(now) or "nothing learned yet")
    figure = Figure(8.8, 2.7, alt)
    for left, what in ((0.6, "loss per token"), (5.05, "perplexity")):
        axes = figure.inches(left, 0.25, 2.5, 1.95)
        _quiet(axes, "epoch", what)
        axes.set_xlim(0.8, max(epochs, 2) + 0.2)
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        labels = []
        for key, name, color, width in kinds if history else ():
            values = [math.log(row[key]) if what != "perplexity" else row[key] for row in history]
            axes.plot([row["epoch"] for row in history], values, color=color, lw=width, marker="o", ms=2.5)
            labels.append((values[-1], f"{name} {_plain(values[-1])}", color))
        axes.autoscale_view(scalex=False)
        _direct_labels(axes, labels, gap=0.11)
    return figure


def _direct_labels(axes: Axes, labels: Sequence[tuple[float, str, str]], gap: float = 0.062) -> None:
    """Write labels right of the axes at their y values, pushed apart where they would overlap."""
    places: list[float] = []  # of the axes' height
    ordered = sorted(labels)
    for value, _, _ in ordered:
        place = axes.transAxes.inverted().transform(axes.transData.transform((1, value)))[1]
        places.append(max(place, places[-1] + gap) if places else place)
    look = {"size": 8.5, "va": "center", "transform": axes.transAxes}
    for place, (_, text, color) in zip(places, ordered, strict=True):
        axes.text(1.02, place, text, color=color, **look)


# The dataset in counts


def _bars(axes: Axes, names: Sequence[str], values: Sequence[float], form: str = ",") -> None:
    """Thin horizontal bars with the name on the left and the number at the end; no axis is needed then."""
    places = range(len(names))
    axes.barh(places, values, height=0.62, color=BLUE, alpha=0.75)
    for place, name, value in zip(places, names, values, strict=True):
        how = {"textcoords": "offset points", "va": "center", "parse_math": False}
        axes.annotate(name, (0, place), (-5, 0), ha="right", size=8.5, color=INK, **how)
        axes.annotate(f"{value:{form}}", (value, place), (4, 0), size=7.5, color=GREY, **how)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.axis("off")


def _ranked(counts: Mapping[str, int], top: int, of: str) -> list[tuple[str, int]]:
    if not counts:
        raise ValueError(f"there are no {of} to count")
    return Counter(counts).most_common(top)


def word_frequencies(counts: Mapping[str, int], top: int = 30) -> Figure:
    """The `top` most frequent words; and all words by rank, logarithmic, so that Zipf's law is a straight line."""
    shown = _ranked(counts, top, "words")
    names, values = zip(*shown, strict=True)
    margin = 0.15 + max(text_width(name, 8.5) for name in names)
    tall = 0.17 * len(names)
    plot = min(max(2.0, tall), 3.4)
    alt = f"the {len(names)} most frequent words, from “{names[0]}” down, and all words by rank"
    figure = Figure(9.2, max(tall + 0.45, plot + 0.85), alt)
    _bars(figure.inches(margin, 0.35, 4.6 - margin - 0.5, tall), names, values)
    axes = figure.inches(5.4, 0.35, 3.6, plot)
    _quiet(axes, "rank of the word", "times it occurs")
    ranks = sorted(counts.values(), reverse=True)
    axes.loglog(range(1, len(ranks) + 1), ranks, color=BLUE, lw=1.8)
    _log_ticks(axes.xaxis)
    _log_ticks(axes.yaxis)
    once = sum(count == 1 for count in ranks)
    note = f"{len(ranks):,} words" + (f", {once:,} of them occur once" if once else "")
    axes.set_title(note, loc="left", size=8.5, color=INK)
    return figure


def caption_lengths(lengths: Iterable[int]) -> Figure:
    """How many captions have how many words. Raises ValueError if there is no caption."""
    counts = Counter(lengths)
    if not counts:
        raise ValueError("there are no captions to measure")
    median, longest = statistics.median(counts.elements()), max(counts)
    note = f"half of the captions have at most {median:g} words, the longest has {longest}"
    figure = Figure(6.2, 2.9, note)
    axes = figure.inches(0.75, 0.35, 5.2, 2.0)
    _quiet(axes, "words in the caption", "captions")
    _histogram(axes, counts, int(median), note)
    return figure


def objects_per_picture(numbers: Iterable[int]) -> Figure:
    """How many pictures show how many annotated objects. Raises ValueError if there is no picture."""
    counts = Counter(numbers)
    if not counts:
        raise ValueError("there are no pictures to count objects in")
    mean = sum(number * pictures for number, pictures in counts.items()) / counts.total()
    note = f"{mean:.3g} objects a picture on average, at most {max(counts)}"
    figure = Figure(6.2, 2.9, note)
    axes = figure.inches(0.75, 0.35, 5.2, 2.0)
    _quiet(axes, "objects in the picture", "pictures")
    _histogram(axes, counts, None, note)
    return figure


def _histogram(axes: Axes, counts: Mapping[int, int], marked: int | None, note: str) -> None:
    """A bar per number, one of them in another colour."""
    colors = [ORANGE if number == marked else BLUE for number in counts]
    axes.bar(list(counts), list(counts.values()), width=0.75, color=colors, alpha=0.75)
    axes.set_xlim(-0.6, max(counts) + 0.6)
    axes.xaxis.set_major_locator(MaxNLocator(12, integer=True, min_n_ticks=1))
    axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.set_title(note, loc="left", size=8.5, color=INK)


def coverage_curve(coverage: Sequence[tuple[int, int, float, float]], chosen: int | None = None) -> Figure:
    """What a count threshold keeps: few of the distinct words, nearly all of the running text.

    Comes in: rows (threshold, words kept, their share of the distinct words, their share of all tokens), shares from
    0 to 1; chosen, the threshold to point out. Raises ValueError if it is not among the rows.
    """
    if not coverage or (chosen is not None and chosen not in [row[0] for row in coverage]):
        raise ValueError(f"no row for threshold {chosen}: the rows are {[row[0] for row in coverage]}")
    thresholds, _, distinct, tokens = zip(*coverage, strict=True)
    figure = Figure(6.4, 3.1, "share of distinct words and of all tokens kept, by count threshold")
    axes = figure.inches(0.65, 0.4, 4.2, 2.15)
    _quiet(axes, "words that occur at least … times", "kept")
    axes.set_ylim(0, 1.04)
    axes.yaxis.set_major_locator(MaxNLocator(5))
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    if thresholds[-1] > 30 * thresholds[0]:
        axes.set_xscale("log")
        axes.set_xlim(thresholds[0], thresholds[-1])
        _log_ticks(axes.xaxis)
    else:
        axes.xaxis.set_major_locator(MaxNLocator(10, integer=True))
    for values, color in ((tokens, BLUE), (distinct, ORANGE)):
        axes.plot(thresholds, values, color=color, lw=1.8, marker="o", ms=3.5, clip_on=False)
    _direct_labels(axes, [(tokens[-1], "of all tokens", BLUE), (distinct[-1], "of distinct words", ORANGE)])
    if chosen is not None:
        _, words, _, share = next(row for row in coverage if row[0] == chosen)
        axes.axvline(chosen, color=GREY, lw=0.9, ls=DASHED, zorder=0)
        note = f"threshold {chosen}: {words:,} words make up {share:.1%} of the text"
        axes.set_title(note, loc="left", size=8.5, color=INK)
        figure.alt += "; " + note
    return figure


def category_counts(counts: Mapping[str, int], top: int = 40) -> Figure:
    """How often each category of objects is annotated: the `top` most frequent ones."""
    names, values = zip(*_ranked(counts, top, "categories"), strict=True)
    margin = 0.2 + max(text_width(name, 8.5) for name in names)
    rest = len(counts) - len(names)
    tall = 0.19 * len(names) + (0.4 if rest else 0.15)
    figure = Figure(margin + 4.6, tall, f"objects per category, from “{names[0]}” down")
    _bars(figure.inches(margin, 0.05, 3.9, 0.19 * len(names)), names, values)
    if rest:
        figure.write(margin, figure.get_figheight() - 0.12, f"and {rest} more", size=8, color=GREY)
    return figure


def shares(values: Mapping[str, float]) -> Figure:
    """Shares between 0 and 1 by name, the largest first: bars with per cent. Raises ValueError if there are none."""
    if not values:
        raise ValueError("there are no shares to draw")
    names, sizes = zip(*sorted(values.items(), key=lambda item: -item[1]), strict=True)
    margin, tall = 0.2 + max(text_width(name, 8.5) for name in names), 0.19 * len(names)
    alt = "; ".join(f"{name} {size:.0%}" for name, size in zip(names, sizes, strict=True))
    figure = Figure(margin + 4.6, tall + 0.15, alt)
    axes = figure.inches(margin, 0.05, 3.9, tall)
    _bars(axes, names, sizes, ".0%")
    axes.set_xlim(0, 1)
    return figure


def co_occurrence(names: Sequence[str], matrix: ArrayLike) -> Figure:
    """How often two categories are in one picture: a square per pair, darker for more; each pair once.

    Comes in: names (C); a symmetric matrix (C, C) of counts, whose diagonal is left out. Raises ValueError if sizes
    differ.
    """
    counts = np.asarray(matrix)
    if counts.shape != (len(names), len(names)) or len(names) < 2:
        raise ValueError(f"{len(names)} names (at least 2) need a square matrix of that size, not {counts.shape}")
    below = np.tril(np.ones(counts.shape, bool), -1)[1:, :-1]
    shown = np.ma.masked_where(~below, counts[1:, :-1])
    cell = 0.42 if len(names) <= 14 else max(0.17, 5.0 / len(names))
    size = min(8.5, cell * 72 * 0.62)
    margin, side = 0.2 + max(text_width(name, size) for name in names), cell * (len(names) - 1)
    figure = Figure(margin + side + 0.3, side + margin + 0.1, "how often two categories are in one picture")
    axes = figure.inches(margin, 0.1, side, side)
    axes.pcolormesh(shown, cmap=SHADES, vmin=0, edgecolors="white", lw=1.5)
    axes.invert_yaxis()
    axes.set_xticks(np.arange(len(names) - 1) + 0.5, names[:-1], rotation=90)
    axes.set_yticks(np.arange(len(names) - 1) + 0.5, names[1:])
    axes.tick_params(length=0, labelsize=size, labelcolor=INK)
    axes.spines[:].set_visible(False)
    if len(names) <= 14:
        for row, column in zip(*np.nonzero(below), strict=True):
            count = shown[row, column]
            color = "white" if count > 0.45 * shown.max() else INK
            axes.text(column + 0.5, row + 0.5, f"{count:,}", size=7, color=color, ha="center", va="center")
    return figure


# Ideas


def batch_figure(captions: Sequence[Sequence[str]]) -> Figure:
    """A batch of captions, longest first: what is hatched is padding, and no step computes it.

    Comes in: B captions as lists of words. Above each step stands how many captions are still running there.
    """
    rows = sorted(captions, key=len, reverse=True)
    if not rows or not rows[0]:
        raise ValueError("a batch needs at least one caption with a word in it")
    steps = len(rows[0])
    running = [sum(len(row) > step for row in rows) for step in range(steps)]
    written = len(rows) <= 16
    shown = [[row[step] for row in rows[:count]] if written else [str(count)] for step, count in enumerate(running)]
    widths = np.array([max(0.22, *(0.12 + text_width(word, 8) for word in words)) for words in shown])
    shrink = min(1, 9.2 / widths.sum())
    widths, size = shrink * widths, shrink * 8
    edges = 0.1 + np.concatenate([[0], np.cumsum(widths)])
    top, tall = 0.65, 0.23 if written else min(0.12, 3.5 / len(rows))
    bottom = top + tall * len(rows)
    empty = 1 - sum(running) / (steps * len(rows))
    note = f"above: captions still running at each step; hatched: padding, {empty:.0%} of the cells, never computed"
    across = 0.2 + max(widths.sum(), text_width(note, 8))
    figure = Figure(across, bottom + 0.32, f"a batch of {len(rows)} captions; {note}")
    page = figure.page()
    page.text(0.1, bottom + 0.2, note, size=8, color=GREY)
    for step, count in enumerate(running):
        left, width, down = edges[step], widths[step], tall * count
        bar = 0.35 * count / len(rows)
        page.add_patch(Rectangle((left + 0.01, top - 0.06 - bar), width - 0.02, bar, color="#9cc3de", lw=0))
        page.text(left + width / 2, top - 0.1 - bar, str(count), ha="center", size=size, color=GREY)
        page.add_patch(Rectangle((left, top), width, down, color="#e3eef6", lw=0))
        blank = {"hatch": "/////", "facecolor": "none", "edgecolor": "#dddddd", "lw": 0}
        page.add_patch(Rectangle((left, top + down), width, bottom - top - down, **blank))
        for row, word in enumerate(shown[step] if written else ()):
            at = (left + width / 2, top + (row + 0.5) * tall)
            page.text(*at, word, ha="center", va="center_baseline", size=size, color=INK, parse_math=False)
    page.vlines(edges[1:-1], top, bottom, color="white", lw=1)
    if written:
        page.hlines(top + tall * np.arange(1, len(rows)), edges[0], edges[-1], color="white", lw=1)
    return figure


def teacher_forcing_figure(truth: Sequence[str], guesses: Sequence[str], free: Sequence[str] | None = None) -> Figure:
    """Above: teacher forcing, where each step is given the true word before it. Below: free running on its own words.

    Comes in: truth (T words); guesses (T), the model's word at each step of teacher forcing; free (T), its words when
    it runs alone; without them the guesses are shown there too. Raises ValueError if the lengths differ.
    """
    free = list(guesses if free is None else free)
    if not truth or not len(truth) == len(guesses) == len(free):
        raise ValueError(
            f"{len(truth)} true words, {len(guesses)} guesses, {len(free)} free words: need one of each per step"
        )
    size, words = 9.0, ["<start>", *truth, *guesses, *free]
    step = max(0.75, 0.3 + max(text_width(word, size) for word in words))
    left = 1.25
    alt = "teacher forcing: inputs are true words; free running: inputs are the model's own guesses"
    figure = Figure(left + max(4.8, step * len(truth)) + 0.1, 3.6, alt)
    page = figure.page()

    def word(x: float, y: float, text: str, color: str, fill: str = "none", wrong: bool = False) -> None:
        wide = text_width(text, size)
        page.add_patch(Rectangle((x - wide / 2 - 0.08, y - 0.12), wide + 0.16, 0.24, facecolor=fill, lw=0))
        page.text(x, y, text, ha="center", va="center_baseline", size=size, color=color, parse_math=False)
        if wrong:
            page.plot([x - wide / 2, x + wide / 2], [y + 0.1] * 2, color=color, lw=1)

    def arrow(start: tuple[float, float], end: tuple[float, float], color: str = GREY) -> None:
        look = {"arrowstyle": "-|>", "mutation_scale": 7, "lw": 0.9, "color": color, "shrinkA": 0, "shrinkB": 0}
        page.add_patch(FancyArrowPatch(start, end, **look))

    def half(top: float, title: str, inputs: Sequence[str], outputs: Sequence[str], feeds: bool) -> None:
        page.text(0.1, top, title, size=9.5, color=INK, weight="bold")
        for name, down in (("true next word", 0.3), ("model's guess", 0.6), ("input", 1.2)):
            page.text(left - 0.1, top + down, name, size=8, color=GREY, ha="right", va="center_baseline")
        for t, (given, said, true) in enumerate(zip(inputs, outputs, truth, strict=True)):
            x = left + (t + 0.5) * step
            word(x, top + 0.3, true, GREY)
            word(x, top + 0.6, said, GREEN if said == true else ORANGE, wrong=said != true)
            strayed = feeds and t > 0 and given != truth[t - 1]
            word(x, top + 1.2, given, INK, "#fbeadf" if strayed else "#e3eef6")
            arrow((x, top + 1.05), (x, top + 0.76))
            if feeds and t + 1 < len(truth):
                arrow((x + 0.1, top + 0.76), (x + step - 0.1, top + 1.05), GREEN if said == true else ORANGE)

    first = ["<start>"]
    half(
        0.25,
        "Teacher forcing: whatever it guesses, the next input is the true word",
        [*first, *truth[:-1]],
        guesses,
        False,
    )
    half(2.15, "Free running: each guess becomes the next input, mistakes included", [*first, *free[:-1]], free, True)
    return figure


# Saying a caption


def choices_figure(steps: Sequence[Sequence[tuple[str, float]]]) -> Figure:
    """A caption as it is decoded: at every step the likeliest words, the chosen one on top, bars for probabilities.

    Comes in: per step (word, probability) from the likeliest down, the same number at every step. Raises ValueError
    if there are no steps.
    """
    if not steps or not steps[0]:
        raise ValueError("there is no step to draw: a caption has at least one word")
    size, left, tall = 8.5, 0.1, 0.36
    per_row = min(len(steps), 8)
    wide = max(0.95, 0.2 + max(text_width(word, size, "bold") for step in steps for word, _ in step))
    block = 0.25 + tall * len(steps[0]) + 0.12
    rows = -(-len(steps) // per_row)
    alt = "the likeliest words at each step: " + "; ".join(
        ", ".join(f"{word} {chance:.2f}" for word, chance in step) for step in steps
    )
    figure = Figure(2 * left + wide * per_row, block * rows, alt)
    page = figure.page()
    for t, step in enumerate(steps):
        row, column = divmod(t, per_row)
        x, top = left + wide * column, block * row + 0.15
        page.text(x, top, str(t + 1), size=7.5, color=GREY)
        for rank, (word, chance) in enumerate(step):
            y = top + 0.2 + tall * rank
            look = {"color": INK, "weight": "bold"} if rank == 0 else {"color": GREY}
            page.text(x, y, word, size=size, va="center_baseline", parse_math=False, **look)
            room = wide - 0.42  # the number behind the longest bar stays inside
            page.add_patch(Rectangle((x, y + 0.1), room * chance, 0.07, color=BLUE if rank == 0 else FAINT, lw=0))
            number = {"size": 6.5, "color": GREY, "va": "center"}
            page.text(x + room * chance + 0.03, y + 0.135, f"{chance:.2f}", **number)
    return figure


def beam_tree(steps: Sequence[Sequence[tuple[int, str, float, bool]]], length_penalty: float = 0.7) -> Figure:
    """A beam search, pruned word by word: every hypothesis that was kept, and what became of it.

    Comes in: per step its K hypotheses as (row of the parent at the step before, word, sum of log-probabilities or -inf
    if it was not kept, whether it has ended), as `decoding.beam_search_steps` tells them. The winner is blue, what was
    dropped later grey; a ring marks an end. Raises ValueError if no hypothesis was kept.
    """
    kept = {
        (t, k): hypothesis
        for t, step in enumerate(steps)
        for k, hypothesis in enumerate(step)
        if hypothesis[2] > float("-inf")
    }
    ends = [(t, k) for (t, k), (*_, ended) in kept.items() if ended or t == len(steps) - 1]
    if not ends:
        raise ValueError("there is no hypothesis to draw: the search has kept none")

    def line_of(t: int, k: int) -> list[tuple[int, int]]:
        line = []
        for step in range(t, -1, -1):
            line.append((step, k))
            k = steps[step][k][0]
        return line

    winner = line_of(*max(ends, key=lambda end: (kept[end][3], kept[end][2] / (end[0] + 1) ** length_penalty)))
    lasting = {node for end in ends for node in line_of(*end)}
    size, left, tall = 8.5, 0.15, 0.42
    gap = 0.42
    columns = [max(text_width(h[1], size, "bold") for h in step) + gap for step in steps]
    starts = left + 0.75 + np.concatenate([[0], np.cumsum(columns)])
    said = " ".join(kept[node][1] for node in reversed(winner))
    figure = Figure(starts[-1] + 0.1, tall * max(map(len, steps)) + 0.3, f"a beam search; the winner: {said}")
    page = figure.page()
    page.text(left, 0.25, "start", size=size, color=GREY, va="center_baseline")
    for (t, k), (parent, word, total, ended) in kept.items():
        x, y = starts[t], 0.25 + tall * k
        won, lasts = (t, k) in winner, (t, k) in lasting
        look = {"color": BLUE if won else INK if lasts else GREY, "weight": "bold" if won else "normal"}
        page.text(x, y, word, size=size, va="center_baseline", parse_math=False, **look)
        page.text(x, y + 0.14, f"{total:.1f}", size=6, color=GREY, va="center_baseline")
        before, height = (starts[t - 1], 0.25 + tall * parent) if t else (left, 0.25)
        out = before + text_width(steps[t - 1][parent][1] if t else "start", size, "bold") + 0.04
        style = {
            "color": BLUE if won else GREY if lasts else FAINT,
            "lw": 1.8 if won else 0.8,
            "zorder": 2 if won else 1,
        }
        line = [out, max(out, x - gap + 0.08), x - 0.05]
        page.plot(line, [height - 0.03, height - 0.03, y - 0.03], **style)
        if ended:
            page.plot(
                x + text_width(word, size, look["weight"]) + 0.09, y - 0.03, "o", ms=5, mfc="none", mec=look["color"]
            )
    return figure


def curve(
    x: Sequence[float], y: Sequence[float], xlabel: str, ylabel: str, level: tuple[str, float] | None = None
) -> Figure:
    """One quantity over another, with a dot at each measurement; `level` (name, value) is a dashed line beside it.

    Raises ValueError if the lengths differ.
    """
    if len(x) != len(y) or not len(x):
        raise ValueError(f"{len(x)} places and {len(y)} values: there must be one value per place")
    margin = 0.2 if level is None else 0.25 + text_width(f"{level[0]} {_plain(level[1])}", 8.5)
    alt = f"{ylabel} over {xlabel}: " + ", ".join(f"{a:g}: {_plain(b)}" for a, b in zip(x, y, strict=True))
    figure = Figure(4.6 + margin, 2.6, alt)
    axes = figure.inches(0.65, 0.2, 3.95, 1.9)
    _quiet(axes, xlabel, ylabel)
    axes.plot(x, y, "o-", color=BLUE, lw=1.8, ms=4)
    if level is not None:
        axes.axhline(level[1], color=GREY, lw=0.9, ls=DASHED)
    axes.margins(y=0.15)
    if level is not None:
        _direct_labels(axes, [(level[1], f"{level[0]} {_plain(level[1])}", GREY)])
    return figure


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
    _quiet(axes, ylabel="looks at the picture")
    axes.bar(range(len(words)), shares, width=0.7, color=BLUE)
    for place, share in enumerate(shares):
        axes.text(place, share + 0.02, f"{share:.2f}", size=7, color=GREY, ha="center")
    axes.set_xticks(range(len(words)), words, size=8.5, color=INK, parse_math=False)
    axes.set(xlim=(-0.6, len(words) - 0.4), ylim=(0, 1.1), yticks=(0, 0.5, 1))
    return figure


COURSE = (
    ("0  Dataset", ("dataset",)),
    ("1  Preliminaries", ("vocabulary", "data_loader", "model")),
    ("2  Training", ("models", "training")),
    ("3  Inference", ("decoding", "evaluation", "explorer")),
)


def course_map(current: int) -> Figure:
    """Where we are: the four notebooks in a row, what each introduces, the current one in colour.

    Raises ValueError if current is not 0, 1, 2 or 3.
    """
    if current not in range(len(COURSE)):
        raise ValueError(f"the course has notebooks 0 to {len(COURSE) - 1}, there is no {current}")
    step, left, line = 2.2, 0.2, 0.22
    figure = Figure(left + step * len(COURSE), 0.85, f"where we are: notebook {COURSE[current][0]}")
    page = figure.page()
    page.plot([left, left + step * (len(COURSE) - 1)], [line] * 2, color=FAINT, lw=2, zorder=0)
    page.plot([left, left + step * current], [line] * 2, color=BLUE, lw=2, zorder=0)
    for number, (name, modules) in enumerate(COURSE):
        x, here = left + step * number, number == current
        page.plot(x, line, "o", ms=11 if here else 7, color=BLUE if number <= current else FAINT, mec="white", mew=1.5)
        strong = {"color": BLUE, "weight": "bold"} if here else {"color": GREY}
        page.text(x - 0.08, line + 0.28, name, size=10, **strong)
        page.text(x - 0.08, line + 0.47, " · ".join(modules), size=7.5, color=INK if here else GREY)
    return figure
