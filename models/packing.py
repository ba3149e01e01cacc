"""Packed words <-> words of one picture side by side, so that they share its regions.

Comes in: B captions of N pictures, packed by time (torch's PackedSequence), and each caption's picture. Goes out: the
same words in other orders. Shapes: L words altogether, T in the longest caption, K captions of a picture at most.

Which caption belongs to which picture is known on the CPU, as `batch_sizes` are, and all orders are made there: a GPU
that was asked for one number would have to finish all its work first.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence


def caption_of(words: PackedSequence) -> Tensor:
    """Which caption each packed word belongs to: (L,), 0 to B - 1, on the CPU."""
    captions = torch.arange(int(words.batch_sizes[0]))
    return torch.cat([captions[:running] for running in words.batch_sizes.tolist()])


def rows_of(x: Tensor, index: Tensor) -> Tensor:
    """x[index], rows (L,) of a tensor on any device: the index goes there without waiting for it."""
    return x.index_select(0, index.to(x.device, non_blocking=True))


def place_in_group(group: Tensor, groups: int) -> tuple[Tensor, int]:
    """Each element's place among those of its group, and the size of the largest: [0, 1, 0] -> [0, 0, 1], 2."""
    order = group.argsort(stable=True)
    sizes = group.bincount(minlength=groups)
    start = sizes.cumsum(0) - sizes
    place = torch.empty_like(group)
    place[order] = torch.arange(len(group), device=group.device) - start[group[order]]
    return place, int(sizes.max())


def by_picture(x: Tensor, image: Tensor, images: int) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
    """Vectors (L, D) of the pictures `image` (L,) -> the same side by side (N, most, D), and the way back.

    The second is a function (N, most, ...) -> (L, ...).
    """
    place, most = place_in_group(image, images)
    seat = (image * most + place).to(x.device, non_blocking=True)
    grouped = x.new_zeros(images * most, x.shape[-1]).index_copy(0, seat, x)
    return grouped.unflatten(0, (images, most)), lambda y: y.flatten(0, 1).index_select(0, seat)


class CaptionGrid:
    """T steps of N * K captions, each picture's K behind each other, as `step` takes them; zero where nothing is said.

    `image_of` (B,) is each caption's picture, 0 to `images` - 1.
    """

    def __init__(self, words: PackedSequence, image_of: Tensor, images: int):
        place, self.captions = place_in_group(image_of, images)  # K
        self.size = len(words.batch_sizes), images * self.captions  # T, N * K
        time = torch.arange(len(words.batch_sizes)).repeat_interleave(words.batch_sizes)  # (L,)
        row = (image_of * self.captions + place)[caption_of(words)]  # (L,)
        self.seat = (time * self.size[1] + row).to(words.data.device, non_blocking=True)

    def spread(self, x: Tensor) -> Tensor:
        """(L, ...) -> (T, N * K, ...)."""
        return (
            x.new_zeros(self.size[0] * self.size[1], *x.shape[1:]).index_copy(0, self.seat, x).unflatten(0, self.size)
        )

    def gather(self, x: Tensor) -> Tensor:
        """(T, N * K, ...) -> (L, ...), the inverse of `spread`."""
        return x.flatten(0, 1).index_select(0, self.seat)
