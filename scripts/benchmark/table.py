"""Rows of a benchmark: what is compared is run alternately in one process, and medians are set in relation.

Comes in: functions. Goes out: a table of text. It knows nothing of what they do.
"""

from __future__ import annotations

import os
import platform
import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch

Clock = Callable[[], float]


def machine() -> str:
    """The first line: processor, cores, threads in use, versions."""
    names = [line for line in _lines("/proc/cpuinfo") if line.startswith("model name")]
    name = names[0].split(":")[1].strip() if names else platform.processor() or platform.machine()
    if torch.cuda.is_available():
        name += f", {torch.cuda.get_device_name()}"
    threads = torch.get_num_threads()
    return (
        f"{name}, {os.cpu_count()} cores, {threads} thread{'s' * (threads > 1)}, "
        f"torch {torch.__version__}, Python {platform.python_version()}"
    )


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines() if Path(path).is_file() else []


def medians(tasks: Mapping[str, Callable[[], object]], repetitions: int, clock: Clock) -> dict[str, float]:
    """Every task once to warm up, then all in turn, `repetitions` times: name -> the median of its seconds."""
    seconds: dict[str, list[float]] = {name: [] for name in tasks}
    for turn in range(repetitions + 1):
        for name, task in tasks.items():
            began = clock()
            task()
            if turn:
                seconds[name].append(clock() - began)
    return {name: statistics.median(values) for name, values in seconds.items()}


def show(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Prints a Markdown table under a title."""
    cells = [list(columns), ["---"] * len(columns), *rows]
    widths = [max(len(row[i]) for row in cells) for i in range(len(columns))]
    print(f"\n{title}\n")
    for row in cells:
        print("| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |", flush=True)


def compare(
    title: str,
    tasks: Mapping[str, Callable[[], object]],
    units: Mapping[str, int],
    repetitions: int,
    clock: Clock,
    unit: str,
) -> dict[str, float]:
    """Measures the tasks and prints them beside the first one, per unit of what each does: name -> times as fast."""
    seconds = medians(tasks, repetitions, clock)
    base = next(iter(tasks))
    faster = {name: seconds[base] / units[base] * units[name] / seconds[name] for name in tasks}
    rows = [
        [name, f"{seconds[name]:.3f}", f"{units[name] / seconds[name]:,.1f}", f"{faster[name]:.1f}"] for name in tasks
    ]
    show(title, ("", "seconds", f"{unit} a second", "times as fast"), rows)
    return faster
