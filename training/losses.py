"""What training minimises, and the number it is judged by.

Comes in: scores of words and the true words, attention maps. Goes out: losses, and perplexity. What it does not know:
models, batches, optimizers.

Perplexity is exp(total negative log-likelihood / total tokens), over a whole split: `<end>` is a token, `<start>` and
`<pad>` are not. It is never a mean over batches, and contains neither label smoothing nor any penalty.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F


def wide(x: Tensor) -> Tensor:
    """Numbers that are to be added up: float32 at least."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def token_loss(logits: Tensor, targets: Tensor, smoothing: float = 0.0) -> Tensor:
    """Sum of -log p(target) over L real tokens: scores (L, V), targets (L,) -> a scalar, in float32 at least.

    With label `smoothing`, that share of each target is spread evenly over all words of the vocabulary (Szegedy et al.
    2016, section 7).
    """
    return F.cross_entropy(wide(logits), targets, reduction="sum", label_smoothing=smoothing)


def perplexity(nll: float, tokens: int) -> float:
    """exp(nll / tokens): the number of equally likely words among which a guess would be as hard.

    ValueError if there are no tokens.
    """
    if not tokens:
        raise ValueError("there is no word to measure by: none of the pictures can be read")
    return math.exp(min(nll / tokens, 700.0))


def doubly_stochastic_penalty(attention: Tensor, batch_sizes: Tensor) -> Tensor:
    """How unevenly a caption's attention covers the picture: attention (L, R) in the order of packed words -> a scalar.

    The mean of (1 - sum over words of attention)^2. Doubly stochastic attention, Xu et al. 2015, section 4.2.1 and
    eq. 14; the sum over regions is a mean here, so that the weight of this penalty does not depend on the grid.
    `batch_sizes` are those of the packed words: how many captions are still running at each step.
    """
    rows = torch.arange(int(batch_sizes[0]), device=attention.device)
    caption = torch.cat([rows[:running] for running in batch_sizes.tolist()])
    attention = wide(attention)
    total = attention.new_zeros(len(rows), attention.shape[1])
    return (1 - total.index_add(0, caption, attention)).square().mean()
