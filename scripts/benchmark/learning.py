"""A training step by the textbook's loop, by the plain page and with kernels; peaks of memory; how cost grows."""

from __future__ import annotations

import copy
import inspect
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib.pyplot as plt
import torch
from torch import Tensor, nn

from data_loader import Batch
from model import AttentionDecoder, Decoder, SpatialDecoder
from models.decoders import DECODERS
from models.devices import best_precision
from models.fast import kernels
from models.show_attend_tell import ShowAttendTell
from scripts.benchmark.table import Clock, compare, medians, show
from scripts.benchmark.textbook import Textbook, textbook_loss
from training.losses import token_loss

# The sizes of the best-known PyTorch captioning tutorial.
SIZES = {"regions": 14 * 14, "features": 2048, "size": 512, "words": 9490}


def random_batch(images: int = 32, captions: int = 1, longest: int = 23, shortest: int = 8, **sizes: int) -> Batch:
    """A batch of `images` pictures with so many captions each, evenly of `longest` to `shortest` targets."""
    sizes = SIZES | sizes
    random = torch.Generator().manual_seed(0)
    count = images * captions
    lengths = torch.linspace(longest, shortest, count).round().long()
    ids = torch.zeros(count, longest + 1, dtype=torch.long)
    for row, length in zip(ids, lengths.tolist(), strict=True):
        row[: length + 1] = torch.randint(4, sizes["words"], (length + 1,), generator=random)
    regions = torch.randn(images, sizes["regions"], sizes["features"], generator=random).relu()
    image_of = torch.randperm(count, generator=random) % images
    return Batch(list(range(images)), image_of, ids, lengths, features=regions)


def random_decoder(kind: type[Decoder] = ShowAttendTell, dropout: float = 0.0, **sizes: int) -> Any:
    """A decoder of these sizes with random weights. Without dropout two loops can be compared number by number."""
    sizes = SIZES | sizes
    torch.manual_seed(0)
    known = inspect.signature(kind).parameters
    options = {name: sizes["size"] for name in ("word_size", "hidden_size", "attention_size") if name in known}
    return kind(sizes["words"], sizes["features"], **options, dropout=dropout)


def regions_of(batch: Batch) -> Tensor:
    """The regions that the batch brings along, (N, R, E)."""
    assert batch.features is not None
    return batch.features


def plain_loss(decoder: Decoder, batch: Batch, autocast: torch.dtype | None = None) -> Tensor:
    """The mean loss of a batch by the plain page, model.py or that of the paper."""
    with torch.autocast("cpu", autocast, enabled=autocast is not None):
        logits, _ = decoder(regions_of(batch), batch.inputs, batch.image_of)
    return token_loss(logits, batch.targets) / len(batch.targets)


def our_loss(decoder: Decoder, batch: Batch, autocast: torch.dtype | None = None) -> Tensor:
    """The same with the kernels of models/fast.py, as training.fit computes it."""
    with kernels(decoder):
        return plain_loss(decoder, batch, autocast)


def their_loss(decoder: Textbook, batch: Batch) -> Tensor:
    """The same by the textbook's loop, every caption with its own copy of its picture."""
    features = regions_of(batch)
    return textbook_loss(decoder, features[batch.image_of], batch.captions, batch.lengths)


def step(
    decoder: nn.Module, loss: Callable[[], Tensor], optimizer: torch.optim.Optimizer, clip: float = 5.0
) -> Callable[[], None]:
    """One whole step: loss, gradients, clipping, Adam."""

    def run() -> None:
        optimizer.zero_grad(set_to_none=True)
        loss().backward()
        nn.utils.clip_grad_norm_(decoder.parameters(), clip)
        optimizer.step()

    return run


def largest_difference(decoder: Any, batch: Batch) -> float:
    """The largest |difference| / |gradient| over all weights, between our gradients and the textbook loop's."""
    gradients = []
    for loss in (our_loss, their_loss):
        decoder.zero_grad()
        loss(decoder, batch).backward()
        gradients.append([p.grad.clone() for p in decoder.parameters() if p.grad is not None])
    return max(((a - b).norm() / b.norm()).item() for a, b in zip(*gradients, strict=True))


class Case(NamedTuple):
    """A decoder and the batch it learns from."""

    title: str
    kind: type[Decoder]
    sizes: dict[str, int]
    images: int
    captions: int


SHARED = "10 images with 5 captions"
CASES = (
    Case("the tutorial's sizes: 14 x 14 x 2048, D = A = W = 512, V = 9,490", ShowAttendTell, SIZES, 32, 1),
    Case(f"the same, {SHARED}", ShowAttendTell, SIZES, 10, 5),
    Case(f"7 x 7 x 2048, {SHARED}", ShowAttendTell, {"regions": 49}, 10, 5),
    Case("photographs: 7 x 7 x 1280, D = 512", AttentionDecoder, {"regions": 49, "features": 1280}, 32, 5),
    Case(
        "the sample: 8 x 8 x 256, D = 256, V = 100",
        SpatialDecoder,
        {"regions": 64, "features": 256, "size": 256, "words": 100},
        16,
        2,
    ),
)


def training(clock: Clock, quick: bool) -> None:
    """A step of the textbook's loop, of the plain page, and with the kernels; float32, and bf16 where it is fast."""
    precision = best_precision(torch.device("cpu"))
    for case in CASES[:2] if quick else CASES:
        batch, decoder = random_batch(case.images, case.captions, **case.sizes), random_decoder(case.kind, **case.sizes)
        losses: dict[str, Callable[..., Tensor]] = {"plain, float32": plain_loss, "fast, float32": our_loss}
        if case.kind is not SpatialDecoder:  # which no textbook has
            losses = {"textbook, float32": their_loss} | losses
        if precision is not None:
            losses |= {"plain, bf16": partial(plain_loss, autocast=precision)}
            losses |= {"fast, bf16": partial(our_loss, autocast=precision)}
        steps = {}
        for name, loss in losses.items():
            own = copy.deepcopy(decoder)
            adam = torch.optim.Adam(own.parameters(), 4e-4, fused=loss is not their_loss)
            steps[name] = step(own, partial(loss, own, batch), adam)
        title = f"A training step of {case.kind.__name__}, {case.title}"
        compare(title, steps, dict.fromkeys(steps, len(batch.captions)), 1 if quick else 5, clock, "captions")
    if precision is None:
        print("this processor has no bf16 instructions: float32 is the default here")
    single, decoder = random_batch(), random_decoder()
    with torch.no_grad():
        values = [loss(decoder, single).item() for loss in (their_loss, plain_loss, our_loss)]
    print("\nloss " + ", ".join(f"{value:.6f}" for value in values), end="")
    print(f"; gradients differ by at most {largest_difference(decoder, single):.1e}" if not quick else "")
    if not quick:
        every_decoder(clock, precision)
        memory()


def every_decoder(clock: Clock, precision: torch.dtype | None) -> None:
    """A step of every decoder, on the same batch."""
    batch, tasks = random_batch(10, 5, features=512, regions=49), {}
    for name, kind in DECODERS.items():
        decoder = random_decoder(kind, features=512)
        adam = torch.optim.Adam(decoder.parameters(), 4e-4, fused=True)
        tasks[name] = step(decoder, partial(our_loss, decoder, batch, precision), adam)
    seconds = medians(tasks, 3, clock)
    rows = [[name, f"{value:.3f}", f"{len(batch.captions) / value:,.0f}"] for name, value in seconds.items()]
    show("Every decoder: a step with 10 images, 50 captions, 7 x 7 x 512", ("", "seconds", "captions a second"), rows)


def memory() -> None:
    """The peak of memory of one step, each in a process of its own, beside the process before the step (Linux only)."""
    rows = []
    if not Path("/proc/self/clear_refs").exists():
        return
    for name in ("textbook", "plain", "fast"):
        answer = subprocess.run(
            [sys.executable, "-c", f"from scripts.benchmark.learning import peak; peak({name!r})"],
            cwd=Path(__file__).parents[2],
            capture_output=True,
            text=True,
            check=True,
        )
        rows.append([name, *answer.stdout.split()])
    show("Peak of memory of a step, MB", ("", "weights and batch", "during the step, beyond"), rows)


def peak(name: str) -> None:
    """Prints the megabytes before a step, and what it takes beyond them at its peak."""
    batch, decoder = random_batch(), random_decoder()
    precision = best_precision(torch.device("cpu"))
    losses: dict[str, Callable[..., Tensor]] = {
        "textbook": their_loss,
        "plain": partial(plain_loss, autocast=precision),
        "fast": partial(our_loss, autocast=precision),
    }
    status, peaks = Path("/proc/self/status"), Path("/proc/self/clear_refs")
    peaks.write_text("5")  # the peak begins anew here; what getrusage tells is also of the parent
    before = _kilobytes(status.read_text(), "VmRSS")
    losses[name](decoder, batch).backward()
    after = _kilobytes(status.read_text(), "VmHWM")
    print(round(before / 1024), round((after - before) / 1024))


def _kilobytes(status: str, name: str) -> int:
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith(name))


def sweep(clock: Clock, quick: bool) -> None:
    """How a training step grows with B, R, T, V and K, one at a time: a figure in docs/performance.png."""
    precision = best_precision(torch.device("cpu"))
    ranges: dict[str, tuple[str, list[int]]] = {
        "B": ("captions, one an image", [8, 16, 32, 64]),
        "R": ("regions", [16, 49, 100, 196]),
        "T": ("words of a caption", [6, 12, 24, 48]),
        "V": ("words of the vocabulary", [1000, 4000, 10_000, 20_000]),
        "K": ("captions of each of 10 images", [1, 2, 5, 10]),
    }
    figure, panels = plt.subplots(1, len(ranges), figsize=(13, 2.6), sharey=True, layout="constrained")
    for (letter, (what, values)), panel in zip(ranges.items(), panels, strict=True):
        seconds = []
        for value in values[:2] if quick else values:
            options = {
                "B": {"images": value},
                "R": {"regions": value},
                "T": {"longest": value, "shortest": value},
                "V": {"words": value},
                "K": {"images": 10, "captions": value},
            }[letter]
            batch = random_batch(**({"features": 512} | options))
            decoder = random_decoder(features=512, words=options.get("words", SIZES["words"]))
            adam = torch.optim.Adam(decoder.parameters(), 4e-4, fused=True)
            run = step(decoder, partial(our_loss, decoder, batch, precision), adam)
            seconds.append(medians({"": run}, 1 if quick else 3, clock)[""])
        print(f"{letter:2} {what}: " + ", ".join(f"{v}: {s:.3f} s" for v, s in zip(values, seconds, strict=False)))
        panel.plot(values[: len(seconds)], seconds, marker="o", color="#3b6ea5")
        panel.set(xlabel=f"{letter}, {what}", xlim=(0, None))
        panel.spines[["top", "right"]].set_visible(False)
    panels[0].set(ylabel="seconds a step", ylim=(0, None))
    path = Path(__file__).parents[2] / "docs" / "performance.png"
    if not quick:
        figure.savefig(path, dpi=90)
        print(f"the figure is {path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path}")
    plt.close(figure)
