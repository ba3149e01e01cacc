"""What the attention explorer costs: a move of its slider, a new caption."""

from __future__ import annotations

from pathlib import Path

import checkpoint
import coco
from explorer import medians
from scripts.benchmark.table import Clock, show

MODEL = Path("runs/sample/model")  # what 2_Training leaves


def explorer(clock: Clock, quick: bool) -> None:
    """The medians over moves and over scenes of the sample, by the wall clock."""
    if not MODEL.is_dir():
        print(f"\nThe attention explorer: no model in {MODEL.as_posix()}; run 2_Training or python -m scripts.train")
        return
    records = coco.load("sample", "test")[: 5 if quick else 20]
    slide, caption = medians(checkpoint.load(MODEL), records)
    rows = [
        ["a move of the slider", f"{1000 * slide:.2f}", "50"],
        ["a new caption, with all its pictures", f"{1000 * caption:.0f}", "300"],
    ]
    show("The attention explorer on scenes of the sample", ("", "milliseconds", "at most"), rows)
