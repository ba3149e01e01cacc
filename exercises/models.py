"""Tasks of 1_Preliminaries and 2_Training: an LSTM step, attention, and one step of a decoder that has both."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from exercises.tasks import Dice, task


# ---------------------------------------------------------------------------------------------------------- lstm_step
def gate_cases(dice: Dice) -> list[tuple]:
    """Gates before their sigmoid and tanh, and memories, of two sizes."""
    return [(dice.normals(3, 20), dice.normals(3, 5)), (2 * dice.normals(2, 12), dice.normals(2, 3))]


@task(
    "1_Preliminaries",
    points=3,
    goal="One LSTM step from its four gates",
    cases=gate_cases,
    returns=("new state", "new memory"),
)
def lstm_step(gates, c):
    """Gates (B, 4D) in the order i, f, g, o, before sigmoid and tanh; memory c (B, D) -> new state h, new memory c."""
    i, f, g, o = gates.chunk(4, dim=-1)
    c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
    return torch.sigmoid(o) * torch.tanh(c), c


@lstm_step.trap("input and forget gate are swapped: the order is i, f, g, o")
def swapped_gates(gates, c):
    f, i, g, o = gates.chunk(4, dim=-1)
    return lstm_step.solution(torch.cat([i, f, g, o], -1), c)


@lstm_step.trap("candidate and output gate are swapped: the order is i, f, g, o")
def candidate_last(gates, c):
    i, f, o, g = gates.chunk(4, dim=-1)
    return lstm_step.solution(torch.cat([i, f, g, o], -1), c)


@lstm_step.trap("the candidate g needs tanh, not sigmoid: it may take something away from the memory")
def candidate_sigmoid(gates, c):
    i, f, g, o = gates.chunk(4, dim=-1)
    c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.sigmoid(g)
    return torch.sigmoid(o) * torch.tanh(c), c


@lstm_step.trap("the new state is o times tanh of the new memory: the tanh is missing")
def no_tanh_of_memory(gates, c):
    _, c = lstm_step.solution(gates, c)
    return torch.sigmoid(gates.chunk(4, dim=-1)[3]) * c, c


@lstm_step.trap("the new state comes from the *new* memory, not from the one before")
def old_memory(gates, c):
    return torch.sigmoid(gates.chunk(4, dim=-1)[3]) * torch.tanh(c), lstm_step.solution(gates, c)[1]


@lstm_step.trap("the two results are exchanged: the state h comes first, then the memory c")
def memory_first(gates, c):
    return lstm_step.solution(gates, c)[::-1]


@lstm_step.trap("i, f and o are gates between 0 and 1: they need a sigmoid")
def no_sigmoid(gates, c):
    i, f, g, o = gates.chunk(4, dim=-1)
    c = f * c + i * torch.tanh(g)
    return o * torch.tanh(c), c


@lstm_step.trap("this cuts the captions of the batch into four: cut along the last dimension")
def cut_rows(gates, c):
    i, f, g, o = gates.chunk(4)
    return lstm_step.solution(torch.cat([i, f, g, o], -1), c)


# ------------------------------------------------------------------------------------------------------------- attend


def region_cases(dice: Dice) -> list[tuple]:
    """Queries (B, A), keys (B, R, A), regions (B, R, E) and v (A,); in the second case each region stands twice."""
    query, keys, regions, v = dice.normals(3, 4), dice.normals(3, 6, 4), dice.normals(3, 6, 5), dice.normals(4)
    return [(query, keys, regions, v), (query, torch.cat([keys, keys], 1), torch.cat([regions, regions], 1), v)]


def _scores(query, keys, v):
    return torch.tanh(keys + query.unsqueeze(1)) @ v


@task(
    "1_Preliminaries",
    points=3,
    goal="Additive attention: scores, weights, context",
    cases=region_cases,
    returns=("context", "weights"),
)
def attend(query, keys, regions, v):
    """Query (B, A), keys (B, R, A), regions (B, R, E), v (A,) -> context (B, E) and weights (B, R)."""
    scores = torch.tanh(keys + query.unsqueeze(1)) @ v  # (B, R)
    weights = scores.softmax(dim=-1)  # (B, R)
    return (weights.unsqueeze(-1) * regions).sum(1), weights


@attend.trap("the weights of a picture don't sum to one: take the softmax over its regions, not over the batch")
def softmax_over_batch(query, keys, regions, v):
    weights = _scores(query, keys, v).softmax(dim=0)
    return (weights.unsqueeze(-1) * regions).sum(1), weights


@attend.trap("the context is the *weighted* sum of the regions: this is their mean, wherever the model looks")
def plain_mean(query, keys, regions, v):
    return regions.mean(1), _scores(query, keys, v).softmax(-1)


@attend.trap("the weighted sum is divided by the number of regions: the weights sum to one already")
def weighted_mean(query, keys, regions, v):
    context, weights = attend.solution(query, keys, regions, v)
    return context / regions.shape[1], weights


@attend.trap("the tanh is missing: without it the query moves all scores alike, and the weights don't depend on it")
def no_tanh(query, keys, regions, v):
    weights = ((keys + query.unsqueeze(1)) @ v).softmax(-1)
    return (weights.unsqueeze(-1) * regions).sum(1), weights


@attend.trap("scores are no weights yet: the softmax is missing")
def no_softmax(query, keys, regions, v):
    weights = _scores(query, keys, v)
    return (weights.unsqueeze(-1) * regions).sum(1), weights


@attend.trap("the weighted sum is of the regions, not of their keys")
def sum_of_keys(query, keys, regions, v):
    weights = _scores(query, keys, v).softmax(-1)
    return (weights.unsqueeze(-1) * keys).sum(1), weights


@attend.trap("the two results are exchanged: the context comes first, then the weights")
def weights_first(query, keys, regions, v):
    return attend.solution(query, keys, regions, v)[::-1]


@attend.trap("the tanh is of the sum of key and query: the sum of two tanh is something else")
def two_tanh(query, keys, regions, v):
    weights = ((torch.tanh(keys) + torch.tanh(query).unsqueeze(1)) @ v).softmax(-1)
    return (weights.unsqueeze(-1) * regions).sum(1), weights


@attend.trap("the tanh comes before v: tanh(keys + query), then weighed by v")
def tanh_last(query, keys, regions, v):
    weights = torch.tanh((keys + query.unsqueeze(1)) @ v).softmax(-1)
    return (weights.unsqueeze(-1) * regions).sum(1), weights


@attend.trap("this is dot-product attention; the additive one asks v . tanh(key + query)")
def dot_product(query, keys, regions, v):
    weights = (keys @ query.unsqueeze(-1)).squeeze(-1).softmax(-1)
    return (weights.unsqueeze(-1) * regions).sum(1), weights


@attend.trap("a query is added to all keys of *its* caption: make it (B, 1, A) first")
def query_of_another(query, keys, regions, v):
    weights = (torch.tanh(keys + query) @ v).softmax(-1)
    return (weights.unsqueeze(-1) * regions).sum(1), weights


@attend.observe
def not_one(arguments, results):
    sums = results[1].sum(-1)
    if results[1].shape == arguments[1].shape[:2] and (sums - 1).abs().max() > 1e-3:
        return f"the weights of a picture should sum to one, yours sum to {sums[0]:.3g}: take the softmax over regions"
    return None


# ------------------------------------------------------------------------------------------------------- decoder_step


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
    words = torch.randint(9, (3,), generator=dice.generator)
    return [
        (random_parts(dice), words, tuple(dice.normals(3, 4) for _ in range(4)), dice.normals(3, 6, 5))
        for _ in range(2)
    ]


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
