"""Tasks of 1_Preliminaries: an LSTM step, and attention."""

from __future__ import annotations

import torch

from exercises.tasks import Dice, task


# ---------------------------------------------------------------------------------------------------------- lstm_step
def gate_cases(dice: Dice) -> list[tuple]:
    """Gates before their sigmoid and tanh, and memories; the second gates require gradients, as a layer's do."""
    cases = [(2 * dice.normals(rows, 4 * size), dice.normals(rows, size)) for rows, size in ((3, 5), (2, 3), (5, 2))]
    cases[1][0].requires_grad_()
    return cases


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


@lstm_step.trap("the candidate g goes through a sigmoid and then a tanh: it needs the tanh alone")
def candidate_twice(gates, c):
    i, f, g, o = gates.chunk(4, dim=-1)
    return lstm_step.solution(torch.cat([i, f, torch.sigmoid(g), o], -1), c)


@lstm_step.trap("this cuts the captions of the batch into four: cut along the last dimension")
def cut_rows(gates, c):
    i, f, g, o = gates.chunk(4)
    return lstm_step.solution(torch.cat([i, f, g, o], -1), c)


# ------------------------------------------------------------------------------------------------------------- attend


def region_cases(dice: Dice) -> list[tuple]:
    """Queries (B, A), keys (B, R, A), regions (B, R, E) and v (A,); in the second case each region stands twice."""
    query, keys, regions, v = dice.normals(3, 4), dice.normals(3, 6, 4), dice.normals(3, 6, 5), dice.normals(4)
    twice = query, torch.cat([keys, keys], 1), torch.cat([regions, regions], 1), v
    return [
        (query, keys, regions, v),
        twice,
        (dice.normals(4, 5), dice.normals(4, 7, 5), dice.normals(4, 7, 6), dice.normals(5)),
    ]


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


@attend.trap("the weights don't depend on the query: without the tanh of keys + query it moves all scores alike")
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


@attend.trap("v is missing: a score is v . tanh(key + query), not the plain sum of what the tanh gives")
def v_unused(query, keys, regions, v):
    return attend.solution(query, keys, regions, torch.ones_like(v))


@attend.trap("the two results are exchanged: the context comes first, then the weights")
def weights_first(query, keys, regions, v):
    return attend.solution(query, keys, regions, v)[::-1]


@attend.trap("the weights don't depend on the query: it belongs inside the tanh, tanh(keys + query)")
def query_outside(query, keys, regions, v):
    weights = (torch.tanh(keys) @ v).softmax(-1)  # the same with tanh(query) @ v added to all scores of a picture
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
