"""A run that can be stopped at any step: all that it needs to go on, and its best weights so far.

Comes in: a model, and where the run is kept. Goes out: the same model, optimizer and random numbers as before the stop,
bit by bit. What it does not know: batches, losses, how files are written.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor

from model import Captioner
from training import world
from training.optimization import TrainingConfig, configure_optimizer


class RunCheckpoint(Protocol):
    """Where a run is kept (models/checkpoint.py has one)."""

    def save_best(self, model: Captioner) -> None: ...

    def load_best(self, model: Captioner) -> None: ...

    def save_training(self, model: Captioner, state: dict[str, Any]) -> None: ...

    def load_training(self, model: Captioner) -> dict[str, Any] | None: ...


@dataclass
class Progress:
    """How far a run has come: plain numbers and lists."""

    epoch: int = 0  # epochs done
    best: float = math.inf  # the lowest cost of an epoch
    since_best: int = 0  # epochs
    history: list[dict[str, Any]] = field(default_factory=list)
    # of the epoch that is running: batches done, the loss summed over their tokens, those tokens, the time they took
    step: int = 0
    nll: float = 0.0
    tokens: int = 0
    seconds: float = 0.0

    def end_epoch(self, row: dict[str, Any], cost: float) -> bool:
        """Note an epoch that is done, a row for the history; True if it has cost least so far."""
        better = cost < self.best
        self.epoch += 1
        self.best, self.since_best = (cost, 0) if better else (self.best, self.since_best + 1)
        self.history.append(row)
        self.step, self.nll, self.tokens, self.seconds = 0, 0.0, 0, 0.0
        return better


class Run:
    """A model that learns, with its optimizer, its random numbers and its progress; goes on where `checkpoint` ends.

    Of several processes each reads the checkpoint, and process 0 writes it.
    """

    def __init__(
        self, model: Captioner, config: TrainingConfig, device: torch.device, checkpoint: RunCheckpoint | None = None
    ):
        self.model, self.checkpoint = model.to(device), checkpoint
        self.optimizer = configure_optimizer(model, config)
        self.progress = Progress()
        self.coins = torch.Generator().manual_seed(config.seed)  # of teacher forcing
        self.gpus = [device] if device.type == "cuda" else []  # they draw random numbers of their own
        torch.manual_seed(config.seed)
        self._resume()
        world.check_same(
            (self.progress.epoch, self.progress.step),
            "the processes find different runs to go on with: keep the run in a folder that all machines share",
        )
        self._best = copy_of(model) if self.progress.best == math.inf else None  # None: only the checkpoint has it

    def _resume(self) -> None:
        state = self.checkpoint.load_training(self.model) if self.checkpoint is not None else None
        if state is None:
            return
        self.optimizer.load_state_dict(state["optimizer"])
        self.coins.set_state(state["coins"])
        torch.set_rng_state(state["rng"])
        for gpu, of_gpu in zip(self.gpus, state.get("gpus", ()), strict=False):
            torch.cuda.set_rng_state(of_gpu, gpu)
        self.progress = Progress(**state["run"])

    def save(self) -> None:
        """Everything that is needed to go on, to where the run is kept."""
        if self.checkpoint is not None and world.rank() == 0:
            state: dict[str, Any] = {"optimizer": self.optimizer.state_dict(), "run": vars(self.progress)}
            state |= {"coins": self.coins.get_state(), "rng": torch.get_rng_state()}
            state["gpus"] = [torch.cuda.get_rng_state(gpu) for gpu in self.gpus]
            self.checkpoint.save_training(self.model, state)

    def keep_best(self) -> None:
        """The weights as they are now are the best."""
        self._best = copy_of(self.model)
        if self.checkpoint is not None and world.rank() == 0:
            self.checkpoint.save_best(self.model)

    def restore_best(self) -> None:
        """The best weights back into the model; before the first epoch has ended, those it began with."""
        if self._best is not None:
            self.model.load_state_dict(self._best)
        elif self.checkpoint is not None:
            self.checkpoint.load_best(self.model)


def copy_of(model: torch.nn.Module) -> dict[str, Tensor]:
    """The model's weights and buffers, apart from the model."""
    return {key: value.detach().clone() for key, value in model.state_dict().items()}
