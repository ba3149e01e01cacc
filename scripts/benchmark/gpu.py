"""One large GPU: an epoch over the size of Karpathy's COCO training split, and beam 5, on made-up features.

The features are resident on the device. A caption is trained with those of the same length, each with its picture's
regions, so that nothing is padded and every batch of a length has the same shape: its whole step, loss, gradients,
clipping and Adam, is one CUDA graph, and nothing waits for the device within the epoch.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from decoding.beam import beam
from models.show_attend_tell import ShowAttendTell
from scripts.benchmark.captioning import OPTIONS
from scripts.benchmark.learning import random_decoder
from scripts.benchmark.table import Clock, show
from training.losses import token_loss

IMAGES, CAPTIONS, BATCH, REGIONS, FEATURES, SIZE, WORDS = 113_287, 566_747, 1024, 49, 2048, 512, 9490
TOY = {"images": 40, "captions": 120, "batch": 8, "regions": 4, "features": 16, "size": 8, "words": 30}


def gpu(clock: Clock, quick: bool) -> None:
    """The table of the device; without CUDA, or with --quick, a toy of it, only to see that it runs."""
    cuda = torch.cuda.is_available()
    sizes = {
        "images": IMAGES,
        "captions": CAPTIONS,
        "batch": BATCH,
        "regions": REGIONS,
        "features": FEATURES,
        "size": SIZE,
        "words": WORDS,
    }
    toy = quick or not cuda
    if toy:
        sizes = TOY
        print(f"a toy ({'--quick' if quick else 'no CUDA here'}): its figures say nothing")
    device = torch.device("cuda" if cuda else "cpu")
    torch.manual_seed(0)
    features = torch.empty(sizes["images"], sizes["regions"], sizes["features"], dtype=torch.bfloat16, device=device)
    for part in features.split(4096):
        part.normal_().relu_()
    decoder = random_decoder(ShowAttendTell, **{name: sizes[name] for name in ("features", "size", "words")}).to(device)
    lengths = (torch.randn(sizes["captions"]) * 2.4 + 11.5).round().long().clamp(8, 23)  # `<end>` counted
    seconds, captions, tokens = epoch(decoder, features, lengths, sizes["batch"], sizes["words"])
    decoder.eval()
    few = 10 if toy else 1000
    rounds = min(5000, len(features)) // few

    def search() -> None:
        with torch.autocast(device.type, torch.bfloat16):
            for i in range(rounds):
                beam(decoder, features[i * few : (i + 1) * few], **OPTIONS)

    search()
    beams = timed(search, device)
    rate, bandwidth = limits(device, 256 if toy else 8192)
    work = operations(decoder, sizes, captions, tokens)
    traffic = 3 * 2 * (captions + 2 * tokens) * sizes["regions"] * (sizes["features"] + sizes["size"])
    rows = [
        ["an epoch", f"{seconds:.2f} s", f"{captions / seconds:,.0f} captions a second"],
        ["beam 5", f"{beams:.2f} s", f"{rounds * few / beams:,.0f} images a second"],
        ["floor by arithmetic", f"{work / rate:.2f} s", f"bf16 products run at {rate / 1e12:.1f} TFLOP/s here"],
        ["floor by memory", f"{traffic / bandwidth:.2f} s", f"a copy moves {bandwidth / 1e9:,.0f} GB/s here"],
        ["share of the bf16 rate", f"{100 * work / seconds / rate:.0f} %", ""],
        ["share of the bandwidth", f"{100 * traffic / seconds / bandwidth:.0f} %", "regions and keys read"],
    ]
    if cuda:
        rows.append(["peak of memory", f"{torch.cuda.max_memory_allocated() / 2**30:.1f} GiB", ""])
    show("show_attend_tell, 7 x 7 x 2048 in bf16, one device", ("", "", ""), rows)


def epoch(decoder: ShowAttendTell, features: Tensor, lengths: Tensor, batch: int, words: int) -> tuple[float, int, int]:
    """All captions once, in batches of one length: seconds, captions, tokens (whole batches only)."""
    device = features.device
    adam = torch.optim.Adam(decoder.parameters(), 4e-4, fused=True, capturable=device.type == "cuda")
    buckets = {}
    for length in lengths.unique().tolist():
        count = int((lengths == length).sum()) // batch
        if count:
            images = torch.randint(0, len(features), (count, batch), device=device)
            ids = torch.randint(4, words, (count, batch, length + 1), device=device)
            buckets[length] = images, ids, graphed(decoder, adam, features, ids[0])
    order = [(length, i) for length, (images, *_) in buckets.items() for i in range(len(images))]
    order = [order[i] for i in torch.randperm(len(order)).tolist()]

    def run() -> None:
        for length, i in order:
            images, ids, train = buckets[length]
            train(images[i], ids[i])

    seconds = timed(run, device)
    return seconds, len(order) * batch, batch * sum(length for length, _ in order)


def graphed(
    decoder: ShowAttendTell, adam: torch.optim.Optimizer, features: Tensor, ids: Tensor
) -> Callable[[Tensor, Tensor], None]:
    """A training step for batches shaped like `ids` (B, T + 1): images (B,) and ids -> weights changed. One CUDA graph;
    elsewhere the plain step."""
    device = features.device
    at, said = torch.zeros(len(ids), dtype=torch.long, device=device), ids.clone()

    def train() -> None:
        with torch.autocast(device.type, torch.bfloat16):
            memory = decoder.prepare(features.index_select(0, at))
            state, logits = memory.state, []
            for words in said[:, :-1].unbind(1):
                scores, state, _ = decoder.step(words, state, memory)
                logits.append(scores)
        (token_loss(torch.cat(logits), said[:, 1:].T.flatten()) / said[:, 1:].numel()).backward()
        nn.utils.clip_grad_norm_(decoder.parameters(), 5.0)
        adam.step()
        adam.zero_grad(set_to_none=True)

    if device.type == "cuda":
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(3):
                train()
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            train()

    def replay(images: Tensor, words: Tensor) -> None:
        at.copy_(images)
        said.copy_(words)
        graph.replay() if device.type == "cuda" else train()

    return replay


def timed(run: Callable[[], object], device: torch.device) -> float:
    """Seconds of a run, the device's work included."""

    def wait() -> None:
        if device.type == "cuda":
            torch.cuda.synchronize()

    wait()
    began = time.perf_counter()
    run()
    wait()
    return time.perf_counter() - began


def limits(device: torch.device, size: int) -> tuple[float, float]:
    """What this device does at best: bf16 operations a second in a large product, bytes a second in a copy."""
    a = torch.randn(size, size, device=device, dtype=torch.bfloat16)
    b = torch.empty(16 * size * size, device=device, dtype=torch.bfloat16)
    c = torch.empty_like(b)
    seconds = []
    for task in (lambda: a @ a, lambda: c.copy_(b)):
        task()
        seconds.append(min(timed(task, device) for _ in range(10)))
    return 2 * size**3 / seconds[0], 2 * b.nbytes / seconds[1]


def operations(decoder: ShowAttendTell, sizes: dict[str, int], captions: int, tokens: int) -> float:
    """Multiplications and additions of an epoch: three products with each weight, two where no input's gradient is."""
    regions = sizes["regions"]
    once = 2 * 2 * decoder.attention.keys.get_parameter("weight").numel() * regions * captions
    layers = (decoder.lm_head, decoder.from_hidden, decoder.context_gates, decoder.word_gates)
    each = 3 * 2 * sum(layer.weight.numel() for layer in layers)
    looks = 2 * 2 * regions * (sizes["features"] + sizes["size"])
    return once + tokens * (each + looks)
