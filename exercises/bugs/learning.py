"""Spot the bug, 1 to 7: what a model is given, and how its learning is measured.

For each bug: what is right (`repair_1` …), the wrong code as the course shows it, its symptom in numbers, and repairs
that don't suffice. `exercises.symptom(number, function)` measures, `exercises.check_bug` judges a repair.
"""

from __future__ import annotations

import copy
import math
import random

import torch
from torch import nn
from torch.nn import functional as F

from exercises.pictures import caption_cases, leaks, lost_or_doubled, split_by_picture, wrong_share
from exercises.tasks import END, PAD, START, Dice, bug
from exercises.training import divided_by_all, mean_loss, target_cases

# ------------------------------------------------------------------------------------------------ 1: a split by caption


@bug(1, "0_Dataset", goal="validation is too good", cases=caption_cases, returns=("training", "held out"), unique=False)
def repair_1(captions, share):
    return split_by_picture.solution(captions, share)


@repair_1.starts_as("the mistake is still there: captions are dealt out, so that a picture comes into both parts")
def random_split(captions, share):
    """Pairs (image id, caption) and a share -> training and held-out pairs."""
    captions = random.sample(captions, len(captions))
    n = round(share * len(captions))
    return captions[n:], captions[:n]


repair_1.observations += [lost_or_doubled, leaks, wrong_share]


@repair_1.symptom_of("how many held-out captions describe a picture that is also in training")
def leaked_captions(function):
    captions, share = caption_cases(Dice(1))[0]
    training, held_out = function(list(captions), share)
    known = {picture for picture, _ in training}
    return {"leaked": sum(picture in known for picture, _ in held_out) / max(1, len(held_out))}


# ------------------------------------------------------------------------------- 2: a frozen network that still changes


def network_cases(dice: Dice) -> list[tuple]:
    """A small network with a batch-norm, and pictures."""
    convolution, norm = nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4)
    convolution.weight.data = dice.normals(4, 3, 3, 3)
    norm.running_mean = dice.normals(4)
    network = nn.Sequential(convolution, norm, nn.ReLU())
    return [(network.train(), 1 + dice.normals(n, 3, 8, 8)) for n in (4, 2)]


@bug(2, "1_Preliminaries", goal="a picture's features depend on the others in the batch", cases=network_cases)
def repair_2(network, images):
    for parameter in network.parameters():
        parameter.requires_grad_(False)
    network.eval()
    return network(images)


@repair_2.starts_as("the mistake is still there: batch-norm takes the statistics of the batch, though no weight learns")
def frozen_features(network, images):
    """A network that has learned, pictures (N, 3, H, W) -> features that must not change any more."""
    for parameter in network.parameters():
        parameter.requires_grad_(False)
    network.train()
    return network(images)


@repair_2.trap("one picture at a time is still a batch, of one: its own statistics are taken, not the learned ones")
def one_at_a_time(network, images):
    return torch.cat([network.train()(image[None]) for image in images])


@repair_2.trap("without the batch-norm these are other features: keep it, with the statistics that it has learned")
def without_batch_norm(network, images):
    return network[2](network[0](images))


@repair_2.symptom_of("how far a picture's features differ alone and in a batch, and what moved in the frozen network")
def features_alone(function):
    network, images = network_cases(Dice(1))[0]
    before = copy.deepcopy(network.state_dict())
    together, alone = function(network, images)[:1], function(network, images[:1])
    moved = sum(int((value != before[name]).sum()) for name, value in network.state_dict().items())
    return {"difference": float((together - alone).abs().mean() / together.abs().mean()), "numbers that moved": moved}


# ---------------------------------------------------------------------------------------- 3: channels taken for regions


def map_cases(dice: Dice) -> list[tuple]:
    """Feature maps (N, E, height, width)."""
    return [(dice.normals(2, 5, 3, 4),), (dice.normals(1, 8, 4, 4),)]


@bug(3, "1_Preliminaries", goal="one cell of the picture shows up in many regions", cases=map_cases)
def repair_3(features):
    return features.flatten(2).transpose(1, 2)


@repair_3.starts_as("the mistake is still there: reshape leaves the numbers in their order; move the channels last")
def regions_of(features):
    """A feature map (N, E, height, width) -> regions (N, R, E), row by row."""
    n, e, height, width = features.shape
    return features.reshape(n, height * width, e)


@repair_3.trap("the regions go column by column now: they should go row by row")
def column_by_column(features):
    return features.permute(0, 3, 2, 1).flatten(1, 2)


@repair_3.trap("that is (N, E, R): regions come before features, (N, R, E)")
def channels_first(features):
    return features.flatten(2)


@repair_3.symptom_of("a single cell of an 8 x 8 map is painted, in all its 64 channels")
def painted_cell(function):
    features = torch.zeros(1, 64, 8, 8)
    features[:, :, 2, 5] = 1
    return {"regions that change": int((function(features)[0] != 0).any(-1).sum())}


# ---------------------------------------------------------------------------------------------- 4: a random first state


def state_cases(dice: Dice) -> list[tuple]:
    """Regions (N, R, E) and a layer's weight (D, E)."""
    return [(dice.normals(3, 6, 5), dice.normals(4, 5)), (dice.normals(2, 4, 5), dice.normals(3, 5))]


@bug(4, "1_Preliminaries", goal="the same picture gets another caption each time", cases=state_cases)
def repair_4(regions, weight):
    return torch.tanh(regions.mean(1) @ weight.T)


@repair_4.starts_as("the mistake is still there: the first state is drawn at random, and knows nothing of the picture")
def first_state(regions, weight):
    """Regions (N, R, E) and a layer's weight (D, E) -> the decoder's first state (N, D), between -1 and 1."""
    return torch.randn(len(regions), len(weight))


@repair_4.trap("always the same now, but for all pictures alike: let the mean of its regions make the first state")
def zeros(regions, weight):
    return torch.zeros(len(regions), len(weight))


@repair_4.trap("the mean goes over the regions (dimension 1), not over the pictures or the features")
def mean_over_pictures(regions, weight):
    return torch.tanh(regions.mean(0) @ weight.T)[: len(regions)]


@repair_4.trap("the tanh is missing: a state lies between -1 and 1")
def no_tanh(regions, weight):
    return regions.mean(1) @ weight.T


@repair_4.symptom_of("the first word of ten runs on the same picture")
def first_words(function):
    regions, weight = state_cases(Dice(1))[0]
    scores = Dice(2).normals(len(weight), 12)
    said = {int((function(regions, weight)[0] @ scores).argmax()) for _ in range(10)}
    return {"different first words": len(said)}


# ------------------------------------------------------------------------------------------ 5: padding counts as a word


@bug(5, "2_Training", goal="the loss falls when captions are padded further", cases=target_cases)
def repair_5(scores, targets):
    return F.cross_entropy(scores.flatten(0, 1), targets.flatten(), ignore_index=PAD)


@repair_5.starts_as("the mistake is still there: the more padding, the smaller the loss; which cells are averaged?")
def batch_loss(scores, targets):
    """Scores (B, T, V), targets (B, T), 0 is <pad> -> the mean loss of a token."""
    return F.cross_entropy(scores.flatten(0, 1), targets.flatten())


repair_5.traps.append(divided_by_all)


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
    return [(captions,), (captions[:1],)]


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


@repair_6.symptom_of("how often a model is right that repeats the word it was given")
def repeating(function):
    inputs, targets = function(*repair_6.cases(Dice(1))[0])
    real = targets != PAD
    return {"share of real targets": float((inputs == targets)[real].float().mean())}


# ------------------------------------------------------------------------------- 7: a mean of the batches' perplexities


def token_cases(dice: Dice) -> list[tuple]:
    """The losses of all tokens of a split, in its order, and how many make a batch."""
    losses = [3 + 2 * math.sin(i / 4) + dice.random() for i in range(50)]
    return [(losses, size) for size in (8, 1, 64)]


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


@repair_7.trap("this is the mean loss: perplexity is e to it")
def no_exponential(losses, batch_size):
    return sum(losses) / len(losses)


@repair_7.symptom_of("the perplexity of the same tokens, by batch size")
def perplexity_by_batch(function):
    losses = token_cases(Dice(1))[0][0]
    return {str(size): float(function(list(losses), size)) for size in (1, 4, 16, 64)}
