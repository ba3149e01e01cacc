"""A task of 2_Training: one step of a decoder of two LSTMs and attention, from its layers."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from exercises.models import attend, lstm_step
from exercises.tasks import Dice, task


class Parts(NamedTuple):
    """A decoder's layers as functions. B captions, word vectors (B, W), hidden size D, V words."""

    embed: Callable[[Tensor], Tensor]  # words (B,) -> their vectors (B, W)
    word_lstm: Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]  # vectors, h, c -> new h, new c (B, D)
    look: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]  # h, regions (B, R, E) -> context (B, D), weights (B, R)
    language_lstm: Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]  # what is seen, h, c -> new h, new c
    score: Callable[[Tensor], Tensor]  # (B, D) -> scores (B, V)


def random_parts(dice: Dice, *, vocabulary: int = 9, hidden: int = 4, region: int = 5) -> Parts:
    """Small layers with random weights."""
    embedding, scores = dice.normals(vocabulary, 3), dice.normals(hidden, vocabulary)
    keys, query, v = dice.normals(region, 4), dice.normals(hidden, 4), dice.normals(4)
    to_context = dice.normals(region, hidden)

    def lstm(size: int) -> Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]:
        weight = 0.5 * dice.normals(size + hidden, 4 * hidden)
        return lambda x, h, c: lstm_step.solution(torch.cat([x, h], -1) @ weight, c)

    def look(h: Tensor, regions: Tensor) -> tuple[Tensor, Tensor]:
        context, weights = attend.solution(h @ query, regions @ keys, regions, v)
        return context @ to_context, weights

    return Parts(
        embed=lambda words: embedding[words],
        word_lstm=lstm(3),
        look=look,
        language_lstm=lstm(hidden),
        score=lambda x: x @ scores,
    )


def step_cases(dice: Dice) -> list[tuple]:
    """A random decoder, words, the states of its two LSTMs, and regions."""
    cases = []
    for rows, regions, size, hidden, vocabulary in ((3, 6, 5, 4, 9), (4, 7, 6, 3, 12), (1, 5, 4, 6, 8)):
        parts = random_parts(dice, vocabulary=vocabulary, hidden=hidden, region=size)
        words = torch.randint(vocabulary, (rows,), generator=dice.generator)
        cases.append(
            (parts, words, tuple(dice.normals(rows, hidden) for _ in range(4)), dice.normals(rows, regions, size))
        )
    return cases


@task(
    "2_Training",
    points=3,
    goal="One decoder step: read the word, look, remember, score",
    cases=step_cases,
    returns=("scores", "new state", "weights"),
)
def decoder_step(parts, words, state, regions):
    """The layers, the last words (B,), the state (h, c of the word LSTM, k, d of the language LSTM), each (B, D), and
    regions (B, R, E) -> scores (B, V), the new state, weights (B, R)."""
    h, c, known, memory = state
    h, c = parts.word_lstm(parts.embed(words), h, c)
    context, weights = parts.look(h, regions)
    seen = torch.tanh(h + context)
    known, memory = parts.language_lstm(seen, known, memory)
    return parts.score(seen + known), (h, c, known, memory), weights


@decoder_step.trap("the state never moves: return the new states, not those that came in")
def old_state_returned(parts, words, state, regions):
    scores, _, weights = decoder_step.solution(parts, words, state, regions)
    return scores, state, weights


@decoder_step.trap("it looks before it has read the word: ask with the *new* state of the word LSTM")
def looks_first(parts, words, state, regions):
    h, c, known, memory = state
    context, weights = parts.look(h, regions)
    h, c = parts.word_lstm(parts.embed(words), h, c)
    seen = torch.tanh(h + context)
    known, memory = parts.language_lstm(seen, known, memory)
    return parts.score(seen + known), (h, c, known, memory), weights


@decoder_step.trap("what the model looked at goes nowhere: what is seen is tanh(h + context)")
def context_unused(parts, words, state, regions):
    h, c, known, memory = state
    h, c = parts.word_lstm(parts.embed(words), h, c)
    known, memory = parts.language_lstm(torch.tanh(h), known, memory)
    return parts.score(torch.tanh(h) + known), (h, c, known, memory), parts.look(h, regions)[1]


@decoder_step.trap("the tanh is missing: what is seen is tanh(h + context)")
def no_tanh_of_seen(parts, words, state, regions):
    h, c, known, memory = state
    h, c = parts.word_lstm(parts.embed(words), h, c)
    context, weights = parts.look(h, regions)
    known, memory = parts.language_lstm(h + context, known, memory)
    return parts.score(h + context + known), (h, c, known, memory), weights


@decoder_step.trap("the second LSTM reads what is *seen*, not the state of the first")
def language_reads_the_state(parts, words, state, regions):
    h, c, known, memory = state
    h, c = parts.word_lstm(parts.embed(words), h, c)
    context, weights = parts.look(h, regions)
    known, memory = parts.language_lstm(h, known, memory)
    return parts.score(torch.tanh(h + context) + known), (h, c, known, memory), weights


@decoder_step.trap(
    "each LSTM has a state of its own: the second one goes on from its own h and c, not from the first's"
)
def one_state_for_both(parts, words, state, regions):
    h, c = parts.word_lstm(parts.embed(words), *state[:2])
    context, weights = parts.look(h, regions)
    seen = torch.tanh(h + context)
    known, memory = parts.language_lstm(seen, h, c)
    return parts.score(seen + known), (h, c, known, memory), weights


@decoder_step.trap("the scores come from what is known alone: add what is seen, score(seen + known)")
def scores_of_known(parts, words, state, regions):
    _, after, weights = decoder_step.solution(parts, words, state, regions)
    return parts.score(after[2]), after, weights


@decoder_step.trap("the scores come from what is seen alone: add what is known, score(seen + known)")
def scores_of_seen(parts, words, state, regions):
    _, after, weights = decoder_step.solution(parts, words, state, regions)
    return parts.score(torch.tanh(after[0] + parts.look(after[0], regions)[0])), after, weights


@decoder_step.trap("the new states have changed places: h and c of the word LSTM first, then those of the second one")
def state_exchanged(parts, words, state, regions):
    scores, (h, c, known, memory), weights = decoder_step.solution(parts, words, state, regions)
    return scores, (known, memory, h, c), weights


@decoder_step.trap("scores are before the softmax: the loss and the search take it themselves")
def softmaxed(parts, words, state, regions):
    scores, after, weights = decoder_step.solution(parts, words, state, regions)
    return scores.softmax(-1), after, weights


@decoder_step.trap("the second LSTM reads what is *seen*, tanh(h + context), not the context alone")
def language_reads_the_context(parts, words, state, regions):
    h, c = parts.word_lstm(parts.embed(words), *state[:2])
    context, weights = parts.look(h, regions)
    known, memory = parts.language_lstm(context, *state[2:])
    return parts.score(torch.tanh(h + context) + known), (h, c, known, memory), weights


@decoder_step.trap("the second LSTM's state never moves: return its new k and d, too")
def old_language_state(parts, words, state, regions):
    scores, (h, c, *_), weights = decoder_step.solution(parts, words, state, regions)
    return scores, (h, c, *state[2:]), weights


@decoder_step.trap("the scores take what is known *now*: the new k, not the one that came in")
def scores_of_old_known(parts, words, state, regions):
    _, after, weights = decoder_step.solution(parts, words, state, regions)
    seen = torch.tanh(after[0] + parts.look(after[0], regions)[0])
    return parts.score(seen + state[2]), after, weights


@decoder_step.trap("it is the word LSTM's new state h that asks where to look, not what is known")
def known_asks(parts, words, state, regions):
    h, c = parts.word_lstm(parts.embed(words), *state[:2])
    context, weights = parts.look(state[2], regions)
    seen = torch.tanh(h + context)
    known, memory = parts.language_lstm(seen, *state[2:])
    return parts.score(seen + known), (h, c, known, memory), weights
