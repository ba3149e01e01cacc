"""What a training step costs while one other program is busy on each core."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import torch

from models.devices import best_precision
from models.show_attend_tell import ShowAttendTell
from scripts.benchmark.learning import our_loss, random_batch, random_decoder, step
from scripts.benchmark.table import Clock, medians, show


def busy(clock: Clock, quick: bool) -> None:
    """A step alone and beside the others, by the clock on the wall: with fair shares two or three times as long."""
    sizes = {"regions": 49, "features": 512, "size": 64 if quick else 512, "words": 500 if quick else 9490}
    batch, decoder = random_batch(2 if quick else 10, 5, **sizes), random_decoder(ShowAttendTell, **sizes)
    adam = torch.optim.Adam(decoder.parameters(), 4e-4, fused=True)
    precision = best_precision(torch.device("cpu"))
    task = {"": step(decoder, lambda: our_loss(decoder, batch, precision), adam)}
    times = 1 if quick else 5
    alone = medians(task, times, time.perf_counter)[""]
    others = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(os.cpu_count() or 1)]
    try:
        beside = medians(task, times, time.perf_counter)[""]
    finally:
        for other in others:
            other.kill()
            other.wait()
    rows = [["alone", f"{alone:.3f}", "1"], ["a busy program on each core", f"{beside:.3f}", f"{beside / alone:.1f}"]]
    show("A training step beside other programs, 7 x 7 x 512", ("", "seconds", "times as long"), rows)
