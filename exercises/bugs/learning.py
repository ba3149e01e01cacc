"""Spot the bug, 5 to 7: how a model's learning is measured, from its targets to its perplexity.

For each bug: what is right (`repair_5` …), the wrong code as the course shows it, its symptom in numbers, and repairs
that don't suffice. `exercises.symptom(number, function)` measures, `exercises.check_bug` judges a repair.
"""

from __future__ import annotations

import math

import torch
from torch.nn import functional as F

from exercises.tasks import END, PAD, START, Dice, bug
from exercises.training import divided_by_all, mean_loss, mean_of_captions, summed, target_cases

# ------------------------------------------------------------------------------------------ 5: padding counts as a word


@bug(5, "2_Training", goal="the loss falls when captions are padded further", cases=target_cases)
def repair_5(scores, targets):
    return F.cross_entropy(scores.flatten(0, 1), targets.flatten(), ignore_index=PAD)


@repair_5.starts_as("the mistake is still there: the more padding, the smaller the loss; which cells are averaged?")
def batch_loss(scores, targets):
    """Scores (B, T, V), targets (B, T), 0 is <pad> -> the mean loss of a token."""
    return F.cross_entropy(scores.flatten(0, 1), targets.flatten())


repair_5.traps += [divided_by_all, summed, mean_of_captions]


@repair_5.trap("divide by the number of real targets, not by the number of captions")
def by_captions(scores, targets):
    return repair_5.solution(scores, targets) * (targets != PAD).sum() / len(targets)


@repair_5.trap("scores and targets no longer belong together: flatten both in the same order")
def flattened_otherwise(scores, targets):
    return F.cross_entropy(scores.transpose(0, 1).flatten(0, 1), targets.flatten(), ignore_index=PAD)


@repair_5.trap("the score of <pad> is gone from the softmax: keep all scores, leave out the *targets* that are padding")
def no_score_for_pad(scores, targets):
    return repair_5.solution(scores.index_fill(-1, torch.tensor(PAD), -math.inf), targets)


@repair_5.symptom_of("the loss of the same captions, by the length to which they are padded")
def loss_by_padding(function):
    scores, targets = mean_loss.cases(Dice(1))[0]
    found = {}
    for width in (5, 10, 20, 50):
        more = width - scores.shape[1]
        sure = F.one_hot(torch.full((len(scores), more), PAD), scores.shape[2]) * 12.0  # padding is easily learned
        wide = torch.cat([scores, sure], 1)
        found[str(width)] = float(function(wide, F.pad(targets, (0, more), value=PAD)))
    return found


# --------------------------------------------------------------------------------- 6: the target is the word just given


def id_cases(dice: Dice) -> list[tuple]:
    """Captions (B, T + 1) from <start> to <end>, padded."""
    captions = torch.randint(4, 20, (3, 7), generator=dice.generator)
    captions[:, 0], captions[0, 6], captions[1, 4], captions[1, 5:], captions[2, 6] = START, END, END, PAD, END
    return [(captions,), (captions[1:2, :6],)]


@bug(
    6,
    "2_Training",
    goal="a model that only repeats what it was given is always right",
    cases=id_cases,
    returns=("inputs", "targets"),
)
def repair_6(captions):
    return captions[:, :-1], captions[:, 1:]


@repair_6.starts_as("the mistake is still there: the target is the word that was just given, and <start> is no target")
def inputs_and_targets(captions):
    """Captions (B, T + 1) from <start> to <end> -> what is given (B, T), what is to be said (B, T)."""
    return captions[:, :-1], captions[:, :-1]


@repair_6.trap("the wrong way round: the inputs begin with <start>, the targets end with <end>")
def wrong_way_round(captions):
    return captions[:, 1:], captions[:, :-1]


@repair_6.trap("the inputs are one longer than the targets: after the last word of a caption nothing is to be said")
def inputs_too_long(captions):
    return captions, captions[:, 1:]


@repair_6.trap("both begin one word later now: the target is still the word that was just given")
def both_later(captions):
    return captions[:, 1:], captions[:, 1:]


@repair_6.trap("<start> comes round to the end of the targets: nothing should come after the last word")
def rolled(captions):
    return captions[:, :-1], captions[:, :-1].roll(-1, 1)


@repair_6.trap("one word is skipped: the target is the *next* word")
def two_later(captions):
    return captions[:, :-2], captions[:, 2:]


@repair_6.observe
def no_end(arguments, parts):
    if not (parts[1] == END).any():
        return "<end> should be a target, too: how else does a model learn to stop?"
    return None


@repair_6.symptom_of("how often a model is right that repeats the word it was given")
def repeating(function):
    inputs, targets = function(*repair_6.cases(Dice(1))[0])
    real = targets != PAD
    return {"share of real targets": float((inputs == targets)[real].float().mean())}


# ------------------------------------------------------------------------------- 7: a mean of the batches' perplexities


def token_cases(dice: Dice) -> list[tuple]:
    """The losses of all tokens of a split, in its order, and how many make a batch."""
    losses = [3 + 2 * math.sin(i / 4) + dice.random() for i in range(50)]
    return [(losses, 8), (losses[:33], 1), (losses, 64)]


@bug(7, "2_Training", goal="perplexity changes with the size of the batches", cases=token_cases)
def repair_7(losses, batch_size):
    return math.exp(sum(losses) / len(losses))


@repair_7.starts_as("the mistake is still there: it still depends on the batch size; where does exp belong?")
def perplexity_of_split(losses, batch_size):
    """The losses of all tokens, how many make a batch -> the perplexity of the split."""
    batches = [losses[i : i + batch_size] for i in range(0, len(losses), batch_size)]
    perplexities = [math.exp(sum(batch) / len(batch)) for batch in batches]
    return sum(perplexities) / len(perplexities)


@repair_7.trap("still by batches: the last one is smaller, and its few tokens count as much as many")
def mean_of_means(losses, batch_size):
    batches = [losses[i : i + batch_size] for i in range(0, len(losses), batch_size)]
    means = [sum(batch) / len(batch) for batch in batches]
    return math.exp(sum(means) / len(means))


@repair_7.trap("a mean of perplexities, weighted by size, still depends on the batches: where does exp belong?")
def weighted_perplexities(losses, batch_size):
    batches = [losses[i : i + batch_size] for i in range(0, len(losses), batch_size)]
    return sum(len(batch) * math.exp(sum(batch) / len(batch)) for batch in batches) / len(losses)


@repair_7.trap("a mean of exponentials: add the losses first, take the exponential once")
def mean_of_exponentials(losses, batch_size):
    return sum(map(math.exp, losses)) / len(losses)


@repair_7.trap("the last, smaller batch is left out: its tokens count like all others")
def last_dropped(losses, batch_size):
    return repair_7.solution(losses[: len(losses) // batch_size * batch_size], batch_size)


@repair_7.trap("the losses are natural logarithms: their base is e, not 2")
def base_two(losses, batch_size):
    return 2 ** (sum(losses) / len(losses))


@repair_7.trap("divide before you take the exponential: perplexity is e to the *mean* loss")
def divided_late(losses, batch_size):
    return math.exp(sum(losses)) / len(losses)


@repair_7.trap("this is the mean loss: perplexity is e to it")
def no_exponential(losses, batch_size):
    return sum(losses) / len(losses)


@repair_7.symptom_of("the perplexity of the same tokens, by batch size")
def perplexity_by_batch(function):
    losses = token_cases(Dice(1))[0][0]
    return {str(size): float(function(list(losses), size)) for size in (1, 4, 16, 64)}
