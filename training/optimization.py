"""How long, how fast and by which rule weights learn.

Comes in: plain numbers, and a model. Goes out: `TrainingConfig` with its two schedules, and the optimizer. What it does
not know: losses, batches, files.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import nn

from training.ranges import AT_LEAST_ONE, NOT_NEGATIVE, POSITIVE, SHARE, check_ranges

OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "adamw": partial(torch.optim.AdamW, fused=True),
    "adam": partial(torch.optim.Adam, fused=True),
    "sgd": partial(torch.optim.SGD, momentum=0.9, fused=True),
    "rmsprop": torch.optim.RMSprop,
}

RANGES = {
    "epochs": AT_LEAST_ONE,
    "learning_rate": POSITIVE,
    "weight_decay": NOT_NEGATIVE,
    "warmup": SHARE,
    "clip": POSITIVE,
    "label_smoothing": SHARE,
    "attention_penalty": NOT_NEGATIVE,
    "teacher_forcing": SHARE,
    "patience": AT_LEAST_ONE,
}


@dataclass
class TrainingConfig:
    """How long and how fast to learn. Plain numbers; the presets in training/config.py fill it in.

    Raises ValueError for an unknown optimizer, or for a number outside its range.
    """

    epochs: int = 10
    learning_rate: float = 1e-3
    weight_decay: float = 0.01
    optimizer: str = "adamw"  # adamw, adam, sgd (with momentum 0.9), rmsprop
    warmup: float = 0.05  # share of all steps over which the learning rate rises; then it falls along a cosine
    clip: float = 5.0  # gradients are scaled down to this norm; inf: never
    label_smoothing: float = 0.0  # in the training loss only, never in perplexity
    attention_penalty: float = 0.0  # weight of `doubly_stochastic_penalty` in the training loss
    teacher_forcing: float | Callable[[float], float] = 1.0  # a ratio, or a schedule: progress 0..1 -> ratio
    patience: int | None = None  # stop after so many epochs without a better score; None: never
    seed: int = 0

    def __post_init__(self) -> None:
        if self.optimizer not in OPTIMIZERS:
            raise ValueError(f"unknown optimizer {self.optimizer!r}: take one of {', '.join(OPTIMIZERS)}")
        check_ranges(self, RANGES)

    def ratio(self, progress: float) -> float:
        """The teacher-forcing ratio when the share `progress` (0..1) of the training is done."""
        return self.teacher_forcing(progress) if callable(self.teacher_forcing) else self.teacher_forcing

    def lr_factor(self, progress: float) -> float:
        """The learning rate as a share of the highest: linear warm-up, then a cosine to zero."""
        if progress < self.warmup:
            return progress / self.warmup
        return 0.5 * (1 + math.cos(math.pi * (progress - self.warmup) / (1 - self.warmup)))


def configure_optimizer(model: nn.Module, config: TrainingConfig) -> torch.optim.Optimizer:
    """The optimizer of all weights that learn; only matrices decay, not biases and batch-norm's scales."""
    learning = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in learning if p.ndim > 1], "weight_decay": config.weight_decay},
        {"params": [p for p in learning if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return OPTIMIZERS[config.optimizer](groups, lr=config.learning_rate)
