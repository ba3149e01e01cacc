"""The course's ideas as drawings: its map, a batch, teacher forcing, a caption as it is decoded, a beam search.

Comes in: words and plain numbers. Goes out: a `Figure`. Knows no tensors, no models, no pictures.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.patches import FancyArrowPatch, Rectangle

from figures.style import BLUE, FAINT, GREEN, GREY, INK, ORANGE, Figure, text_width

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
        strong: dict[str, Any] = {"color": BLUE, "weight": "bold"} if here else {"color": GREY}
        page.text(x - 0.08, line + 0.28, name, size=10, **strong)
        page.text(x - 0.08, line + 0.47, " · ".join(modules), size=7.5, color=INK if here else GREY)
    return figure


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
        blank: dict[str, Any] = {"hatch": "/////", "facecolor": "none", "edgecolor": "#dddddd", "lw": 0}
        page.add_patch(Rectangle((left, top + down), width, bottom - top - down, **blank))
        for row, word in enumerate(shown[step] if written else ()):
            at = (left + width / 2, top + (row + 0.5) * tall)
            page.text(*at, word, ha="center", va="center_baseline", size=size, color=INK)
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
        page.text(x, y, text, ha="center", va="center_baseline", size=size, color=color)
        if wrong:
            page.plot([x - wide / 2, x + wide / 2], [y + 0.1] * 2, color=color, lw=1)

    def arrow(start: tuple[float, float], end: tuple[float, float], color: str = GREY) -> None:
        look: dict[str, Any] = {"arrowstyle": "-|>", "mutation_scale": 7, "lw": 0.9, "shrinkA": 0, "shrinkB": 0}
        page.add_patch(FancyArrowPatch(start, end, color=color, **look))

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

    forced = "Teacher forcing: whatever it guesses, the next input is the true word"
    half(0.25, forced, ["<start>", *truth[:-1]], guesses, feeds=False)
    alone = "Free running: each guess becomes the next input, mistakes included"
    half(2.15, alone, ["<start>", *free[:-1]], free, feeds=True)
    return figure


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
            look: dict[str, Any] = {"color": INK, "weight": "bold"} if rank == 0 else {"color": GREY}
            page.text(x, y, word, size=size, va="center_baseline", **look)
            room = wide - 0.42  # the number behind the longest bar stays inside
            page.add_patch(Rectangle((x, y + 0.1), room * chance, 0.07, color=BLUE if rank == 0 else FAINT, lw=0))
            number: dict[str, Any] = {"size": 6.5, "color": GREY, "va": "center"}
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
        look: dict[str, Any] = {"color": BLUE if won else INK if lasts else GREY, "weight": "bold" if won else "normal"}
        page.text(x, y, word, size=size, va="center_baseline", **look)
        page.text(x, y + 0.14, f"{total:.1f}", size=6, color=GREY, va="center_baseline")
        before, height = (starts[t - 1], 0.25 + tall * parent) if t else (left, 0.25)
        out = before + text_width(steps[t - 1][parent][1] if t else "start", size, "bold") + 0.04
        style: dict[str, Any] = {
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
