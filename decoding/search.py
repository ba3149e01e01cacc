"""From scores to captions: greedy, sampling, beam search, and several models as one, over any decoder.

Comes in: a decoder with `prepare` and `step`, and the regions of N pictures. Goes out: a `Hypothesis` per picture:
word ids, the log-probability of num_samples, and where the model looked for it. What it does not know: words as text,
pictures, files.

What may be said at all are the `Rules`, the same for every search. The log-probabilities returned are the model's own,
over its whole vocabulary, whatever rule or temperature chose the word, so that `forward` gives the same numbers for the
same words.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn

from vocabulary import END, PAD, START, UNK

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


@dataclass(frozen=True)
class Rules:
    """What a caption may be. Where the rules leave nothing to say, `<end>` may be said after all."""

    max_length: int = 20  # ids at most, `<end>` counted; a caption without `<end>` is not finished
    min_length: int = 1  # words at least before `<end>`
    no_repeat_ngram_size: int = 0  # no run of so many words occurs twice; 0: it may
    banned: Iterable[int] = BANNED  # ids that are never said
    prefix: Sequence[int] = ()  # ids that the caption begins with, whatever the other rules say

    def __post_init__(self) -> None:
        if self.max_length < 1 or self.min_length < 0 or self.no_repeat_ngram_size < 0:
            raise ValueError(
                "max_length must be at least 1, min_length and no_repeat_ngram_size at least 0, "
                f"not {self.max_length}, {self.min_length} and {self.no_repeat_ngram_size}"
            )

    def allowed(self, logits: Tensor, generated: Tensor) -> Tensor:
        """Scores (B, V) after the words `generated` (B, t) -> log-probabilities (B, V); forbidden: -inf."""
        logprobs = logits.float().log_softmax(-1)
        if generated.shape[1] < len(self.prefix):
            word = self.prefix[generated.shape[1]]
            only = torch.full_like(logprobs, -torch.inf)
            only[:, word] = logprobs[:, word]
            return only
        end = logprobs[:, END].clone()
        logprobs[:, list(self.banned)] = -torch.inf
        if generated.shape[1] < self.min_length:
            logprobs[:, END] = -torch.inf
        n = self.no_repeat_ngram_size
        if 0 < n <= generated.shape[1]:
            runs = generated.unfold(1, n, 1)  # (B, t - n + 1, n)
            begun = (runs[..., :-1] == generated[:, generated.shape[1] - n + 1 :].unsqueeze(1)).all(-1)
            rows, places = begun.nonzero(as_tuple=True)
            logprobs[rows, runs[rows, places, -1]] = -torch.inf
        mute = logprobs.amax(-1) == -torch.inf
        logprobs[mute, END] = end[mute]
        return logprobs


# ------------------------------------------------------------------------------------------------- one word at a time


def greedy(decoder: nn.Module, features: Tensor, **rules) -> list[Hypothesis]:
    """The likeliest next word, again and again: regions (N, R, E) -> one hypothesis per picture, in their order.

    `rules` are those of `Rules`. A score is the sum of the log-probabilities.
    """
    return _write(decoder, features, lambda logprobs: logprobs.argmax(-1), Rules(**rules))


def sample(
    decoder: nn.Module,
    features: Tensor,
    *,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float = 1.0,
    num_samples: int = 1,
    generator: torch.Generator | None = None,
    **rules,
) -> list[Hypothesis]:
    """Words drawn at random by their probability ** (1 / temperature): regions (N, R, E) -> a hypothesis per picture.

    Drawn among the `top_k` likeliest words only (Fan et al. 2018), and among the fewest that together have the
    probability `top_p` (nucleus sampling, Holtzman et al. 2020). A `generator` with a seed draws the same again. With
    `num_samples` there are so many of each picture, behind each other.
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
    decoder: nn.Module, features: Tensor, choose: Callable[[Tensor], Tensor], rules: Rules, num_samples: int = 1
) -> list[Hypothesis]:
    memory = decoder.prepare(features)
    state = tuple(s.repeat_interleave(num_samples, dim=0) for s in memory.state)
    words = torch.full((len(state[0]),), START, device=state[0].device)
    generated, running = words[:, None][:, :0], torch.ones_like(words, dtype=torch.bool)
    chosen: list[Tensor] = []
    looks: list[Tensor | None] = []
    while running.any() and len(chosen) < rules.max_length:
        logits, state, attention = decoder.step(words, state, memory)
        logprobs = rules.allowed(logits, generated)
        words = choose(logprobs)
        chosen.append(logprobs.gather(1, words[:, None]).squeeze(1))
        looks.append(attention)
        generated = torch.cat([generated, words[:, None]], 1)
        running &= words != END
    ids, logprobs, attention = generated.tolist(), torch.stack(chosen, 1).tolist(), _stack(looks)
    hypotheses = []
    for n, row in enumerate(ids):
        finished = END in row
        length = row.index(END) + 1 if finished else len(row)
        own = logprobs[n][:length]
        look = attention[:length, n] if attention is not None else None
        hypotheses.append(Hypothesis(row[:length], own, look, sum(own), finished))
    return hypotheses


# --------------------------------------------------------------------------------------------------------- beam search


def beam(decoder: nn.Module, features: Tensor, **options) -> list[Hypothesis]:
    """The best of `beam_search` for every picture: regions (N, R, E) -> one hypothesis per picture, in their order."""
    return [best[0] for best in beam_search(decoder, features, **options)]


def beam_search(
    decoder: nn.Module,
    features: Tensor,
    *,
    num_beams: int = 5,
    length_penalty: float = 0.7,
    num_beam_groups: int = 1,
    diversity_penalty: float = 0.5,
    **rules,
) -> list[list[Hypothesis]]:
    """Beam search over all pictures at once: regions (N, R, E) -> per picture what was found, the best first.

    Of all continuations of a picture's live hypotheses the `num_beams` best go on; one that says `<end>` is finished,
    and keeps its place among the `num_beams`. Found are the finished hypotheses, ranked by the sum of their
    log-probabilities / length ** `length_penalty` (0: the plain sum, which favours short captions; 1: the mean), then
    those that had not finished after `max_length` ids: so there is always a best one.

    With `num_beam_groups` the beams are divided among groups that search one after the other, and a word costs
    `diversity_penalty` for every hypothesis of an earlier group that says it at the same step (Vijayakumar et al. 2018,
    Hamming diversity).
    """
    steps = beam_search_steps(
        decoder,
        features,
        num_beams=num_beams,
        num_beam_groups=num_beam_groups,
        diversity_penalty=diversity_penalty,
        **rules,
    )
    parents, words, totals, ended = (torch.stack(column).tolist() for column in list(zip(*steps, strict=True))[:4])
    looks = _stack([step.attention for step in steps])  # (T, N, K, R)
    found = []
    for n in range(len(parents[0])):
        candidates = [  # (finished, score, last step, its row)
            (ended[t][n][k], totals[t][n][k] / (t + 1) ** length_penalty, t, k)
            for t in range(len(steps))
            for k in range(num_beams)
            if ended[t][n][k] or (t == len(steps) - 1 and totals[t][n][k] > -math.inf)
        ]
        hypotheses: dict[tuple[int, ...], Hypothesis] = {}  # two groups may find the same
        for finished, score, last, k in sorted(candidates, reverse=True):
            ids, sums, rows = [], [], []
            for t in range(last, -1, -1):  # back to the first word
                ids.append(words[t][n][k])
                sums.append(totals[t][n][k])
                k = parents[t][n][k]
                rows.append(k)  # the row whose step produced the word
            sums.append(0.0)
            own = [after - before for after, before in pairwise(sums)][::-1]
            look = looks[range(last + 1), n, rows[::-1]] if looks is not None else None
            hypotheses.setdefault(tuple(ids), Hypothesis(ids[::-1], own, look, score, finished))
        found.append(list(hypotheses.values()))
    return found


class Step(NamedTuple):
    """One step of a beam search over N pictures with K hypotheses each: how every hypothesis was made."""

    parent: Tensor  # (N, K) the hypothesis it continues, 0 to K - 1
    word: Tensor  # (N, K) by this word
    total: Tensor  # (N, K) the sum of its log-probabilities; -inf: it was not kept
    ended: Tensor  # (N, K) whether the word is `<end>`
    attention: Tensor | None  # (N, K, R) where its *parents* looked for the word: row `parent`


@torch.inference_mode()
def beam_search_steps(
    decoder: nn.Module,
    features: Tensor,
    *,
    num_beams: int = 5,
    num_beam_groups: int = 1,
    diversity_penalty: float = 0.5,
    **rules,
) -> list[Step]:
    """The search of `beam_search`, step by step, until nothing lives or `max_length` ids are generated.

    A picture with nothing alive is soon left out of the work; its hypotheses are then "not kept".
    """
    if num_beams < 1 or num_beam_groups < 1 or num_beams % num_beam_groups:
        raise ValueError(
            f"num_beams must be a positive multiple of num_beam_groups, not {num_beams} with {num_beam_groups}"
        )
    rule = Rules(**rules)
    memory = decoder.prepare(features)
    pictures, device = len(memory.state[0]), memory.state[0].device
    state = tuple(
        s.repeat_interleave(num_beams, dim=0) for s in memory.state
    )  # (N * K, ...), a picture's beams together
    words = torch.full((pictures * num_beams,), START, device=device)
    generated = words[:, None][:, :0]
    own = num_beams // num_beam_groups  # hypotheses of a group
    total = torch.full((pictures, num_beam_groups, own), -torch.inf, device=device)  # of the live hypotheses
    total[:, :, 0] = 0.0
    places = torch.full((pictures, num_beam_groups, 1), own, device=device)  # not yet taken by finished hypotheses
    rank = torch.arange(own, device=device)
    first_row = torch.arange(pictures, device=device).unsqueeze(1) * num_beams
    here = torch.arange(pictures, device=device)  # the pictures that are worked on

    def of_all(x: Tensor, nothing: float) -> Tensor:
        return x if len(x) == pictures else x.new_full((pictures, *x.shape[1:]), nothing).index_copy(0, here, x)

    steps: list[Step] = []
    while len(steps) < rule.max_length:
        live = total.isfinite().flatten(1).any(1).nonzero().squeeze(1)
        if len(live) == 0:
            break
        if len(live) <= 0.75 * len(here):  # fewer would not pay for the copy of what is remembered
            rows = (first_row[live] + torch.arange(num_beams, device=device)).flatten()
            state, words, generated = tuple(s[rows] for s in state), words[rows], generated[rows]
            here, memory, total, places = here[live], memory.rows(live), total[live], places[live]
            first_row = first_row[: len(live)]
        logits, state, attention = decoder.step(words, state, memory)
        size = logits.shape[-1]
        scores = total.unsqueeze(-1) + rule.allowed(logits, generated).view(-1, num_beam_groups, own, size)
        taken = scores.new_zeros(len(here), 1, size)  # how often earlier groups say a word now
        chosen, lives = [], []
        for group in range(num_beam_groups):
            candidates = scores[:, group].flatten(1)
            ranked = (scores[:, group] - diversity_penalty * taken).flatten(1) if group else candidates
            choice = ranked.topk(own).indices  # (N, own), best first
            alive = (rank < places[:, group]) & candidates.gather(1, choice).isfinite()
            taken.scatter_add_(2, (choice % size).unsqueeze(1), alive.unsqueeze(1).to(taken.dtype))
            chosen.append(choice + group * own * size)
            lives.append(alive)
        choice, alive = torch.cat(chosen, 1), torch.stack(lives, 1)  # (N, K), (N, num_beam_groups, own)
        parent, word = choice // size, choice % size
        total = scores.flatten(1).gather(1, choice).view_as(alive)
        ended = alive & (word.view_as(alive) == END)
        kept = total.masked_fill(~alive, -torch.inf)
        look = None if attention is None else of_all(attention.unflatten(0, (-1, num_beams)), 0.0)
        made = (parent, 0), (word, 0), (kept.flatten(1), -torch.inf), (ended.flatten(1), False)
        steps.append(Step(*(of_all(x, nothing) for x, nothing in made), look))
        places = places - ended.sum(-1, keepdim=True)
        total = kept.masked_fill(ended, -torch.inf)
        rows = (first_row + parent).flatten()
        state, words = tuple(s[rows] for s in state), word.flatten()
        generated = torch.cat([generated[rows], words[:, None]], 1)
    return steps


# ---------------------------------------------------------------------------------------------------- whole datasets


@torch.inference_mode()
def decode(model: nn.Module, loader: Iterable, search: Search = greedy, **options) -> dict[int | str, Hypothesis]:
    """Every picture of a loader once: image id -> hypothesis. `loader` gives batches with `image_ids` and `images`."""
    was_training, _ = model.training, model.eval()
    device = next(model.parameters()).device
    captions = {}
    for batch in loader:
        hypotheses = search(model.decoder, model.regions(batch.to(device)), **options)
        captions.update(zip(batch.image_ids, hypotheses, strict=True))
    model.train(was_training)
    return captions


class EncodedForEach(NamedTuple):
    """What the members of an ensemble have prepared; their states one behind the other."""

    state: tuple[Tensor, ...]
    members: list

    def rows(self, index: Tensor | slice) -> EncodedForEach:
        """The memory of some pictures only."""
        return EncodedForEach(tuple(s[index] for s in self.state), [memory.rows(index) for memory in self.members])


class Ensemble(nn.Module):
    """Captioners of one vocabulary that write together: each word has the mean of their probabilities.

    It decodes, and is measured, like one captioner. Where all look at the same grid, the ensemble looks at the mean of
    their maps; where they do not, or one does not look at all, nowhere. Raises ValueError if there is no member, or if
    their vocabularies differ in size (the caller compares the words).
    """

    def __init__(self, models: Sequence[nn.Module]):
        super().__init__()
        sizes = {model.decoder.embedding.num_embeddings for model in models}
        if len(sizes) != 1:
            raise ValueError(f"the members of an ensemble need one vocabulary, not those of {sorted(sizes)} words")
        self.models = nn.ModuleList(models)

    @property
    def decoder(self) -> Ensemble:
        """Itself: `prepare` and `step` are here."""
        return self

    def regions(self, batch) -> list[Tensor]:
        """A batch -> every member's regions."""
        return [model.regions(batch) for model in self.models]

    def prepare(self, features: list[Tensor]) -> EncodedForEach:
        """Every member's regions -> what all of them compute before the first word."""
        members = [model.decoder.prepare(regions) for model, regions in zip(self.models, features, strict=True)]
        return EncodedForEach(tuple(s for memory in members for s in memory.state), members)

    def step(
        self, words: Tensor, state: tuple[Tensor, ...], memory: EncodedForEach
    ) -> tuple[Tensor, tuple, Tensor | None]:
        """One word: (B,) -> log of the mean probabilities (B, V), all states, the mean of where they looked (B, R)."""
        logits, states, looks = [], [], []
        for model, own in zip(self.models, memory.members, strict=True):
            mine, state = state[: len(own.state)], state[len(own.state) :]
            scores, after, look = model.decoder.step(words, mine, own)
            logits.append(scores)
            states.extend(after)
            looks.append(look)
        return _mean_probability(logits), tuple(states), _mean_look(looks)

    def forward(self, batch) -> tuple[Tensor, Tensor | None]:
        """Known captions, as `Captioner.forward`: log of the mean probabilities (L, V), the mean attention (L, R)."""
        logits, looks = zip(*(model(batch) for model in self.models), strict=True)
        return _mean_probability(logits), _mean_look(looks)


def _mean_probability(logits: Sequence[Tensor]) -> Tensor:
    return torch.stack([x.float().log_softmax(-1) for x in logits]).logsumexp(0) - math.log(len(logits))


def _mean_look(looks: Sequence[Tensor | None]) -> Tensor | None:
    if any(look is None for look in looks) or len({look.shape for look in looks}) > 1:
        return None
    return torch.stack(tuple(looks)).mean(0)


def _stack(looks: list[Tensor | None]) -> Tensor | None:
    return None if looks[0] is None else torch.stack(looks).float().cpu()
