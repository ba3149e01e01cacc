"""Beam search, with or without diverse groups, over all pictures at once.

Comes in: a decoder with `prepare` and `step`, and the regions of N pictures. Goes out: hypotheses per picture, the best
first; or the search itself, step by step. What it does not know: words as text, pictures, files.

The K hypotheses of a picture are rows one behind the other in every tensor that the decoder sees, and stand in G groups
of K / G; without diverse search G is 1.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor

from decoding.search import Hypothesis, Rules, StepwiseDecoder, stacked
from models.fast import highest
from vocabulary import END, START


def beam(decoder: StepwiseDecoder, features: Tensor | list[Tensor], **options: Any) -> list[Hypothesis]:
    """The best of `beam_search` for every picture: regions (N, R, E) -> one hypothesis per picture, in their order."""
    return [best[0] for best in beam_search(decoder, features, **options)]


def beam_search(
    decoder: StepwiseDecoder, features: Tensor | list[Tensor], *, length_penalty: float = 0.7, **options: Any
) -> list[list[Hypothesis]]:
    """Beam search over all pictures at once: regions (N, R, E) -> per picture what was found, the best first.

    `options` are those of `beam_search_steps`. Found are the finished hypotheses, ranked by the sum of their
    log-probabilities / length ** `length_penalty` (0: the plain sum, which favours short captions; 1: the mean), then
    those that had not finished after `max_length` ids: so there is always a best one.
    """
    steps = beam_search_steps(decoder, features, **options)
    history = _History.of(steps)
    return [history.hypotheses(picture, length_penalty) for picture in range(len(steps[0].word))]


class Step(NamedTuple):
    """One step of a beam search over N pictures with K hypotheses each: how every hypothesis was made."""

    parent: Tensor  # (N, K) the hypothesis it continues, 0 to K - 1
    word: Tensor  # (N, K) by this word
    total: Tensor  # (N, K) the sum of its log-probabilities; -inf: it was not kept
    ended: Tensor  # (N, K) whether the word is `<end>`
    attention: Tensor | None  # (N, K, R) where its *parents* looked for the word: row `parent`


@torch.inference_mode()
def beam_search_steps(
    decoder: StepwiseDecoder,
    features: Tensor | list[Tensor],
    *,
    num_beams: int = 5,
    num_beam_groups: int = 1,
    diversity_penalty: float = 0.5,
    **rules: Any,
) -> list[Step]:
    """The search of `beam_search`, step by step, until no hypothesis is alive or `max_length` ids are generated.

    Of all continuations of a picture's live hypotheses the `num_beams` best go on; one that says `<end>` is finished,
    and keeps its place among the `num_beams`. With `num_beam_groups` the beams are divided among groups that search one
    after the other, and a word costs `diversity_penalty` for every hypothesis of an earlier group that says it at the
    same step (Vijayakumar et al. 2018, Hamming diversity). `rules` are those of `Rules`.

    A picture with nothing alive is soon left out of the work; its hypotheses are then "not kept". Raises ValueError if
    `num_beams` is not a positive multiple of `num_beam_groups`.
    """
    if num_beams < 1 or num_beam_groups < 1 or num_beams % num_beam_groups:
        raise ValueError(
            f"num_beams must be a positive multiple of num_beam_groups, not {num_beams} with {num_beam_groups}"
        )
    limits = Rules(**rules)
    beams = _Beams.of_nothing_said(decoder.prepare(features), num_beams, num_beam_groups)
    pictures = len(beams.pictures)
    steps: list[Step] = []
    while len(steps) < limits.max_length:
        alive = beams.rows_alive()
        if len(alive) == 0:
            break
        if len(alive) <= 0.75 * len(beams.pictures):  # the copy pays only if many pictures are finished
            beams.keep(alive)
        searched = beams.pictures
        logits, beams.state, attention = decoder.step(beams.words, beams.state, beams.images)
        scores = limits.allowed(logits, beams.generated).unflatten(0, beams.totals.shape)
        scores.add_(beams.totals.unsqueeze(-1))
        choice, kept = _best_continuations(scores, beams.free_slots, diversity_penalty)
        step = beams.advance(scores, choice, kept, attention)
        steps.append(step if len(searched) == pictures else _of_all_pictures(step, searched, pictures))
    return steps


def _best_continuations(scores: Tensor, free_slots: Tensor, diversity_penalty: float) -> tuple[Tensor, Tensor]:
    """Every group in turn takes its best continuations: scores (M, G, K / G, V) -> choice, kept: (M, G, K / G) each.

    A choice is a place in the flattened scores of its group, best first. Kept are as many as the group has free slots
    (M, G, 1), if they are allowed at all.
    """
    pictures, groups, per_group, words = scores.shape
    rank = torch.arange(per_group, device=scores.device)
    said_by_earlier_groups = scores.new_zeros(pictures, 1, words)  # how often each word, at this step
    choices, kept = [], []
    for group in range(groups):
        candidates = scores[:, group].flatten(1)  # (M, K / G * V)
        ranked = candidates
        if group:
            ranked = (scores[:, group] - diversity_penalty * said_by_earlier_groups).flatten(1)
        choice = highest(ranked, per_group)
        keep = (rank < free_slots[:, group]) & candidates.gather(1, choice).isfinite()
        said_by_earlier_groups.scatter_add_(2, (choice % words).unsqueeze(1), keep.unsqueeze(1).to(scores.dtype))
        choices.append(choice)
        kept.append(keep)
    return torch.stack(choices, 1), torch.stack(kept, 1)


def _of_all_pictures(step: Step, searched: Tensor, pictures: int) -> Step:
    """A step over the pictures `searched` (M,) as one over all N; in the others nothing was kept."""

    def spread(rows: Tensor, fill: float) -> Tensor:
        return rows.new_full((pictures, *rows.shape[1:]), fill).index_copy(0, searched, rows)

    attention = None if step.attention is None else spread(step.attention, 0.0)
    parent, word, ended = (spread(rows, 0) for rows in (step.parent, step.word, step.ended))
    return Step(parent, word, spread(step.total, -torch.inf), ended, attention)


@dataclass
class _Beams:
    """What a search carries from word to word, for the M of the N pictures that are still searched."""

    pictures: Tensor  # (M,) which of the N
    images: Any  # the encoded images, M rows
    state: tuple[Tensor, ...]  # (M * K, ...)
    words: Tensor  # (M * K,) the last word of every hypothesis
    generated: Tensor  # (M * K, t) all of them
    totals: Tensor  # (M, G, K / G) the sums of log-probabilities; -inf: not alive
    free_slots: Tensor  # (M, G, 1) how many hypotheses a group can still keep: K / G less those finished

    @classmethod
    def of_nothing_said(cls, images: Any, num_beams: int, groups: int) -> _Beams:
        """One live hypothesis in every group, the empty one."""
        pictures, device = len(images.state[0]), images.state[0].device
        state = tuple(s.repeat_interleave(num_beams, dim=0) for s in images.state)
        words = torch.full((pictures * num_beams,), START, device=device)
        totals = torch.full((pictures, groups, num_beams // groups), -torch.inf, device=device)
        totals[:, :, 0] = 0.0
        free_slots = torch.full((pictures, groups, 1), num_beams // groups, device=device)
        generated = words[:, None][:, :0]
        return cls(torch.arange(pictures, device=device), images, state, words, generated, totals, free_slots)

    def rows_alive(self) -> Tensor:
        """The rows, of the M, of the pictures that have a live hypothesis."""
        return self.totals.isfinite().flatten(1).any(1).nonzero().squeeze(1)

    def keep(self, rows: Tensor) -> None:
        """Go on with the pictures of these rows only."""
        num_beams = self.totals[0].numel()
        of_beams = self._first_beams()[rows].add(torch.arange(num_beams, device=rows.device)).flatten()
        self._reorder(of_beams)
        self.words = self.words[of_beams]
        self.pictures, self.images = self.pictures[rows], self.images.rows(rows)
        self.totals, self.free_slots = self.totals[rows], self.free_slots[rows]

    def advance(self, scores: Tensor, choice: Tensor, kept: Tensor, attention: Tensor | None) -> Step:
        """Continue by what `_best_continuations` chose among the scores; attention is that of the step (M * K, R)."""
        _, groups, per_group, vocabulary = scores.shape
        totals = scores.flatten(2).gather(2, choice).masked_fill(~kept, -torch.inf)
        first_of_group = torch.arange(0, groups * per_group, per_group, device=choice.device).unsqueeze(1)
        parent, word = choice // vocabulary + first_of_group, choice % vocabulary  # (M, G, K / G)
        ended = kept & (word == END)
        self.free_slots = self.free_slots - ended.sum(-1, keepdim=True)
        self.totals = totals.masked_fill(ended, -torch.inf)
        self._reorder((self._first_beams() + parent.flatten(1)).flatten())
        self.words = word.flatten()
        self.generated = torch.cat([self.generated, self.words[:, None]], 1)
        looked = None if attention is None else attention.unflatten(0, (-1, groups * per_group))
        return Step(parent.flatten(1), word.flatten(1), totals.flatten(1), ended.flatten(1), looked)

    def _first_beams(self) -> Tensor:
        """(M, 1) the row of each picture's first hypothesis."""
        pictures, num_beams = len(self.pictures), self.totals[0].numel()
        return torch.arange(0, pictures * num_beams, num_beams, device=self.words.device).unsqueeze(1)

    def _reorder(self, rows: Tensor) -> None:
        self.state, self.generated = tuple(s[rows] for s in self.state), self.generated[rows]


class _History(NamedTuple):
    """All steps of a search, columns of `Step` as lists: [step][picture][hypothesis]."""

    parent: list[list[list[int]]]
    word: list[list[list[int]]]
    total: list[list[list[float]]]
    ended: list[list[list[bool]]]
    attention: Tensor | None  # (T, N, K, R)

    @classmethod
    def of(cls, steps: list[Step]) -> _History:
        columns = zip(*(step[:4] for step in steps), strict=True)
        parent, word, total, ended = (torch.stack(column).tolist() for column in columns)
        return cls(parent, word, total, ended, stacked([step.attention for step in steps]))

    def hypotheses(self, picture: int, length_penalty: float) -> list[Hypothesis]:
        """What was found for a picture, each caption once (two groups may find the same), the best first."""
        ranked = sorted(
            (
                (self.ended[t][picture][k], self.total[t][picture][k] / (t + 1) ** length_penalty, t, k)
                for t, k in self._ends(picture)
            ),
            reverse=True,
        )
        found: dict[tuple[int, ...], Hypothesis] = {}
        for finished, score, t, k in ranked:
            ids, logprobs, attention = self._traced_back(picture, t, k)
            found.setdefault(tuple(ids), Hypothesis(ids, logprobs, attention, score, finished))
        return list(found.values())

    def _ends(self, picture: int) -> Iterator[tuple[int, int]]:
        """Where hypotheses end, as (step, hypothesis): by `<end>`, or alive after the last step."""
        last = len(self.word) - 1
        for t, (ended, totals) in enumerate(zip(self.ended, self.total, strict=True)):
            for k, (is_end, total) in enumerate(zip(ended[picture], totals[picture], strict=True)):
                if is_end or (t == last and total > -math.inf):
                    yield t, k

    def _traced_back(self, picture: int, last: int, k: int) -> tuple[list[int], list[float], Tensor | None]:
        """Follow the parents from a hypothesis of step `last` to the first word: ids, log-probabilities, attention."""
        ids, totals, parents = [], [], []
        for t in range(last, -1, -1):
            ids.append(self.word[t][picture][k])
            totals.append(self.total[t][picture][k])
            k = self.parent[t][picture][k]
            parents.append(k)  # it was this row that looked for the word
        logprobs = [after - before for before, after in pairwise([0.0, *reversed(totals)])]
        attention = None if self.attention is None else self.attention[range(last + 1), picture, parents[::-1]]
        return ids[::-1], logprobs, attention
