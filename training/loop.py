"""The loss per token, teacher forcing, one epoch, many epochs.

Comes in: a model with `decoder.prepare / step` and a forward that scores packed words, loaders of batches with
`images`, `inputs`, `targets`, `image_of` and `lengths`. Goes out: trained weights and a history. What it does not know:
captions as text, files, figures; whoever wants those passes functions in (`score`, `after_epoch`, `run_checkpoint`).

Perplexity is exp(total negative log-likelihood / total tokens), over a whole split: `<end>` is a token, `<start>` and
`<pad>` are not. It is never a mean over batches, and holds neither label smoothing nor any penalty.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor, nn


def token_loss(logits: Tensor, targets: Tensor, smoothing: float = 0.0) -> Tensor:
    """Sum of -log p(target) over L real tokens: scores (L, V), targets (L,) -> a scalar, in float32.

    With label `smoothing` every word of the vocabulary is a target, too, by that share of each token.
    """
    return TokenLoss.apply(logits, targets, smoothing)


class TokenLoss(torch.autograd.Function):
    """`F.cross_entropy(logits.float(), …, reduction="sum")`, some rows at a time, the gradient along with the loss.

    So neither the scores in float32 nor their softmax, the largest tensors of training, exist for the whole batch.
    """

    ROWS = 64

    @staticmethod
    def forward(ctx, logits: Tensor, targets: Tensor, smoothing: float) -> Tensor:
        of_logits = torch.empty_like(logits) if ctx.needs_input_grad[0] else logits[:0]
        loss = logits.new_zeros((), dtype=torch.float32)
        for start in range(0, len(logits), TokenLoss.ROWS):
            rows = slice(start, start + TokenLoss.ROWS)
            logprobs, target = logits[rows].float().log_softmax(1), targets[rows].unsqueeze(1)
            loss -= (1 - smoothing) * logprobs.gather(1, target).sum()
            if smoothing:
                loss -= smoothing * logprobs.mean(1).sum()
            if ctx.needs_input_grad[0]:
                p = logprobs.exp_().sub_(smoothing / logits.shape[1])  # the softmax, less what it should be
                of_logits[rows] = p.scatter_add_(1, target, p.new_full(target.shape, smoothing - 1))
        ctx.save_for_backward(of_logits)
        return loss

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None, None]:
        (of_logits,) = ctx.saved_tensors
        return of_logits * gradient.to(of_logits.dtype), None, None


def perplexity(nll: float, tokens: int) -> float:
    """exp(nll / tokens): the number of words a fair die would need to surprise as much."""
    return math.exp(min(nll / tokens, 700.0))


def doubly_stochastic_penalty(attention: Tensor, batch_sizes: Tensor) -> Tensor:
    """How unevenly a caption's looks cover the picture: the mean of (1 - sum over words of attention)^2 -> a scalar.

    Doubly stochastic attention, Xu et al. 2015, section 4.2.1 and eq. 14, the sum over regions made a mean, so that the
    weight of this penalty does not depend on the grid. `attention` (L, R) in the order of packed words.
    """
    rows = torch.arange(int(batch_sizes[0]), device=attention.device)
    caption = torch.cat([rows[:running] for running in batch_sizes.tolist()])
    total = attention.new_zeros(len(rows), attention.shape[1], dtype=torch.float32)
    return (1 - total.index_add(0, caption, attention.float())).square().mean()


# ---------------------------------------------------------------------------------------------------- teacher forcing


def linear_decay(last: float = 0.5) -> Callable[[float], float]:
    """Teacher-forcing ratio falling in a line from 1 to `last` (Bengio et al. 2015, section 2.4)."""
    return lambda progress: 1 - (1 - last) * progress


def inverse_sigmoid_decay(k: float = 0.1) -> Callable[[float], float]:
    """Teacher-forcing ratio falling in an S, 1/2 half way: 1 / (1 + exp((progress - 1/2) / k)).

    Bengio et al. 2015, section 2.4, whose k / (k + exp(i / k)) is the same curve, moved to count steps from its start.
    """
    return lambda progress: 1 / (1 + math.exp((progress - 0.5) / k))


def scheduled_sampling_forward(
    model: nn.Module, batch, ratio: float, generator: torch.Generator | None = None
) -> tuple[Tensor, Tensor | None]:
    """As the model's forward, but each next input is the true word only with probability `ratio`, else the model's own.

    The coin falls anew for every word (Bengio et al. 2015). Returns scores (L, V) in the order of `batch.targets`, and
    attention (L, R) or None. The decoder works through its `step`, so this is true of every decoder; it costs more than
    forward, which knows all words.
    """
    decoder = model.decoder
    memory = decoder.prepare(model.regions(batch)).rows(batch.image_of)
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
            logits, _ = model(batch)
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
class TrainingConfig:
    """How long and how fast to learn. Plain numbers; the presets in training/config.py fill it in."""

    epochs: int = 10
    learning_rate: float = 1e-3
    weight_decay: float = 0.01
    optimizer: str = "adamw"  # adamw, adam, sgd (with momentum 0.9), rmsprop
    warmup: float = 0.05  # share of all steps over which the learning rate rises; then it falls along a cosine
    clip: float = 5.0  # gradients are scaled down to this norm
    label_smoothing: float = 0.0  # in the training loss only, never in perplexity
    attention_penalty: float = 0.0  # weight of `doubly_stochastic_penalty` in the training loss
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

    def lr_factor(self, progress: float) -> float:
        """The learning rate as a share of the highest: linear warm-up, then a cosine to zero."""
        if progress < self.warmup:
            return progress / self.warmup
        return 0.5 * (1 + math.cos(math.pi * (progress - self.warmup) / (1 - self.warmup)))


class RunCheckpoint(Protocol):
    """Where a run is kept (models/checkpoint.py has one). `fit` only calls these."""

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
    # of the epoch that is running: batches done, the loss summed over their tokens, those tokens, the time they took
    step: int = 0
    nll: float = 0.0
    tokens: int = 0
    seconds: float = 0.0


class _Alarm:
    """Tells one step later that a step's numbers were none, so that nobody waits for a GPU."""

    def __init__(self):
        self.waiting = None

    def note(self, number: Tensor, epoch: int, image_ids: list) -> None:
        """Look at the number that was waiting; let this one wait."""
        self.look()
        event = torch.cuda.Event() if number.is_cuda else None
        self.waiting = number.detach().to("cpu", non_blocking=True), event, epoch, image_ids
        if event is not None:
            event.record()

    def look(self) -> None:
        """Raises FloatingPointError if the number that was waiting is infinite or none."""
        if self.waiting is None:
            return
        (number, event, epoch, image_ids), self.waiting = self.waiting, None
        if event is not None:
            event.synchronize()
        if not math.isfinite(number.item()):
            images = ", ".join(map(str, image_ids))
            raise FloatingPointError(
                f"the loss is not a number in epoch {epoch}, at the images {images}: lower the learning rate"
            )


def fit(
    model: nn.Module,
    train_loader: Iterable,
    val_loader: Iterable,
    config: TrainingConfig,
    *,
    score: Callable[[nn.Module], float] | None = None,
    extra_loss: Callable[[nn.Module, Any], Tensor] | None = None,
    after_epoch: Iterable[Callable[[nn.Module, list[dict]], None]] = (),
    run_checkpoint: RunCheckpoint | None = None,
    save_every: float = 300.0,
    device: torch.device | str = "cpu",
    autocast: torch.dtype | None = None,
) -> list[dict]:
    """Train; return the history, one dict an epoch.

    Its keys: epoch, train_loss, train_perplexity, val_perplexity, score (if there is one), lr, seconds. The best model
    is the one with the lowest perplexity on `val_loader`, or with the highest `score(model)`; at the end the model
    holds its weights. With a `run_checkpoint` the best is saved as soon as it is reached, and where to go on after each
    epoch and, within one, every `save_every` seconds: a run that was stopped goes on from there as if it had not been.
    `after_epoch` functions get the model and the history so far. `extra_loss` is one more loss of a batch, added to
    that of the true words (training/self_critical.py has one); history and perplexity hold nothing of it. Raises
    FloatingPointError, naming the batch's images, if loss or gradient are no longer numbers; the model then holds its
    best weights so far, or those it began with. After KeyboardInterrupt it holds the best ones, too.
    """
    device = torch.device(device)
    model.to(device)
    learning = [p for p in model.parameters() if p.requires_grad]
    decay = [p for p in learning if p.ndim > 1]
    plain = [p for p in learning if p.ndim <= 1]  # biases and batch-norm are not decayed
    optimizer = OPTIMIZERS[config.optimizer](
        [{"params": decay, "weight_decay": config.weight_decay}, {"params": plain, "weight_decay": 0.0}],
        lr=config.learning_rate,
    )
    steps = len(train_loader) * config.epochs
    coins = torch.Generator().manual_seed(config.seed)
    run, alarm = _Run(), _Alarm()
    torch.manual_seed(config.seed)
    gpus = [device] if device.type == "cuda" else []  # whose generators matter besides the CPU's
    if run_checkpoint is not None and (state := run_checkpoint.load_training(model)) is not None:
        optimizer.load_state_dict(state["optimizer"])
        coins.set_state(state["coins"])
        torch.set_rng_state(state["rng"])
        for gpu, of_gpu in zip(gpus, state.get("gpus", ()), strict=False):
            torch.cuda.set_rng_state(of_gpu, gpu)
        run = _Run(**state["run"])
    best_weights = None if run.best < math.inf else _copy_of(model)

    def save() -> None:
        if run_checkpoint is not None:
            state = {"optimizer": optimizer.state_dict(), "run": vars(run)}
            state |= {"coins": coins.get_state(), "rng": torch.get_rng_state()}
            state["gpus"] = [torch.cuda.get_rng_state(gpu) for gpu in gpus]
            run_checkpoint.save_training(model, state)

    try:
        while run.epoch < config.epochs and (config.patience is None or run.since_best < config.patience):
            began = saved = time.perf_counter()
            before = run.seconds
            train_loader.set_epoch(run.epoch, run.step)
            nll = torch.tensor(run.nll, device=device)
            model.train()
            for batch in train_loader:
                step = run.epoch * len(train_loader) + train_loader.position - 1
                for group in optimizer.param_groups:
                    group["lr"] = config.learning_rate * config.lr_factor((step + 1) / (steps + 1))
                batch = batch.to(device)
                loss, of_tokens = _losses(model, batch, config, config.ratio(step / steps), coins, extra_loss, autocast)
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                norm = nn.utils.clip_grad_norm_(learning, config.clip)
                optimizer.step()
                nll += of_tokens
                run.tokens += len(batch.targets)
                run.step = train_loader.position
                alarm.note(loss.detach() + norm, run.epoch + 1, batch.image_ids)
                if run_checkpoint is not None and time.perf_counter() - saved > save_every:
                    alarm.look()
                    saved = time.perf_counter()
                    run.nll, run.seconds = nll.item(), before + saved - began
                    save()
            alarm.look()
            val = evaluate(model, val_loader, device, autocast)
            if not math.isfinite(nll.item() + val):
                raise FloatingPointError(
                    f"the loss is not a number after epoch {run.epoch + 1}: lower the learning rate"
                )
            mean = nll.item() / run.tokens
            row = {"epoch": run.epoch + 1, "train_loss": mean, "train_perplexity": perplexity(nll.item(), run.tokens)}
            row |= {"val_perplexity": val, "lr": optimizer.param_groups[0]["lr"]}
            row["seconds"] = before + time.perf_counter() - began
            if score is not None:
                with torch.random.fork_rng(gpus):  # looking at the model must not change what it learns
                    row["score"] = float(score(model))
            cost = -row["score"] if score is not None else val
            run.epoch, run.since_best = run.epoch + 1, run.since_best + 1
            run.step, run.nll, run.tokens, run.seconds = 0, 0.0, 0, 0.0
            run.history.append(row)
            if cost < run.best:
                run.best, run.since_best = cost, 0
                best_weights = _copy_of(model)
                if run_checkpoint is not None:
                    run_checkpoint.save_best(model)
            save()
            with torch.random.fork_rng(gpus):
                for function in after_epoch:
                    function(model, run.history)
    except KeyboardInterrupt:
        if run.best < math.inf:
            _restore_best(model, best_weights, run_checkpoint)
        weights = "its best weights so far" if run.best < math.inf else "what it learned in it"
        again = "; run this again to go on" if run_checkpoint is not None else ""
        print(f"stopped in epoch {run.epoch + 1}: the model holds {weights}{again}", flush=True)
        raise
    except FloatingPointError:
        _restore_best(model, best_weights, run_checkpoint)
        raise
    finally:
        train_loader.set_epoch(run.epoch)
    _restore_best(model, best_weights, run_checkpoint)
    return run.history


def _losses(
    model: nn.Module,
    batch,
    config: TrainingConfig,
    ratio: float,
    coins: torch.Generator,
    extra_loss: Callable[[nn.Module, Any], Tensor] | None,
    autocast: torch.dtype | None,
) -> tuple[Tensor, Tensor]:
    """What a step descends, a mean over tokens; and the plain sum of -log p over them, what perplexity is made of."""
    with torch.autocast(batch.captions.device.type, autocast, enabled=autocast is not None):
        if ratio < 1:
            logits, attention = scheduled_sampling_forward(model, batch, ratio, coins)
        else:
            logits, attention = model(batch)
        more = extra_loss(model, batch) if extra_loss is not None else 0.0
    targets = batch.targets
    loss = token_loss(logits, targets, config.label_smoothing)
    nll = token_loss(logits.detach(), targets) if config.label_smoothing else loss.detach()
    loss = loss / len(targets) + more
    if config.attention_penalty:
        if attention is None:
            raise ValueError("attention_penalty is for a decoder with attention: set it to 0")
        loss = loss + config.attention_penalty * doubly_stochastic_penalty(attention, batch.inputs.batch_sizes)
    return loss, nll


def _copy_of(model: nn.Module) -> dict[str, Tensor]:
    return {key: value.detach().clone() for key, value in model.state_dict().items()}


def _restore_best(model: nn.Module, weights: dict[str, Tensor] | None, run_checkpoint: RunCheckpoint | None) -> None:
    """The best weights back into the model: from memory, or those an earlier part of the run has kept."""
    if weights is not None:
        model.load_state_dict(weights)
    else:
        run_checkpoint.load_best(model)
