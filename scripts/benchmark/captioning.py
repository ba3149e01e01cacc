"""Beam search over many images, float32 and rounded, beside the textbook beam, one image at a time."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from decoding.beam import beam
from models.devices import best_precision
from models.fast import kernels, rounded_products
from models.show_attend_tell import ShowAttendTell
from scripts.benchmark.learning import SIZES, random_decoder
from scripts.benchmark.table import Clock, compare
from scripts.benchmark.textbook import textbook_beam
from vocabulary import END

OPTIONS: dict[str, Any] = {"num_beams": 5, "min_length": 8, "max_length": 20, "length_penalty": 0.7}


def decided(sharpness: float = 8.0, end: float = 1.0, **sizes: int) -> ShowAttendTell:
    """A random decoder that is sure of its words, so that rounding cannot change them, and ends like a trained one."""
    decoder = random_decoder(ShowAttendTell, **sizes).eval()
    with torch.no_grad():
        decoder.lm_head.weight.mul_(sharpness)
        decoder.lm_head.bias[END] += end
    return decoder


def random_regions(images: int, **sizes: int) -> Tensor:
    """Regions of random images (N, R, E), in float32."""
    sizes = SIZES | sizes
    random = torch.Generator().manual_seed(1)
    tint = torch.randn(images, 1, sizes["features"], generator=random)  # lest all means be alike
    return (torch.randn(images, sizes["regions"], sizes["features"], generator=random) + 2 * tint).relu()


def decoding(clock: Clock, quick: bool) -> None:
    """Beam 5: the textbook's, ours for one image at a time, for all at once, and so with rounded products."""
    decoder = decided()
    images, one_by_one, textbooks = (20, 4, 1) if quick else (100, 10, 5)
    regions = random_regions(images)
    found: dict[str, list[list[int]]] = {}

    def textbook() -> None:
        found["textbook"] = textbook_beam(decoder, regions[:textbooks], **OPTIONS)

    def single() -> None:
        with kernels(decoder):  # as decoding.search.decode does
            found["single"] = [beam(decoder, image[None], **OPTIONS)[0].ids for image in regions[:one_by_one]]

    def ours() -> None:
        with kernels(decoder):
            found["ours"] = [hypothesis.ids for hypothesis in beam(decoder, regions, **OPTIONS)]

    def rounded() -> None:
        with rounded_products(decoder), kernels(decoder):  # in this order: they replace the same layers
            beam(decoder, regions, **OPTIONS)

    tasks = {"textbook beam": textbook, "ours, one image at a time": single, f"ours, {images} images at once": ours}
    counts = dict(zip(tasks, (textbooks, one_by_one, images), strict=True))
    if best_precision(torch.device("cpu")) is not None:
        tasks["the same, products in bf16"], counts["the same, products in bf16"] = rounded, images
    title = f"Beam 5, show_attend_tell, float32, 14 x 14 x 2048, at most {OPTIONS['max_length']} words"
    compare(title, tasks, counts, 1 if quick else 3, clock, "images")
    same = found["textbook"] == found["ours"][:textbooks] and found["single"] == found["ours"][:one_by_one]
    lengths = [len(ids) for ids in found["ours"]]
    print(f"\nthe captions are {'the same' if same else 'NOT the same'}: {min(lengths)} to {max(lengths)} words")
