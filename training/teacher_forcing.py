"""Which word the decoder reads next: the true one, or the one that it has just said itself.

Comes in: a captioner and a batch, and how often the true word is fed. Goes out: scores and attention, as from the
model's own forward. What it does not know: losses, optimizers, epochs.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from data_loader import Batch
from model import Captioner


def linear_decay(last: float = 0.5) -> Callable[[float], float]:
    """Teacher-forcing ratio falling in a line from 1 to `last` (Bengio et al. 2015, section 2.4)."""
    return lambda progress: 1 - (1 - last) * progress


def inverse_sigmoid_decay(k: float = 0.1) -> Callable[[float], float]:
    """Teacher-forcing ratio falling in an S, 1/2 half way: 1 / (1 + exp((progress - 1/2) / k)).

    Bengio et al. 2015, section 2.4, whose k / (k + exp(i / k)) is the same curve, moved to count steps from its start.
    """
    return lambda progress: 1 / (1 + math.exp((progress - 0.5) / k))


def scheduled_sampling_forward(
    model: Captioner, batch: Batch, ratio: float, generator: torch.Generator | None = None
) -> tuple[Tensor, Tensor | None]:
    """As the model's forward, but each next input is the true word only with probability `ratio`, else the model's own.

    A coin is tossed for every word (Bengio et al. 2015). Returns scores (L, V) in the order of `batch.targets`, and
    attention (L, R) or None. It runs on the decoder's `step`, which every decoder has; that is slower than forward,
    which knows all words from the start.
    """
    decoder = model.decoder
    images = decoder.prepare(model.regions(batch)).rows(batch.image_of)
    state, words = images.state, batch.captions[:, 0]
    scores: list[Tensor] = []
    looks: list[Tensor | None] = []
    for t, running in enumerate(batch.inputs.batch_sizes.tolist()):
        if t > 0:
            coins = torch.rand(running, generator=generator).to(words.device, non_blocking=True)
            words = torch.where(coins < ratio, batch.captions[:running, t], scores[-1][:running].argmax(-1))
        state = tuple(s[:running] for s in state)
        logits, state, look = decoder.step(words, state, images.rows(slice(running)))
        scores.append(logits)
        looks.append(look)
    attention = [look for look in looks if look is not None]  # all or none of them
    return torch.cat(scores), torch.cat(attention) if attention else None
