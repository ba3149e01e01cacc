"""A task of 3_Inference, the pointing game: is attention's peak on the thing?"""

from __future__ import annotations

import math

import torch

from exercises.tasks import Dice, task

NOTEBOOK = "3_Inference"


def look_cases(dice: Dice) -> list[tuple]:
    """Weights over 4 x 4 and 3 x 3 regions. First each region is one word's peak, and the mask is a rectangle, on whose
    edge regions lie in part; then masks of noise, so that each pixel tells where the answer looked."""
    peaks = torch.eye(16)[torch.randperm(16, generator=dice.generator)]
    peaks[:, -1] += 0.5  # the strongest region of all words together is off the thing
    rectangle = torch.zeros(48, 64, dtype=torch.bool)
    rectangle[:20, :40] = True
    return [
        ((2 * peaks + dice.uniforms(16, 16)).softmax(-1), rectangle),
        (dice.uniforms(9, 16).softmax(-1), dice.uniforms(48, 64) < 0.5),
        (dice.uniforms(20, 9).softmax(-1), (dice.uniforms(30, 60) < 0.5).T),
    ]


@task(NOTEBOOK, points=3, goal="The pointing game: is attention's peak on the thing?", cases=look_cases)
def peak_hits(weights, mask):
    """Weights (T, R) of T words over a square grid of R regions, row by row; the thing's mask (height, width) ->
    for each word whether the centre of its strongest region is on the thing (T,), truth values."""
    side = math.isqrt(weights.shape[1])
    peak = weights.argmax(-1)  # (T,)
    row, column = peak // side, peak % side
    height, width = mask.shape
    return mask[((row + 0.5) * height / side).long(), ((column + 0.5) * width / side).long()]


def _hits(weights, mask, *, shift=0.5, swap=False, choose=torch.argmax, dim=-1):
    side = math.isqrt(weights.shape[1])
    peak = choose(weights, dim)
    row, column = (peak % side, peak // side) if swap else (peak // side, peak % side)
    return mask[((row + shift) * mask.shape[0] / side).long(), ((column + shift) * mask.shape[1] / side).long()]


@peak_hits.trap("row and column have changed places: the regions go row by row, so the row is peak // side")
def swapped(weights, mask):
    return _hits(weights, mask, swap=True)


@peak_hits.trap("this is the region's upper left corner: take its *centre*, half a region further")
def corner(weights, mask):
    return _hits(weights, mask, shift=0.0)


@peak_hits.trap("the peak is the region with the *largest* weight")
def faintest(weights, mask):
    return _hits(weights, mask, choose=torch.argmin)


@peak_hits.trap("one answer for all words: each word has its own peak, take the argmax over the regions only")
def one_for_all(weights, mask):
    return _hits(weights.mean(0, keepdim=True), mask).expand(len(weights))


@peak_hits.trap("one answer for all words: each word has its own peak, take the argmax over the regions only")
def peak_of_all(weights, mask):
    return _hits(weights, mask, dim=None)


@peak_hits.trap(
    "argmax(0) asks which word looks most at a region: the peak of each word is its argmax over the regions"
)
def word_of_region(weights, mask):
    return _hits(weights, mask, dim=0)


@peak_hits.trap("the *centre* must be on the thing, not just any part of the region")
def any_part(weights, mask):
    side, (height, width) = math.isqrt(weights.shape[1]), mask.shape
    tiles = mask.reshape(side, height // side, side, width // side).any(3).any(1)
    return tiles.flatten()[weights.argmax(-1)]


@peak_hits.trap(
    "height and width have changed places: a row's pixel is found with the height, and stands first in mask[]"
)
def height_for_width(weights, mask):
    return _hits_in(weights, mask, mask.shape[1], mask.shape[0])


def _hits_in(weights, mask, height, width):
    """The answer if the mask were of this height and width; it may lie outside."""
    side = math.isqrt(weights.shape[1])
    row, column = weights.argmax(-1) // side, weights.argmax(-1) % side
    return mask[((row + 0.5) * height / side).long(), ((column + 0.5) * width / side).long()]


@peak_hits.trap(
    "height and width have changed places: a row's pixel is found with the height, and stands first in mask[]"
)
def column_first(weights, mask):
    side, (height, width) = math.isqrt(weights.shape[1]), mask.shape
    row, column = weights.argmax(-1) // side, weights.argmax(-1) % side
    return mask[((column + 0.5) * width / side).long(), ((row + 0.5) * height / side).long()]


@peak_hits.trap("the height is taken for both: a column's pixel is found with the mask's width, mask.shape[1]")
def height_for_both(weights, mask):
    return _hits_in(weights, mask, mask.shape[0], mask.shape[0])


@peak_hits.trap("the width is taken for both: a row's pixel is found with the mask's height, mask.shape[0]")
def width_for_both(weights, mask):
    return _hits_in(weights, mask, mask.shape[1], mask.shape[1])


@peak_hits.observe
def all_alike(arguments, hits):
    if len(hits) == len(arguments[0]) and len({bool(hit) for hit in hits}) == 1:
        return "every word gets the same answer: look up the region at which each of them looks most"
    return None
