"""From scores to captions, one word at a time: greedy search and sampling, over any decoder.

Comes in: a decoder with `prepare` and `step`, and the regions of N pictures. Goes out: a `Hypothesis` per picture: word
ids, the log-probability of each, and where the model looked for it. What it does not know: words as text, pictures,
files. Beam search is in decoding/beam.py.

What may be said at all is decided by `Rules`, the same for every search. The log-probabilities returned are the model's
own, over its whole vocabulary, whatever rule or temperature chose the word; so `forward` gives the same numbers for the
same words.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from data_loader import Batch
from dataset.progress import shown
from decoding.ensemble import Ensemble
from model import Captioner
from models.fast import kernels, rounded_products
from models.modes import eval_mode
from vocabulary import END, PAD, START, UNK

BANNED = (PAD, START, UNK)


class StepwiseDecoder(Protocol):
    """What a search asks of a decoder, be it a `model.Decoder` or an `Ensemble`.

    `prepare` takes the regions and gives the encoded images: their `state` is the first state, `rows` selects some of
    them. `step` takes the last words (B,), the state and the encoded images, where B is a multiple of their number, and
    gives scores for the next word (B, V), the state after it, and where it looked (B, R) or None.
    """

    def prepare(self, features: Any, /) -> Any: ...

    def step(
        self, words: Tensor, state: tuple[Tensor, ...], images: Any, /
    ) -> tuple[Tensor, tuple[Tensor, ...], Tensor | None]: ...


@dataclass
class Hypothesis:
    """One caption as ids. `ids` starts after `<start>` and holds `<end>` last if the caption is `finished`."""

    ids: list[int]
    logprobs: list[float]  # natural log of each id's probability
    attention: Tensor | None  # (T, R) on the CPU: where the model looked for each id
    score: float  # what the search ranked by
    finished: bool


Search = Callable[..., list[Hypothesis]]


@dataclass(frozen=True)
class Rules:
    """What a caption may be. If the rules leave no word at all, `<end>` is allowed.

    Raises ValueError if max_length is below 1, or min_length or no_repeat_ngram_size below 0.
    """

    max_length: int = 20  # ids at most, `<end>` counted; a caption without `<end>` is not finished
    min_length: int = 1  # words at least before `<end>`
    no_repeat_ngram_size: int = 0  # no run of so many words occurs twice; 0: it may
    banned: Iterable[int] = BANNED  # ids that are never said
    prefix: Iterable[int] = ()  # ids that the caption begins with, whatever the other rules say

    def __post_init__(self) -> None:
        if self.max_length < 1 or self.min_length < 0 or self.no_repeat_ngram_size < 0:
            raise ValueError(
                "max_length must be at least 1, min_length and no_repeat_ngram_size at least 0, "
                f"not {self.max_length}, {self.min_length} and {self.no_repeat_ngram_size}"
            )
        for name in ("banned", "prefix"):  # they are read at every step, and an iterator can be read only once
            object.__setattr__(self, name, tuple(getattr(self, name)))

    def allowed(self, logits: Tensor, generated: Tensor) -> Tensor:
        """Scores (B, V) after the words `generated` (B, t) -> log-probabilities (B, V); forbidden: -inf."""
        logprobs = logits.float().log_softmax(-1)
        said, prefix = generated.shape[1], tuple(self.prefix)
        if said < len(prefix):
            forced = torch.full_like(logprobs, -torch.inf)
            forced[:, prefix[said]] = logprobs[:, prefix[said]]
            return forced
        end = logprobs[:, END].clone()
        banned = torch.tensor(self.banned, dtype=torch.long).to(logprobs.device, non_blocking=True)
        logprobs.index_fill_(1, banned, -torch.inf)
        if said < self.min_length:
            logprobs[:, END] = -torch.inf
        if 0 < self.no_repeat_ngram_size <= said:
            self._forbid_repeats(logprobs, generated)
        if len(banned) + said + 1 >= logprobs.shape[1]:  # there may be nothing left
            logprobs[:, END] = torch.where(logprobs.amax(-1) == -torch.inf, end, logprobs[:, END])
        return logprobs

    def _forbid_repeats(self, logprobs: Tensor, generated: Tensor) -> None:
        """Set to -inf the words that would complete an n-gram which occurs in `generated` (B, t) already, t >= n."""
        n = self.no_repeat_ngram_size
        ngrams = generated.unfold(1, n, 1)  # (B, t - n + 1, n)
        last_words = generated[:, generated.shape[1] - n + 1 :].unsqueeze(1)  # (B, 1, n - 1)
        said_again = (ngrams[..., :-1] == last_words).all(-1)  # (B, t - n + 1)
        limits = torch.full(said_again.shape, torch.inf, device=logprobs.device).masked_fill(said_again, -torch.inf)
        logprobs.scatter_reduce_(1, ngrams[..., -1], limits, "amin")


# ------------------------------------------------------------------------------------------------- one word at a time


def greedy(decoder: StepwiseDecoder, features: Tensor | list[Tensor], **rules: Any) -> list[Hypothesis]:
    """The likeliest next word, again and again: regions (N, R, E) -> one hypothesis per picture, in their order.

    `rules` are those of `Rules`. An ensemble takes a list, the regions of each member. A score is the sum of the
    log-probabilities.
    """
    return _write(decoder, features, lambda logprobs: logprobs.argmax(-1), Rules(**rules))


def sample(
    decoder: StepwiseDecoder,
    features: Tensor | list[Tensor],
    *,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float = 1.0,
    num_samples: int = 1,
    generator: torch.Generator | None = None,
    **rules: Any,
) -> list[Hypothesis]:
    """Words drawn at random by their probability ** (1 / temperature): regions (N, R, E) -> a hypothesis per picture.

    Drawn among the `top_k` likeliest words only (Fan et al. 2018), and among the fewest that together have the
    probability `top_p` (nucleus sampling, Holtzman et al. 2020). A `generator` with a seed draws the same again. With
    `num_samples` there are so many of each picture, one after the other. Raises ValueError for settings out of range.
    """
    if not temperature > 0 or not 0 < top_p <= 1 or (top_k is not None and top_k < 1) or num_samples < 1:
        raise ValueError(
            "temperature must be positive, top_p in (0, 1], top_k and num_samples at least 1, "
            f"not {temperature}, {top_p}, {top_k} and {num_samples}"
        )

    def draw(logprobs: Tensor) -> Tensor:
        if top_k is None and top_p == 1:  # nothing is cut off: no need to sort the vocabulary
            return (logprobs / temperature).softmax(-1).multinomial(1, generator=generator).squeeze(1)
        probabilities, words = (logprobs / temperature).softmax(-1).sort(descending=True)
        before = probabilities.cumsum(-1) - probabilities  # of all likelier words
        probabilities = probabilities.masked_fill(before >= top_p, 0.0)
        if top_k is not None:
            probabilities[:, top_k:] = 0.0
        return words.gather(1, probabilities.multinomial(1, generator=generator)).squeeze(1)

    return _write(decoder, features, draw, Rules(**rules), num_samples)


@torch.inference_mode()
def _write(
    decoder: StepwiseDecoder,
    features: Tensor | list[Tensor],
    choose: Callable[[Tensor], Tensor],
    rules: Rules,
    num_samples: int = 1,
) -> list[Hypothesis]:
    """Write B = N * num_samples captions at once; `choose` picks the next words (B,) by log-probabilities (B, V)."""
    images = decoder.prepare(features)
    state = tuple(s.repeat_interleave(num_samples, dim=0) for s in images.state)
    words = torch.full((len(state[0]),), START, device=state[0].device)
    generated, running = words[:, None][:, :0], torch.ones_like(words, dtype=torch.bool)
    chosen: list[Tensor] = []
    maps: list[Tensor | None] = []
    while running.any() and len(chosen) < rules.max_length:
        logits, state, attention = decoder.step(words, state, images)
        logprobs = rules.allowed(logits, generated)
        words = choose(logprobs)
        chosen.append(logprobs.gather(1, words[:, None]).squeeze(1))
        maps.append(attention)
        generated = torch.cat([generated, words[:, None]], 1)
        running &= words != END
    return _until_end(generated, torch.stack(chosen, 1), stacked(maps))


def _until_end(generated: Tensor, logprobs: Tensor, attention: Tensor | None) -> list[Hypothesis]:
    """Ids and log-probabilities (B, T), attention (T, B, R) -> hypotheses, each cut after its first `<end>`."""
    hypotheses = []
    for b, (ids, of_ids) in enumerate(zip(generated.tolist(), logprobs.tolist(), strict=True)):
        finished = END in ids
        length = ids.index(END) + 1 if finished else len(ids)
        own = None if attention is None else attention[:length, b]
        hypotheses.append(Hypothesis(ids[:length], of_ids[:length], own, sum(of_ids[:length]), finished))
    return hypotheses


def stacked(maps: Sequence[Tensor | None]) -> Tensor | None:
    """Attention of T steps, (..., R) each -> (T, ..., R) in float32 on the CPU; None if the model does not look."""
    given = [attention for attention in maps if attention is not None]
    return torch.stack(given).float().cpu() if given else None


# ---------------------------------------------------------------------------------------------------- whole datasets


@torch.inference_mode()
def decode(
    model: Captioner | Ensemble,
    loader: Iterable[Batch],
    search: Search = greedy,
    *,
    rounded: bool = False,
    **options: Any,
) -> dict[int | str, Hypothesis]:
    """Every picture of a loader once, without dropout: image id -> hypothesis. `options` are those of the search.

    `rounded` is sooner and changes a caption in a hundred or two: models.fast.rounded_products.
    """
    device = next(model.parameters()).device
    captions: dict[int | str, Hypothesis] = {}
    with eval_mode(model), rounded_products(model) if rounded else nullcontext(), kernels(model):
        for batch in shown(loader, "captions"):
            hypotheses = search(model.decoder, model.regions(batch.to(device)), **options)
            captions.update(zip(batch.image_ids, hypotheses, strict=True))
    return captions
