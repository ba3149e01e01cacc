"""Spot the bug, 1 to 4: what a model is given, from the split of the data to its first state.

For each bug: what is right (`repair_1` …), the wrong code as the course shows it, its symptom in numbers, and repairs
that don't suffice. `exercises.symptom(number, function)` measures, `exercises.check_bug` judges a repair.
"""

from __future__ import annotations

import copy
import random

import torch
from torch import nn

from exercises.pictures import caption_cases, leaks, lists_exchanged, lost_or_doubled, split_by_picture, wrong_share
from exercises.tasks import Dice, bug

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


repair_1.observations += [lost_or_doubled, leaks, lists_exchanged, wrong_share]


@repair_1.symptom_of("the share of the held-out captions whose picture is also in training")
def leaked_captions(function):
    captions, share = caption_cases(Dice(1))[0]
    training, held_out = function(list(captions), share)
    known = {picture for picture, _ in training}
    return {"leaked": sum(picture in known for picture, _ in held_out) / max(1, len(held_out))}


# ------------------------------------------------------------------------------- 2: a frozen network that still changes


def network_cases(dice: Dice) -> list[tuple]:
    """A small network with a batch-norm, and pictures."""
    cases = []
    for channels, pictures, height, width in ((4, 4, 8, 8), (5, 2, 6, 9)):
        convolution, norm = nn.Conv2d(3, channels, 3, bias=False), nn.BatchNorm2d(channels)
        convolution.weight.data = dice.normals(channels, 3, 3, 3)
        norm.running_mean = dice.normals(channels)
        network = nn.Sequential(convolution, norm, nn.ReLU())
        cases.append((network.train(), 1 + dice.normals(pictures, 3, height, width)))
    return cases


@bug(2, "1_Preliminaries", goal="a picture's features depend on the others in the batch", cases=network_cases)
def repair_2(network, images):
    for parameter in network.parameters():
        parameter.requires_grad_(False)
    network.eval()
    return network(images)


@repair_2.starts_as("the mistake is still there: no weight learns any more, but which layer looks at the whole batch?")
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
    together, alone = function(network, images)[:1].detach(), function(network, images[:1]).detach()
    moved = sum(int((value != before[name]).sum()) for name, value in network.state_dict().items())
    difference = float((together - alone).abs().mean() / together.abs().mean())
    return {"difference": difference, "running statistics that moved": moved}


# ---------------------------------------------------------------------------------------- 3: channels taken for regions


def map_cases(dice: Dice) -> list[tuple]:
    """Feature maps (N, E, height, width)."""
    return [(dice.normals(2, 5, 3, 4),), (dice.normals(1, 8, 4, 5),)]


@bug(3, "1_Preliminaries", goal="one cell of the picture shows up in many regions", cases=map_cases)
def repair_3(features):
    return features.flatten(2).transpose(1, 2)


@repair_3.starts_as("the mistake is still there: which numbers are neighbours in memory, a region's or a channel's?")
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


@repair_3.trap("only channels and rows have changed places: a region's numbers are still those of many columns")
def rows_before_channels(features):
    n, e, height, width = features.shape
    return features.transpose(1, 2).reshape(n, height * width, e)


@repair_3.trap("the regions run backwards: number 0 should be the top left corner")
def backwards(features):
    return repair_3.solution(features).flip(1)


@repair_3.symptom_of("the cell in row 2, column 5 of an 8 x 8 map is painted, in all its 64 channels: region 21")
def painted_cell(function):
    features = torch.zeros(1, 64, 8, 8)
    features[:, :, 2, 5] = 1
    changed = (function(features)[0] != 0).any(-1).nonzero().flatten().tolist()
    return {"regions that change": len(changed), "the first of them": min(changed, default="none")}


# ---------------------------------------------------------------------------------------------- 4: a random first state


def state_cases(dice: Dice) -> list[tuple]:
    """Regions (N, R, E), of which the last are the first picture's again, and a layer's weight (D, E)."""
    cases = []
    for pictures, regions, numbers, size in ((2, 6, 5, 4), (1, 4, 7, 3)):
        seen = 2 * dice.normals(pictures, regions, numbers)
        cases.append((torch.cat([seen, seen[:1]]), dice.normals(size, numbers)))
    return cases


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
    return torch.tanh(regions.mean(0) @ weight.T)


@repair_4.trap("the tanh is missing: a state lies between -1 and 1")
def no_tanh(regions, weight):
    return regions.mean(1) @ weight.T


@repair_4.trap("first the mean, then the tanh: here each region goes through the tanh")
def tanh_before_mean(regions, weight):
    return torch.tanh(regions @ weight.T).mean(1)


@repair_4.trap("the sum grows with the number of regions: take their mean")
def sum_of_regions(regions, weight):
    return torch.tanh(regions.sum(1) @ weight.T)


@repair_4.trap("a sigmoid lies between 0 and 1, a state between -1 and 1: which function does?")
def sigmoid(regions, weight):
    return torch.sigmoid(regions.mean(1) @ weight.T)


@repair_4.trap("only the first region is used, a corner of the picture: all of them should have their say")
def first_region(regions, weight):
    return torch.tanh(regions[:, 0] @ weight.T)


@repair_4.trap("clamp cuts off what is beyond -1 and 1, so that it is all alike: tanh keeps the differences")
def clamped(regions, weight):
    return (regions.mean(1) @ weight.T).clamp(-1, 1)


@repair_4.observe
def drawn_for_each_row(arguments, states):
    if not torch.allclose(states[0], states[-1], atol=1e-4):
        return "the same picture is twice in this batch, with two first states: does yours look at the regions?"
    return None


@repair_4.symptom_of("the first word of ten runs on the same picture; and are two pictures told apart?")
def first_words(function):
    regions, weight = state_cases(Dice(1))[0]
    scores = Dice(2).normals(len(weight), 12)
    said = {int((function(regions, weight)[0] @ scores).argmax()) for _ in range(10)}
    one, other = function(regions[:1], weight), function(regions[1:2], weight)
    alike = "how far two pictures' first states differ"
    return {"different first words": len(said), alike: float((one - other).abs().mean())}
