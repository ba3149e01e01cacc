"""Packed words <-> words of one picture side by side, so that they share its regions.

Comes in: B captions of N pictures, packed by time (torch's PackedSequence), and each caption's picture. Goes out: the
same words in other orders. Shapes: L words altogether, T in the longest caption, K captions of a picture at most.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence


def caption_of(words: PackedSequence) -> Tensor:
    """Which caption each packed word belongs to: (L,), 0 to B - 1."""
    captions = torch.arange(int(words.batch_sizes[0]))
    return torch.cat([captions[:running] for running in words.batch_sizes.tolist()]).to(words.data.device)


def place_in_group(group: Tensor, groups: int) -> tuple[Tensor, int]:
    """Each element's place among those of its group, and the size of the largest: [0, 1, 0] -> [0, 0, 1], 2."""
    order = group.argsort(stable=True)
    sizes = group.bincount(minlength=groups)
    start = sizes.cumsum(0) - sizes
    place = torch.empty_like(group)
    place[order] = torch.arange(len(group), device=group.device) - start[group[order]]
    return place, int(sizes.max())


def by_picture(x: Tensor, image: Tensor, images: int) -> tuple[Tensor, Tensor]:
    """Vectors (L, D) of the pictures `image` (L,) -> the same side by side (N, most, D), and each one's place (L,)."""
    place, most = place_in_group(image, images)
    return x.new_zeros(images, most, x.shape[-1]).index_put((image, place), x), place


class CaptionGrid:
    """T steps of N * K captions, each picture's K behind each other, as `step` takes them; zero where nothing is said.

    `image_of` (B,) is each caption's picture, 0 to `images` - 1.
    """

    def __init__(self, words: PackedSequence, image_of: Tensor, images: int):
        place, self.captions = place_in_group(image_of, images)  # K
        self.size = len(words.batch_sizes), images * self.captions  # T, N * K
        steps = torch.arange(len(words.batch_sizes)).repeat_interleave(words.batch_sizes)
        self.row = (image_of * self.captions + place)[caption_of(words)]  # (L,)
        self.time = steps.to(self.row.device)  # (L,)

    def spread(self, x: Tensor) -> Tensor:
        """(L, ...) -> (T, N * K, ...)."""
        return x.new_zeros(*self.size, *x.shape[1:]).index_put((self.time, self.row), x)

    def gather(self, x: Tensor) -> Tensor:
        """(T, N * K, ...) -> (L, ...), the inverse of `spread`."""
        return x[self.time, self.row]
