"""Evaluation mode for the length of a `with` block.

Comes in: any model. Goes out: the same model in the mode it was in before. What it does not know: what the block does.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def eval_mode(model: nn.Module) -> Iterator[None]:
    """`with eval_mode(model): …` runs the block in evaluation mode: no dropout, batch norm by its stored statistics.

    Afterwards every submodule is in the mode it was in, also if the block raises. So a frozen encoder inside a model
    that is being trained stays in evaluation mode.
    """
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training
