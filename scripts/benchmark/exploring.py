"""What the attention explorer costs: a move of its slider, a new caption."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from pathlib import Path

from dataset.loading import load_records
from explorer.widget import explore
from models import checkpoint
from scripts.benchmark.table import Clock, show

MODEL = Path("runs/sample/model")  # what 2_Training leaves


def explorer(clock: Clock, quick: bool) -> None:
    """The medians over moves and over scenes of the sample."""
    if not MODEL.is_dir():
        print(f"\nThe attention explorer: no model in {MODEL.as_posix()}; run 2_Training or python -m scripts.train")
        return
    slide, caption = costs(checkpoint.load(MODEL), load_records("sample", "test")[: 5 if quick else 20], clock)
    rows = [
        ["a move of the slider", f"{1000 * slide:.2f}", "50"],
        ["a new caption, with all its pictures", f"{1000 * caption:.0f}", "300"],
    ]
    show("The attention explorer on scenes of the sample", ("", "milliseconds", "at most"), rows)


def costs(captioner: checkpoint.Checkpoint, images: Sequence, clock: Clock, moves: int = 200) -> tuple[float, float]:
    """Median seconds of Python for a move of the slider, and for a new caption with all its pictures."""

    def timed(act: Callable[[dict], object], argument: dict) -> float:
        began = clock()
        act(argument)
        return clock() - began

    widget = explore(captioner, images)
    slides = [timed(widget.set_state, {"position": move % 10}) for move in range(moves)]
    captions = [timed(widget.receive, {"event": "choose", "number": number}) for number in range(len(images))]
    widget.close()
    return statistics.median(slides), statistics.median(captions)
