"""Tasks of 2_Training: the masked loss, perplexity over a split, and training with the model's own words."""

from __future__ import annotations

import math

import torch
from torch.nn import functional as F

from exercises.tasks import PAD, Dice, task

NOTEBOOK = "2_Training"


# ---------------------------------------------------------------------------------------------------------- mean_loss


def target_cases(dice: Dice) -> list[tuple]:
    """Scores and targets of three captions of 5, 3 and 2 words: 15 cells, of which 10 are real; then of four others."""
    cases = []
    for lengths, vocabulary in (((5, 3, 2), 8), ((6, 4, 2, 1), 11)):
        shape = len(lengths), lengths[0]
        targets = torch.randint(1, vocabulary, (shape[0], shape[1] + 1), generator=dice.generator)[:, 1:]  # no <start>
        for row, length in zip(targets, lengths, strict=True):
            row[length:] = PAD
        cases.append((2 * dice.normals(*shape, vocabulary), targets))
    return cases


@task(NOTEBOOK, points=2, goal="The mean loss of the real targets", cases=target_cases)
def mean_loss(scores, targets):
    """Scores (B, T, V) before the softmax, targets (B, T), 0 where there is none -> the mean of -log p, a number."""
    logprobs = scores.log_softmax(dim=-1)
    losses = -logprobs.gather(-1, targets.unsqueeze(-1)).squeeze(-1)  # (B, T)
    return losses[targets != PAD].mean()


def _losses(scores, targets):
    return F.cross_entropy(scores.flatten(0, 1), targets.flatten(), reduction="none").reshape(targets.shape)


@mean_loss.trap("padding is counted: 15 cells, but only 10 are real; leave out the targets that are 0")
def pads_counted(scores, targets):
    return _losses(scores, targets).mean()


@mean_loss.trap("the losses of the padding are 0 now, but it still divides by all 15 cells: divide by the 10 real ones")
def divided_by_all(scores, targets):
    return (_losses(scores, targets) * (targets != PAD)).mean()


@mean_loss.trap("this is the sum: divide by the number of real targets")
def summed(scores, targets):
    return _losses(scores, targets)[targets != PAD].sum()


@mean_loss.trap("the sign: a loss is *minus* the logarithm, so that small is good")
def wrong_sign(scores, targets):
    return -mean_loss.solution(scores, targets)


@mean_loss.trap("the mean of the captions' means: a word of a short caption counts more; take all real targets alike")
def mean_of_captions(scores, targets):
    real = targets != PAD
    return ((_losses(scores, targets) * real).sum(1) / real.sum(1)).mean()


@mean_loss.trap("scores are no probabilities: the log_softmax is missing")
def no_softmax(scores, targets):
    return -scores.gather(-1, targets.unsqueeze(-1)).squeeze(-1)[targets != PAD].mean()


@mean_loss.trap("the softmax is taken twice: cross_entropy takes it itself, of the scores as they are")
def softmax_twice(scores, targets):
    return mean_loss.solution(scores.softmax(-1), targets)


@mean_loss.trap("this is the perplexity, e to the mean loss: return the mean itself")
def with_exponential(scores, targets):
    return mean_loss.solution(scores, targets).exp()


@mean_loss.trap("this softmax is over the places of a caption: it is over the words, the last dimension")
def softmax_over_places(scores, targets):
    logprobs = scores.log_softmax(dim=1)
    return -logprobs.gather(-1, targets.unsqueeze(-1)).squeeze(-1)[targets != PAD].mean()


@mean_loss.trap("a loss is -log p: the logarithm is missing")
def no_logarithm(scores, targets):
    return -scores.softmax(-1).gather(-1, targets.unsqueeze(-1)).squeeze(-1)[targets != PAD].mean()


# --------------------------------------------------------------------------------------------------- split_perplexity


def loss_cases(dice: Dice) -> list[tuple]:
    """Mean losses of batches, and how many tokens each has; the first: 10 and 18 tokens."""
    first = ([1 + dice.random(), 3 + dice.random()], [10, 18])
    return [first, _some_batches(dice, 5), _some_batches(dice, 7)]


def _some_batches(dice, n):
    return [dice.random() * 4 + 0.5 for _ in range(n)], [dice.randint(5, 60) for _ in range(n)]


@task(NOTEBOOK, points=2, goal="The perplexity of a split from its batches", cases=loss_cases)
def split_perplexity(losses, tokens):
    """The mean loss of each batch, how many tokens each has -> the perplexity of all tokens together."""
    total = sum(loss * n for loss, n in zip(losses, tokens, strict=True))
    return math.exp(total / sum(tokens))


@split_perplexity.trap("a mean of exponentials: add first, then take the exponential once")
def mean_of_exponentials(losses, tokens):
    return sum(map(math.exp, losses)) / len(losses)


@split_perplexity.trap("a mean of exponentials, weighed by tokens: add the losses first, take the exponential once")
def weighed_mean_of_exponentials(losses, tokens):
    return sum(math.exp(loss) * n for loss, n in zip(losses, tokens, strict=True)) / sum(tokens)


@split_perplexity.trap("batches are not equally large: a batch of 10 words counts as much as one of 18 here")
def unweighted(losses, tokens):
    return math.exp(sum(losses) / len(losses))


@split_perplexity.trap("this is the mean loss: perplexity is e to it")
def no_exponential(losses, tokens):
    return math.log(split_perplexity.solution(losses, tokens))


@split_perplexity.trap("the losses are natural logarithms: their base is e, not 2")
def base_two(losses, tokens):
    return 2 ** math.log(split_perplexity.solution(losses, tokens))


@split_perplexity.trap("the losses are means already: the sum needs each one times its tokens")
def sum_of_means(losses, tokens):
    return math.exp(sum(losses) / sum(tokens))


# ---------------------------------------------------------------------------------------------------------- own_words


def coin_cases(dice: Dice) -> list[tuple]:
    """True words, the model's scores, coins on both sides of the ratio; then the ratios 1 and 0."""
    cases = []
    for ratio, half, vocabulary in ((0.6, 6, 11), (0.25, 8, 14), (1.0, 5, 11), (0.0, 4, 9)):
        coins = torch.cat([ratio * dice.uniforms(half), ratio + (1 - ratio) * dice.uniforms(half)]).clamp(0, 0.999)
        coins[0] = ratio if ratio < 1 else 0.5  # a coin may lie on the ratio itself
        coins = coins[torch.randperm(2 * half, generator=dice.generator)]
        truth = torch.randint(4, vocabulary, (2 * half,), generator=dice.generator)
        cases.append((truth, dice.normals(2 * half, vocabulary), coins, ratio))
    return cases


@task(NOTEBOOK, points=2, goal="The next inputs: true words, or the model's own (scheduled sampling)", cases=coin_cases)
def own_words(truth, scores, coins, ratio):
    """True words (B,), the model's scores for that place (B, V), a number in [0, 1) for each word (B,), the share of
    true words -> the words to give next (B,): the true one where its coin is below `ratio`, else the likeliest."""
    return torch.where(coins < ratio, truth, scores.argmax(-1))


@own_words.trap("the coin is reversed: with a ratio of 1 all words should be true ones")
def reversed_coin(truth, scores, coins, ratio):
    return torch.where(coins < ratio, scores.argmax(-1), truth)


@own_words.trap("the coin is reversed: with a ratio of 1 all words should be true ones")
def above_the_ratio(truth, scores, coins, ratio):
    return torch.where(coins > ratio, truth, scores.argmax(-1))


@own_words.trap("always the true words: that is teacher forcing, whatever the coins say")
def always_true(truth, scores, coins, ratio):
    return truth.clone()


@own_words.trap("always the model's own words: the true ones belong where the coin is below the ratio")
def always_own(truth, scores, coins, ratio):
    return scores.argmax(-1)


@own_words.trap("one decision for the whole batch: each word has a coin of its own")
def one_coin(truth, scores, coins, ratio):
    return truth if coins[0] < ratio else scores.argmax(-1)


@own_words.trap("the model's own word is the one with the *largest* score")
def smallest_score(truth, scores, coins, ratio):
    return torch.where(coins < ratio, truth, scores.argmin(-1))


@own_words.trap("the share of true words is `ratio`: this gives 1 - ratio of them")
def other_share(truth, scores, coins, ratio):
    return torch.where(coins < 1 - ratio, truth, scores.argmax(-1))


@own_words.trap("this is the place of the largest score of all: each row has its own likeliest word, argmax(-1)")
def one_word_for_all(truth, scores, coins, ratio):
    return torch.where(coins < ratio, truth, scores.argmax())


@own_words.trap("*below* the ratio, not at it: with a ratio of 0 no word is a true one, even where the coin is 0")
def at_the_ratio(truth, scores, coins, ratio):
    return torch.where(coins <= ratio, truth, scores.argmax(-1))


@own_words.observe
def one_decision(arguments, words):
    truth, scores, coins, ratio = arguments
    mixed = (coins < ratio).any() and (coins >= ratio).any()
    if mixed and (torch.equal(words, truth) or torch.equal(words, scores.argmax(-1))):
        return one_coin.sentence
    return None
