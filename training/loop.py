"""Training: a step, an epoch, many epochs, and the perplexity of a split.

Comes in: a captioner and loaders of batches (data_loader.py). Goes out: trained weights and a history. What it does not
know: captions as text, files, figures; whoever wants those passes functions in (`score`, `after_epoch`,
`run_checkpoint`).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from data_loader import Batch
from dataset.progress import shown
from model import Captioner
from models.fast import kernels
from models.modes import eval_mode
from training import world
from training.batch_norm import of_no_picture, share_statistics
from training.losses import doubly_stochastic_penalty, perplexity, token_loss
from training.optimization import TrainingConfig
from training.run import Run, RunCheckpoint
from training.teacher_forcing import scheduled_sampling_forward

ExtraLoss = Callable[[Captioner, Batch], Tensor]
History = list[dict[str, Any]]


class BatchLoader(Protocol):
    """What training asks of a loader; data_loader.Loader is one."""

    position: int  # batches of this epoch that are done

    def set_epoch(self, epoch: int, start: int = 0) -> None:
        """Which epoch comes next, and how many of its batches to pass over."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[Batch]: ...


@torch.no_grad()
def evaluate(
    model: nn.Module, loader: Iterable[Batch], device: torch.device, autocast: torch.dtype | None = None
) -> float:
    """Perplexity of the true captions of a split, with teacher forcing, in eval mode.

    Of several processes each has a loader of its own share; the perplexity is that of all.
    """
    nll, tokens = 0.0, 0
    with eval_mode(model), kernels(model):
        for batch in shown(loader, "perplexity"):
            batch = batch.to(device)
            with torch.autocast(device.type, autocast, enabled=autocast is not None):
                logits, _ = model(batch)
            nll += token_loss(logits, batch.targets).item()
            tokens += len(batch.targets)
    return perplexity(world.total(nll), world.total(tokens))


def fit(
    model: Captioner,
    train_loader: BatchLoader,
    val_loader: Iterable[Batch],
    config: TrainingConfig,
    *,
    score: Callable[[Captioner], float] | None = None,
    extra_loss: ExtraLoss | None = None,
    after_epoch: Iterable[Callable[[Captioner, History], None]] = (),
    run_checkpoint: RunCheckpoint | None = None,
    save_every: float = 300.0,
    device: torch.device | str = "cpu",
    autocast: torch.dtype | None = None,
) -> History:
    """Train; return the history, one dict an epoch.

    Its keys: epoch, train_loss, train_perplexity, val_perplexity, score (if there is one), lr, seconds. The best model
    is the one with the lowest perplexity on `val_loader`, or with the highest `score(model)`; at the end the model
    holds its weights. With a `run_checkpoint` the best is saved as soon as it is reached, and where to go on after each
    epoch and, within one, every `save_every` seconds: a run that was stopped goes on from there as if it had not been.
    `after_epoch` functions get the model and the history so far. `extra_loss` is one more loss of a batch, added to
    that of the true words (training/self_critical.py has one); it is in neither history nor perplexity. Raises
    FloatingPointError, naming the batch's images, if loss or gradient are no longer numbers; the model then holds its
    best weights so far, or those it began with. After KeyboardInterrupt it holds the best ones, too.

    Several processes (training/world.py) each call it with a loader of their own share of every batch, and learn what
    one would: all hold the same weights and history, process 0 saves.
    """
    device = torch.device(device)
    run = Run(model, config, device, run_checkpoint)
    share_statistics(run.model, device)
    step_loss = world.replicated(StepLoss(run.model, config, run.coins, extra_loss, autocast))
    progress, patience = run.progress, math.inf if config.patience is None else config.patience
    try:
        while progress.epoch < config.epochs and progress.since_best < patience:
            with kernels(model):
                train_one_epoch(run, train_loader, config, step_loss, save_every, device)
            row = _validate(run, val_loader, score, device, autocast)
            if progress.end_epoch(row, cost=-row["score"] if score else row["val_perplexity"]):
                run.keep_best()
            run.save()
            with torch.random.fork_rng(run.gpus):  # looking at the model must not change what it learns
                for function in after_epoch:
                    function(model, progress.history)
    except KeyboardInterrupt:
        if progress.best < math.inf:
            run.restore_best()
        print(_what_is_kept(run), flush=True)
        raise
    except FloatingPointError:
        run.restore_best()
        raise
    finally:
        train_loader.set_epoch(progress.epoch)
    run.restore_best()
    return progress.history


def train_one_epoch(
    run: Run,
    loader: BatchLoader,
    config: TrainingConfig,
    step_loss: nn.Module,
    save_every: float,
    device: torch.device,
) -> None:
    """The epoch that `run.progress` is in, from its step on; leaves there what it has cost, over all processes."""
    progress = run.progress
    saved = time.perf_counter()
    began = saved - progress.seconds
    nll = torch.tensor(progress.nll, device=device)  # stays on the device: asking for it would wait for the GPU
    unchecked: tuple[Tensor, int, list] | None = None
    loader.set_epoch(progress.epoch, progress.step)
    run.model.train()
    for batch in shown(loader, f"epoch {progress.epoch + 1}", initial=progress.step):
        if unchecked:  # one step later, so that the next batch was read while a GPU was at work
            _check_finite(*unchecked)
        if not (tokens := world.total(len(batch.targets))):
            continue  # none of its pictures can be read
        batch = batch.to(device)
        step, steps = progress.epoch * len(loader) + loader.position - 1, len(loader) * config.epochs
        world.reseed(config.seed, step, run.coins)
        for group in run.optimizer.param_groups:
            group["lr"] = config.learning_rate * config.lr_factor((step + 1) / (steps + 1))
        loss, batch_nll = step_loss(batch, tokens, config.ratio(step / steps))
        norm = _descend(run.optimizer, loss, config.clip)
        batch_nll = world.total(batch_nll)
        unchecked = batch_nll + norm, progress.epoch + 1, batch.image_ids
        nll += batch_nll
        progress.tokens += tokens
        progress.step = loader.position
        if time.perf_counter() - saved > save_every:
            _check_finite(*unchecked)
            saved = time.perf_counter()
            progress.nll, progress.seconds = nll.item(), saved - began
            run.save()
    if unchecked:
        _check_finite(*unchecked)
    progress.nll, progress.seconds = nll.item(), time.perf_counter() - began


class StepLoss(nn.Module):
    """What a step minimises, as one module: several processes average the gradients of all of it."""

    def __init__(
        self,
        model: Captioner,
        config: TrainingConfig,
        coins: torch.Generator,
        extra_loss: ExtraLoss | None = None,
        autocast: torch.dtype | None = None,
    ):
        super().__init__()
        self.model, self.config, self.coins, self.extra_loss, self.autocast = model, config, coins, extra_loss, autocast

    def forward(self, batch: Batch, tokens: int, ratio: float) -> tuple[Tensor, Tensor]:
        """This process's share of a batch of so many tokens, and how often the true word is fed -> loss, sum of -log p.

        The share may be without a picture.
        """
        loss, nll = batch_loss(self.model, batch, tokens, self.config, ratio, self.coins, self.autocast)
        if self.extra_loss is not None:
            with torch.autocast(batch.captions.device.type, self.autocast, enabled=self.autocast is not None):
                loss = loss + self.extra_loss(self.model, batch)
        return loss, nll


def batch_loss(
    model: Captioner,
    batch: Batch,
    tokens: int,
    config: TrainingConfig,
    ratio: float,
    coins: torch.Generator,
    autocast: torch.dtype | None = None,
) -> tuple[Tensor, Tensor]:
    """The loss of the true words, a mean over tokens; and the sum of -log p over them, what perplexity is made of.

    `tokens` are those of all processes' shares of the batch; the mean of what they compute is the loss of the whole.
    """
    penalty_weight = config.attention_penalty and config.attention_penalty * world.weight_of(len(batch.captions))
    if not batch.image_ids:
        nothing = of_no_picture(model)
        return nothing, nothing.detach()
    with torch.autocast(batch.captions.device.type, autocast, enabled=autocast is not None):
        if ratio < 1:
            logits, attention = scheduled_sampling_forward(model, batch, ratio, coins)
        else:
            logits, attention = model(batch)
    loss = token_loss(logits, batch.targets, config.label_smoothing)
    nll = token_loss(logits.detach(), batch.targets) if config.label_smoothing else loss.detach()
    loss = loss * world.size() / tokens
    if penalty_weight:
        if attention is None:
            raise ValueError("attention_penalty is for a decoder with attention: set it to 0")
        loss = loss + penalty_weight * doubly_stochastic_penalty(attention, batch.inputs.batch_sizes)
    return loss, nll


def _descend(optimizer: torch.optim.Optimizer, loss: Tensor, clip: float) -> Tensor:
    """One step of the optimizer, the gradients scaled down to the norm `clip`; returns the norm before that."""
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    norm = nn.utils.clip_grad_norm_([p for group in optimizer.param_groups for p in group["params"]], clip)
    optimizer.step()
    return norm


def _check_finite(number: Tensor, epoch: int, image_ids: list) -> None:
    """FloatingPointError if a step's loss plus the norm of its gradient is infinite or no number."""
    if not math.isfinite(number.item()):
        images = ", ".join(map(str, world.everything(dict.fromkeys(image_ids))))
        raise FloatingPointError(
            f"the loss is not a number in epoch {epoch}, at the images {images}: lower the learning rate"
        )


def _validate(
    run: Run,
    loader: Iterable[Batch],
    score: Callable[[Captioner], float] | None,
    device: torch.device,
    autocast: torch.dtype | None,
) -> dict[str, Any]:
    """A row of the history: what the epoch has cost, and how good the model is after it."""
    progress, began = run.progress, time.perf_counter()
    train_perplexity = perplexity(progress.nll, progress.tokens)
    val = evaluate(run.model, loader, device, autocast)
    if not math.isfinite(progress.nll + val):
        raise FloatingPointError(f"the loss is not a number after epoch {progress.epoch + 1}: lower the learning rate")
    row = {
        "epoch": progress.epoch + 1,
        "train_loss": progress.nll / progress.tokens,
        "train_perplexity": train_perplexity,
        "val_perplexity": val,
        "lr": run.optimizer.param_groups[0]["lr"],
        "seconds": progress.seconds + time.perf_counter() - began,
    }
    if score is not None:
        with torch.random.fork_rng(run.gpus):
            row["score"] = float(score(run.model))
    return row


def _what_is_kept(run: Run) -> str:
    """What a model holds after Ctrl-C, and how to go on."""
    weights = "its best weights so far" if run.progress.best < math.inf else "what it learned in it"
    again = "; run this again to go on" if run.checkpoint is not None else ""
    return f"stopped in epoch {run.progress.epoch + 1}: the model holds {weights}{again}"
