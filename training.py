"""The loss per token, teacher forcing, one epoch, many epochs.

Comes in: a model with `decoder.prepare / step` and a forward that scores packed words, loaders of batches with
`images`, `inputs`, `targets`, `image_of` and `lengths`. Goes out: trained weights and a history. What it does not
know: captions as text, files, figures; whoever wants those passes functions in (`score`, `after_epoch`, `keeper`).

Perplexity is exp(total negative log-likelihood / total tokens), over a whole split: `<end>` is a token, `<start>` and
`<pad>` are not. It is never a mean over batches, and holds neither label smoothing nor any penalty.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def token_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Sum of -log p(target) over L real tokens: scores (L, V), targets (L,) -> a scalar, in float32."""
    return F.cross_entropy(logits.float(), targets, reduction="sum")


def perplexity(nll: float, tokens: int) -> float:
    """exp(nll / tokens): the number of words a fair die would need to surprise as much."""
    return math.exp(min(nll / tokens, 700.0))


def uncovered(attention: Tensor, batch_sizes: Tensor) -> Tensor:
    """How unevenly a caption's looks cover the picture: the mean of (1 - sum over words of attention)^2 -> a scalar.

    Doubly stochastic attention, Xu et al. 2015, section 4.2.1 and eq. 14, the sum over regions made a mean, so that the
    weight of this penalty does not depend on the grid. `attention` (L, R) in the order of packed words.
    """
    rows = torch.arange(int(batch_sizes[0]), device=attention.device)
    caption = torch.cat([rows[:running] for running in batch_sizes.tolist()])
    total = attention.new_zeros(len(rows), attention.shape[1], dtype=torch.float32)
    return (1 - total.index_add(0, caption, attention.float())).square().mean()


def best_precision(device: torch.device) -> torch.dtype | None:
    """bfloat16 for autocast where the hardware multiplies it fast, else None: stay in float32."""
    if device.type == "cuda":
        fast = torch.cuda.is_bf16_supported()
    else:  # oneDNN emulates bfloat16 on any processor, slower than float32: ask for the instructions themselves
        fast = device.type == "cpu" and getattr(torch.cpu, "_is_avx512_bf16_supported", bool)()
    return torch.bfloat16 if fast else None


# ---------------------------------------------------------------------------------------------------- teacher forcing


def linear_decay(last: float = 0.5) -> Callable[[float], float]:
    """Teacher-forcing ratio falling in a line from 1 to `last` (Bengio et al. 2015, section 2.4)."""
    return lambda progress: 1 - (1 - last) * progress


def inverse_sigmoid_decay(k: float = 0.1) -> Callable[[float], float]:
    """Teacher-forcing ratio falling in an S, 1/2 half way: 1 / (1 + exp((progress - 1/2) / k)).

    Bengio et al. 2015, section 2.4, whose k / (k + exp(i / k)) is the same curve, moved to count steps from its start.
    """
    return lambda progress: 1 / (1 + math.exp((progress - 0.5) / k))


def scores_with_own_words(
    model: nn.Module, batch, ratio: float, generator: torch.Generator | None = None
) -> tuple[Tensor, Tensor | None]:
    """As the model's forward, but each next input is the true word only with probability `ratio`, else the model's own.

    The coin falls anew for every word (Bengio et al. 2015). Returns scores (L, V) in the order of `batch.targets`, and
    attention (L, R) or None. The decoder works through its `step`, so this is true of every decoder; it costs more than
    forward, which knows all words.
    """
    decoder = model.decoder
    memory = decoder.prepare(model.regions(batch.images)).rows(batch.image_of)
    state, words, scores, looks = memory.state, batch.captions[:, 0], [], []
    for t, running in enumerate(batch.inputs.batch_sizes.tolist()):
        if t > 0:
            coins = torch.rand(running, generator=generator).to(words.device)
            words = torch.where(coins < ratio, batch.captions[:running, t], scores[-1][:running].argmax(-1))
        state = tuple(s[:running] for s in state)
        logits, state, look = decoder.step(words, state, memory.rows(slice(running)))
        scores.append(logits)
        looks.append(look)
    return torch.cat(scores), None if look is None else torch.cat(looks)


# ------------------------------------------------------------------------------------------------------------ epochs


@torch.no_grad()
def evaluate(model: nn.Module, loader: Iterable, device: torch.device, autocast: torch.dtype | None = None) -> float:
    """Perplexity of the true captions of a split, with teacher forcing, in eval mode."""
    was_training, _ = model.training, model.eval()
    nll, tokens = 0.0, 0
    for batch in loader:
        batch = batch.to(device)
        targets = batch.targets
        with torch.autocast(device.type, autocast, enabled=autocast is not None):
            logits, _ = model(batch.images, batch.inputs, batch.image_of)
        nll += token_loss(logits, targets).item()
        tokens += len(targets)
    model.train(was_training)
    return perplexity(nll, tokens)


OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "adamw": partial(torch.optim.AdamW, fused=True),
    "adam": partial(torch.optim.Adam, fused=True),
    "sgd": partial(torch.optim.SGD, momentum=0.9, fused=True),
    "rmsprop": torch.optim.RMSprop,
}


@dataclass
class Plan:
    """How long and how fast to learn. Plain numbers; the presets in config.py fill it in."""

    epochs: int = 10
    learning_rate: float = 1e-3
    weight_decay: float = 0.01
    optimizer: str = "adamw"  # adamw, adam, sgd (with momentum 0.9), rmsprop
    warmup: float = 0.05  # share of all steps over which the learning rate rises; then it falls along a cosine
    clip: float = 5.0  # gradients are scaled down to this norm
    label_smoothing: float = 0.0  # in the training loss only, never in perplexity
    attention_penalty: float = 0.0  # weight of `uncovered` in the training loss
    teacher_forcing: float | Callable[[float], float] = 1.0  # a ratio, or a schedule: progress 0..1 -> ratio
    patience: int | None = None  # stop after so many epochs without a better score, at least 1; None: never
    seed: int = 0

    def __post_init__(self):
        if self.patience is not None and self.patience < 1:
            raise ValueError(f"patience must be at least 1 epoch, or None for no early stopping, not {self.patience}")
        if self.optimizer not in OPTIMIZERS:
            raise ValueError(f"unknown optimizer {self.optimizer!r}: take one of {', '.join(OPTIMIZERS)}")

    def ratio(self, progress: float) -> float:
        """The teacher-forcing ratio when the share `progress` (0..1) of the training is done."""
        return self.teacher_forcing(progress) if callable(self.teacher_forcing) else self.teacher_forcing

    def rate(self, progress: float) -> float:
        """The learning rate as a share of the highest: linear warm-up, then a cosine to zero."""
        if progress < self.warmup:
            return progress / self.warmup
        return 0.5 * (1 + math.cos(math.pi * (progress - self.warmup) / (1 - self.warmup)))


class Keeper(Protocol):
    """Where a run is kept (checkpoint.py has one). `fit` only calls these."""

    def save_best(self, model: nn.Module) -> None: ...

    def load_best(self, model: nn.Module) -> None: ...

    def save_training(self, model: nn.Module, state: dict) -> None: ...

    def load_training(self, model: nn.Module) -> dict | None: ...


@dataclass
class _Run:
    """What `fit` must remember to go on: plain numbers and lists."""

    epoch: int = 0
    best: float = math.inf
    since_best: int = 0
    history: list[dict] = field(default_factory=list)


def fit(
    model: nn.Module,
    train_loader: Iterable,
    val_loader: Iterable,
    plan: Plan,
    *,
    score: Callable[[nn.Module], float] | None = None,
    after_epoch: Iterable[Callable[[nn.Module, list[dict]], None]] = (),
    keeper: Keeper | None = None,
    device: torch.device | str = "cpu",
    autocast: torch.dtype | None = None,
) -> list[dict]:
    """Train; return the history, one dict an epoch.

    Its keys: epoch, train_loss, train_perplexity, val_perplexity, score (if there is one), lr, seconds. The best model
    is the one with the lowest perplexity on `val_loader`, or with the highest `score(model)`; at the end the model
    holds its weights. With a `keeper` the best is saved as soon as it is reached, and a run that was stopped goes on
    from its last whole epoch as if it had not been. `after_epoch` functions get the model and the history so far.
    Raises FloatingPointError if the loss is no longer a number; the model then holds its best weights so far.
    """
    device = torch.device(device)
    model.to(device)
    learning = [p for p in model.parameters() if p.requires_grad]
    decay = [p for p in learning if p.ndim > 1]
    plain = [p for p in learning if p.ndim <= 1]  # biases and batch-norm are not decayed
    optimizer = OPTIMIZERS[plan.optimizer](
        [{"params": decay, "weight_decay": plan.weight_decay}, {"params": plain, "weight_decay": 0.0}],
        lr=plan.learning_rate,
    )
    steps = len(train_loader) * plan.epochs
    coins = torch.Generator().manual_seed(plan.seed)
    run, best_weights = _Run(), None
    torch.manual_seed(plan.seed)
    if keeper is not None and (state := keeper.load_training(model)) is not None:
        optimizer.load_state_dict(state["optimizer"])
        coins.set_state(state["coins"])
        torch.set_rng_state(state["rng"])
        run = _Run(**state["run"])
    while run.epoch < plan.epochs and (plan.patience is None or run.since_best < plan.patience):
        began = time.perf_counter()
        train_loader.batch_sampler.epoch = run.epoch
        nll = torch.zeros((), device=device)
        tokens = 0
        model.train()
        for i, batch in enumerate(train_loader):
            progress = (run.epoch * len(train_loader) + i) / steps
            for group in optimizer.param_groups:
                group["lr"] = plan.learning_rate * plan.rate((run.epoch * len(train_loader) + i + 1) / (steps + 1))
            batch = batch.to(device)
            targets, ratio = batch.targets, plan.ratio(progress)
            with torch.autocast(device.type, autocast, enabled=autocast is not None):
                if ratio < 1:
                    logits, attention = scores_with_own_words(model, batch, ratio, coins)
                else:
                    logits, attention = model(batch.images, batch.inputs, batch.image_of)
            logits = logits.float()
            loss = F.cross_entropy(logits, targets, label_smoothing=plan.label_smoothing)
            penalty = 0.0
            if plan.attention_penalty:
                if attention is None:
                    raise ValueError("attention_penalty is for a decoder with attention: set it to 0")
                penalty = plan.attention_penalty * uncovered(attention, batch.inputs.batch_sizes)
            optimizer.zero_grad(set_to_none=True)
            (loss + penalty).backward()
            nn.utils.clip_grad_norm_(learning, plan.clip)
            optimizer.step()
            with torch.no_grad():  # without label smoothing both are the same number
                nll += token_loss(logits, targets) if plan.label_smoothing else loss * len(targets)
            tokens += len(targets)
        val = evaluate(model, val_loader, device, autocast)
        if not math.isfinite(nll.item() + val):
            _restore_best(model, run, best_weights, keeper)
            raise FloatingPointError(f"the loss is not a number in epoch {run.epoch + 1}: lower the learning rate")
        row = {
            "epoch": run.epoch + 1,
            "train_loss": nll.item() / tokens,
            "train_perplexity": perplexity(nll.item(), tokens),
        }
        row |= {"val_perplexity": val, "lr": optimizer.param_groups[0]["lr"], "seconds": time.perf_counter() - began}
        if score is not None:
            with torch.random.fork_rng(devices=[]):  # looking at the model must not change what it learns
                row["score"] = float(score(model))
        cost = -row["score"] if score is not None else val
        run.epoch, run.since_best = run.epoch + 1, run.since_best + 1
        run.history.append(row)
        if cost < run.best:
            run.best, run.since_best = cost, 0
            best_weights = {key: value.detach().clone() for key, value in model.state_dict().items()}
            if keeper is not None:
                keeper.save_best(model)
        if keeper is not None:
            rng = {"coins": coins.get_state(), "rng": torch.get_rng_state()}
            keeper.save_training(model, {"optimizer": optimizer.state_dict(), "run": vars(run)} | rng)
        with torch.random.fork_rng(devices=[]):
            for function in after_epoch:
                function(model, run.history)
    _restore_best(model, run, best_weights, keeper)
    return run.history


def _restore_best(model: nn.Module, run: _Run, weights: dict | None, keeper: Keeper | None) -> None:
    """The best weights back into the model: from memory, or those an earlier part of the run has kept."""
    if weights is not None:
        model.load_state_dict(weights)
    elif keeper is not None and run.best < math.inf:
        keeper.load_best(model)
