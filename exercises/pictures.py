"""Tasks of 0_Dataset: masks from run lengths, a split that does not leak, what two captions both name."""

from __future__ import annotations

import math
import random
from itertools import accumulate

import numpy as np

from exercises.tasks import Dice, task

NOTEBOOK = "0_Dataset"


# ------------------------------------------------------------------------------------------------------- mask_of_runs


def run_cases(dice: Dice) -> list[tuple]:
    """Run lengths of masks that are no squares; the second begins inside, with a first run of 0."""
    cases = []
    for first, (height, width) in ((dice.randint(3, 9), (5, 8)), (0, (7, 4)), (8, (9, 11))):
        runs = [first]
        while sum(runs) < height * width:
            runs.append(min(dice.randint(1, 6), height * width - sum(runs)))
        cases.append((runs, height, width))
    return cases


@task(NOTEBOOK, points=2, goal="Run lengths -> a mask (height, width)", cases=run_cases)
def mask_of_runs(runs, height, width):
    """How many pixels are outside, inside, outside …, column by column -> a mask (height, width) of truth values."""
    inside = np.arange(len(runs)) % 2 == 1  # every second run
    pixels = np.repeat(inside, runs)  # one column after the other
    return pixels.reshape(width, height).T


@mask_of_runs.trap("the runs go down the columns, one column after the other, not along the rows")
def row_by_row(runs, height, width):
    return np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(height, width)


@mask_of_runs.trap("the first run is outside: inside and outside are exchanged")
def starts_inside(runs, height, width):
    return ~mask_of_runs.solution(runs, height, width)


@mask_of_runs.trap("that is the mask's transpose, (width, height): the rows should be the picture's rows")
def columns_as_rows(runs, height, width):
    return mask_of_runs.solution(runs, height, width).T


# --------------------------------------------------------------------------------------------------- split_by_picture


def caption_cases(dice: Dice) -> list[tuple]:
    """Captions of 40, 30 and 200 pictures, three to seven each, in a mixed order.

    The share of the captions ends within a picture, counted from the first or from the last. Of many pictures some are
    drawn twice for certain, if they are drawn with replacement.
    """
    cases = []
    for pictures, share in ((40, 0.1), (30, 0.2), (200, 0.4)):
        numbers = [5] * pictures
        while _ends_at(share, numbers) or _ends_at(share, numbers[::-1]):
            numbers = [dice.randint(3, 7) for _ in range(pictures)]
        captions = [(100 + i, f"caption {k} of picture {100 + i}") for i, n in enumerate(numbers) for k in range(n)]
        dice.shuffle(captions)
        cases.append((captions, share))
    return cases


def _ends_at(share: float, numbers: list[int]) -> bool:
    """Is this share of all captions, rounded up or down, just that of the first pictures?"""
    cut = share * sum(numbers)
    return not {math.floor(cut), math.ceil(cut)}.isdisjoint(accumulate(numbers))


@task(
    NOTEBOOK,
    points=2,
    goal="(image id, caption) pairs -> training and held-out pairs that share no picture",
    cases=caption_cases,
    returns=("training", "held out"),
    unique=False,
)
def split_by_picture(captions, share):
    """Pairs (image id, caption) -> two lists of pairs, training and held out; `share` of the pictures is held out."""
    pictures = sorted({picture for picture, _ in captions})
    random.Random(0).shuffle(pictures)  # files are often in an order; a seed makes every split the same
    held_out = set(pictures[: round(share * len(pictures))])
    return [c for c in captions if c[0] not in held_out], [c for c in captions if c[0] in held_out]


@split_by_picture.observe
def lost_or_doubled(arguments, parts):
    training, held_out = parts
    if sorted([*training, *held_out]) != sorted(arguments[0]):
        return "every pair should be in exactly one of the two lists: some are lost, doubled or changed"
    return None


@split_by_picture.observe
def leaks(arguments, parts):
    training, held_out = parts
    known = {picture for picture, _ in training}
    leaked = sum(picture in known for picture, _ in held_out)
    if leaked:
        return f"{leaked / len(held_out):.0%} of the held-out captions leaked: their pictures are in training, too"
    return None


@split_by_picture.observe
def lists_exchanged(arguments, parts):
    captions, share = arguments
    asked = round(share * len({picture for picture, _ in captions}))
    if abs(len({picture for picture, _ in parts[0]}) - asked) <= 1:
        return "the two lists are exchanged: first what is for training, then what is held out"
    return None


@split_by_picture.observe
def wrong_share(arguments, parts):
    captions, share = arguments
    asked = round(share * len({picture for picture, _ in captions}))
    found = len({picture for picture, _ in parts[1]})
    if abs(found - asked) > 1:
        return f"a share of {share} was asked, {asked} pictures; {found} are held out"
    return None


# -------------------------------------------------------------------------------------------------------- named_again


def name_cases(dice: Dice) -> list[tuple]:
    """Pairs of lists with common names and repeats; a name within another; then an empty list."""
    names = ["dog", "cat", "kite", "ball", "boat", "tree", "clock"]
    cases: list[tuple] = []
    while len(cases) < 4:
        a, b = dice.sample(names, dice.randint(3, 4)), dice.sample(names, dice.randint(4, 6))
        common = [name for name in a if name in b]
        if 0 < len(common) < len(a):
            cases.append((a + 5 * common[:1], b))
    return [*cases, (["dog", "cat"], ["hot dog", "cat", "tree"]), (["dog"], []), ([], ["dog"])]


@task(NOTEBOOK, points=1, goal="What share of the things that a names does b name, too?", cases=name_cases)
def named_again(a, b):
    """Two captions' names of things, with repeats -> the share of a's things that b names; 0 if a names none."""
    a, b = set(a), set(b)
    return len(a & b) / len(a) if a else 0.0


@named_again.trap("divide by what *a* names: this divides by all that either of them names")
def jaccard(a, b):
    return len(set(a) & set(b)) / len(set(a) | set(b))


@named_again.trap("a thing named twice counts twice here: use sets")
def with_repeats(a, b):
    return sum(name in b for name in a) / len(a) if a else 0.0


@named_again.trap("divide by the number of *different* things that a names, len(set(a))")
def divided_by_mentions(a, b):
    return len(set(a) & set(b)) / len(a) if a else 0.0


@named_again.trap("this is the share of a's things that b does *not* name")
def not_named(a, b):
    return len(set(a) - set(b)) / len(set(a)) if a else 0.0


@named_again.trap("divide by what *a* names: this divides by what b names")
def share_of_b(a, b):
    return len(set(a) & set(b)) / len(set(b))


@named_again.trap("a caption that names nothing has no share: return 0 for it")
def no_names(a, b):
    return len(set(a) & set(b)) / len(set(a))
