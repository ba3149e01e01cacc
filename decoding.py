"""From scores to captions: greedy and beam search over any decoder.

Comes in: a decoder with `prepare` and `step`, and the regions of N pictures. Goes out: a `Hypothesis` per picture:
word ids, the log-probability of each, and where the model looked for it. What it does not know: words as text,
pictures, files.

Padding and `<start>` are never said, nor `<unk>`: their ids are `banned`. The log-probabilities are the model's own,
over its whole vocabulary, so that `forward` gives the same numbers for the same words.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

PAD, START, END, UNK = 0, 1, 2, 3  # the first four words of every vocabulary
BANNED = (PAD, START, UNK)


@dataclass
class Hypothesis:
    """One caption as ids. `ids` starts after `<start>` and holds `<end>` last if the caption is `finished`."""

    ids: list[int]
    logprobs: list[float]  # natural log of each id's probability
    attention: Tensor | None  # (T, R) on the CPU: where the model looked for each id
    score: float  # what the search ranked by
    finished: bool


Search = Callable[..., list[Hypothesis]]


@torch.inference_mode()
def greedy(
    decoder: nn.Module, features: Tensor, *, max_length: int = 20, banned: Iterable[int] = BANNED
) -> list[Hypothesis]:
    """The likeliest next word, again and again: regions (N, R, E) -> one hypothesis per picture, in their order.

    A caption has at most `max_length` ids, `<end>` counted; without `<end>` it is not `finished`. Its score is the sum
    of its log-probabilities.
    """
    memory = decoder.prepare(features)
    state, words = memory.state, torch.full((len(features),), START, device=features.device)
    running = torch.ones_like(words, dtype=torch.bool)
    steps: list[tuple[Tensor, Tensor, Tensor | None]] = []
    for _ in range(max_length):
        logits, state, attention = decoder.step(words, state, memory)
        logprobs = _allowed(logits, banned)
        best, words = logprobs.max(-1)
        steps.append((words, best, attention))
        running &= words != END
        if not running.any():
            break
    words, logprobs = (torch.stack(column).T.tolist() for column in list(zip(*steps, strict=True))[:2])
    looks = _stack_attention([attention for _, _, attention in steps])
    hypotheses = []
    for n in range(len(features)):
        finished = END in words[n]
        length = words[n].index(END) + 1 if finished else len(words[n])
        attention = looks[:length, n] if looks is not None else None
        chosen = logprobs[n][:length]
        hypotheses.append(Hypothesis(words[n][:length], chosen, attention, sum(chosen), finished))
    return hypotheses


@torch.inference_mode()
def beam(
    decoder: nn.Module,
    features: Tensor,
    *,
    width: int = 5,
    length_penalty: float = 0.7,
    max_length: int = 20,
    banned: Iterable[int] = BANNED,
) -> list[Hypothesis]:
    """Beam search over all pictures at once: regions (N, R, E) -> the best hypothesis per picture, in their order.

    Of all continuations of a picture's live hypotheses the `width` best go on; one that says `<end>` is finished, and
    keeps its place among the `width`. The result is the finished hypothesis with the highest score, the sum of its
    log-probabilities / length ** `length_penalty` (0: the plain sum, which favours short captions; 1: the mean); where
    nothing has finished after `max_length` ids, the best unfinished one.
    """
    pictures, device = len(features), features.device
    memory = decoder.prepare(features)
    state = tuple(s.repeat_interleave(width, dim=0) for s in memory.state)  # (N * K, ...), a picture's beams together
    words = torch.full((pictures * width,), START, device=device)
    total = torch.full((pictures, width), -torch.inf, device=device)  # sums of log-probabilities of the live hypotheses
    total[:, 0] = 0.0
    places = torch.full((pictures, 1), width, device=device)  # not yet taken by finished hypotheses
    rank = torch.arange(width, device=device)
    first_row = torch.arange(pictures, device=device).unsqueeze(1) * width
    steps: list[tuple[Tensor, Tensor, Tensor, Tensor, Tensor | None]] = []
    for _ in range(max_length):
        logits, state, attention = decoder.step(words, state, memory)
        logprobs = _allowed(logits, banned).unflatten(0, (pictures, width))  # (N, K, V)
        total, choice = (total.unsqueeze(-1) + logprobs).flatten(1).topk(width)  # (N, K), best first
        parent, word = choice // logits.shape[-1], choice % logits.shape[-1]
        alive = (rank < places) & total.isfinite()
        ended = alive & (word == END)
        steps.append((parent, word, total.masked_fill(~alive, -torch.inf), ended, attention))
        places = places - ended.sum(1, keepdim=True)
        total = total.masked_fill(~alive | ended, -torch.inf)
        rows = (first_row + parent).flatten()
        state, words = tuple(s[rows] for s in state), word.flatten()
        if not total.isfinite().any():
            break
    parents, words, totals, ended = (torch.stack(column).tolist() for column in list(zip(*steps, strict=True))[:4])
    looks = _stack_attention([step[4] for step in steps])
    if looks is not None:
        looks = looks.unflatten(1, (pictures, width))  # (T, N, K, R)
    hypotheses = []
    for n in range(pictures):
        candidates = [  # (finished, score, last step, its row)
            (ended[t][n][k], totals[t][n][k] / (t + 1) ** length_penalty, t, k)
            for t in range(len(steps))
            for k in range(width)
            if ended[t][n][k] or (t == len(steps) - 1 and totals[t][n][k] > -torch.inf)
        ]
        finished, score, last, k = max(candidates)
        ids, sums, rows = [], [], []
        for t in range(last, -1, -1):  # back to the first word
            ids.append(words[t][n][k])
            sums.append(totals[t][n][k])
            k = parents[t][n][k]
            rows.append(k)  # the row whose step produced the word
        sums.append(0.0)
        chosen = [after - before for after, before in pairwise(sums)][::-1]
        attention = looks[range(last + 1), n, rows[::-1]] if looks is not None else None
        hypotheses.append(Hypothesis(ids[::-1], chosen, attention, score, finished))
    return hypotheses


@torch.inference_mode()
def decode(model: nn.Module, loader: Iterable, search: Search = greedy, **options) -> dict[int | str, Hypothesis]:
    """Every picture of a loader once: image id -> hypothesis. `loader` gives batches with `image_ids` and `images`."""
    was_training, _ = model.training, model.eval()
    device = next(model.parameters()).device
    captions = {}
    for batch in loader:
        hypotheses = search(model.decoder, model.regions(batch.images.to(device)), **options)
        captions.update(zip(batch.image_ids, hypotheses, strict=True))
    model.train(was_training)
    return captions


def _allowed(logits: Tensor, banned: Iterable[int]) -> Tensor:
    logprobs = logits.float().log_softmax(-1)
    logprobs[:, list(banned)] = -torch.inf
    return logprobs


def _stack_attention(looks: list[Tensor | None]) -> Tensor | None:
    return None if looks[0] is None else torch.stack(looks).float().cpu()
