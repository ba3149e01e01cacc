"""What passes between batches, encoder and decoders.

The letters of the shapes are those of model.py.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Any, NamedTuple, Protocol

from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from models.cells import State
from models.packing import rows_of


class ImageBatch(Protocol):
    """What a captioner reads of a batch; data_loader.Batch is one."""

    pixels: Tensor | None  # (N, 3, H, W) uint8
    features: Tensor | None  # (N, R', E), what `encoder.forward_features` gave
    inputs: PackedSequence
    image_of: Tensor  # (B,) on the CPU


class EncodedImages(NamedTuple):
    """What does not depend on the words, computed by `prepare` once per picture."""

    state: State  # the first state, each (N, D)
    regions: Tensor  # (N, R, E) what is looked at
    keys: Tensor  # (N, R, A) what attention compares with
    pooled: tuple[Tensor, ...] = ()  # (N, ...) each, what the whole picture adds to every step

    def rows(self, index: Tensor | slice) -> EncodedImages:
        """Of some pictures only, or of each caption's picture."""

        def of(x: Tensor) -> Tensor:
            return x[index] if isinstance(index, slice) else rows_of(x, index)

        state, pooled = (tuple(map(of, each)) for each in (self.state, self.pooled))
        return EncodedImages(state, of(self.regions), of(self.keys), pooled)


def records_config(init: Callable[..., None]) -> Callable[..., None]:
    """An `__init__` that leaves its arguments, defaults among them, in `self.config`; `Decoder` makes that of every
    subclass one, so that a checkpoint can build it again."""
    signature = inspect.signature(init)

    @wraps(init)
    def recording(self: Any, *args: Any, **options: Any) -> None:
        init(self, *args, **options)
        bound = signature.bind(self, *args, **options)
        bound.apply_defaults()
        self.config = {name: value for name, value in bound.arguments.items() if name != "self"}

    return recording
