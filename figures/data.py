"""A dataset in counts: its words, the lengths of its captions, its objects, and how often they occur together.

Comes in: plain numbers by name. Goes out: a `Figure`. Knows no records, no pictures, no files.
"""

import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike

from figures.style import BLUE, DASHED, GREY, INK, ORANGE, Figure, direct_labels, log_ticks, quiet, shorten, text_width

ROOM = 3.0  # inches for a name: a longer one is shortened
SHADES = LinearSegmentedColormap.from_list("shades", ["#f4f7fa", "#9cc3de", BLUE, "#0b2f4d"])


def word_frequencies(counts: Mapping[str, int], top: int = 30) -> Figure:
    """The `top` most frequent words; and all words by rank, beside the straight line of Zipf's law.

    Zipf's law shares the same number of tokens out so that the word of rank r has 1 / r of what the first has; on two
    logarithmic axes it is straight. Raises ValueError if there are no words.
    """
    shown = _ranked(counts, top, "words")
    names, values = zip(*shown, strict=True)
    margin = 0.15 + _widest(names)
    tall = 0.17 * len(names)
    plot = min(max(2.0, tall), 3.4)
    alt = f"the {len(names)} most frequent words, from “{names[0]}” down, and all words by rank beside Zipf's law"
    figure = Figure(9.2, max(tall + 0.45, plot + 0.85), alt)
    _bars(figure.inches(margin, 0.35, 4.6 - margin - 0.5, tall), names, values)
    axes = figure.inches(5.4, 0.35, 3.6, plot)
    quiet(axes, "rank of the word", "times it occurs")
    ranks = sorted(counts.values(), reverse=True)
    places = np.arange(1, len(ranks) + 1)
    law = sum(ranks) / (1 / places).sum() / places
    axes.loglog(places, law, color=GREY, lw=0.9, ls=DASHED)
    axes.loglog(places, ranks, color=BLUE, lw=1.8, marker="o" if len(ranks) == 1 else "")
    axes.text(
        0.98, 0.97, "dashed: Zipf's law, 1 / rank", transform=axes.transAxes, size=8, color=GREY, ha="right", va="top"
    )
    log_ticks(axes.xaxis)
    log_ticks(axes.yaxis)
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
    quiet(axes, "words in the caption", "captions")
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
    quiet(axes, "objects in the picture", "pictures")
    _histogram(axes, counts, None, note)
    return figure


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
    quiet(axes, "words that occur at least … times", "kept")
    axes.set_ylim(0, 1.04)
    axes.yaxis.set_major_locator(MaxNLocator(5))
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    if thresholds[-1] > 30 * thresholds[0]:
        axes.set_xscale("log")
        axes.set_xlim(thresholds[0], thresholds[-1])
        log_ticks(axes.xaxis)
    else:
        axes.xaxis.set_major_locator(MaxNLocator(10, integer=True))
    for values, color in ((tokens, BLUE), (distinct, ORANGE)):
        axes.plot(thresholds, values, color=color, lw=1.8, marker="o", ms=3.5, clip_on=False)
    direct_labels(axes, [(tokens[-1], "of all tokens", BLUE), (distinct[-1], "of distinct words", ORANGE)])
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
    margin = 0.2 + _widest(names)
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
    margin, tall = 0.2 + _widest(names), 0.19 * len(names)
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
    names = [shorten(name, ROOM, size) for name in names]
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


def _ranked(counts: Mapping[str, int], top: int, of: str) -> list[tuple[str, int]]:
    if not counts:
        raise ValueError(f"there are no {of} to count")
    return Counter(counts).most_common(top)


def _widest(names: Sequence[str]) -> float:
    """The room that the names of `_bars` take, in inches."""
    return max(text_width(shorten(name, ROOM, 8.5), 8.5) for name in names)


def _bars(axes: Axes, names: Sequence[str], values: Sequence[float], form: str = ",") -> None:
    """Thin horizontal bars with the name on the left and the number at the end; no axis is needed then."""
    places = range(len(names))
    axes.barh(places, values, height=0.62, color=BLUE, alpha=0.75)
    for place, name, value in zip(places, names, values, strict=True):
        how: dict[str, Any] = {"textcoords": "offset points", "va": "center"}
        axes.annotate(shorten(name, ROOM, 8.5), (0, place), (-5, 0), ha="right", size=8.5, color=INK, **how)
        axes.annotate(f"{value:{form}}", (value, place), (4, 0), size=7.5, color=GREY, **how)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.axis("off")


def _histogram(axes: Axes, counts: Mapping[int, int], marked: int | None, note: str) -> None:
    """A bar per number, one of them in another colour."""
    colors = [ORANGE if number == marked else BLUE for number in counts]
    axes.bar(list(counts), list(counts.values()), width=0.75, color=colors, alpha=0.75)
    axes.set_xlim(-0.6, max(counts) + 0.6)
    axes.xaxis.set_major_locator(MaxNLocator(12, integer=True, min_n_ticks=1))
    axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.set_title(note, loc="left", size=8.5, color=INK)
