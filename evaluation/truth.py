"""Is what a caption says of the drawn sample true: colours, numbers and places?

Comes in: the words of captions, by image id, and records whose objects have colours, as the drawn sample's have. Goes
out: shares over a split. What it does not know: models, tensors, attention; categories alone are in
evaluation/hallucination.py.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from dataset.records import Instance, Record
from evaluation.objects import COLORS, SIZES, Tokens, colored_objects, find_object_mentions

Captions = Mapping[int | str, Tokens]


@dataclass(frozen=True)
class Truthfulness:
    """Shares between 0 and 1 over a split, and means per caption.

    CHAIR-i is 1 - true_share, CHAIR-s is 1 - true_captions.
    """

    captions: int
    named: float  # (colour, category) pairs named per caption
    true_share: float  # of the pairs named, those in the picture
    true_captions: float  # of the captions, those whose pairs are all in the picture
    recall: float  # of the pairs in the pictures, those named


def truthfulness(captions: Captions, records: Iterable[Record]) -> Truthfulness:
    """Are the (colour, category) pairs that captions name in their pictures?

    `captions` is image id -> words; `records` have instances whose `attributes["color"]` is known, as the drawn
    sample's have. A pair counts once per caption. CHAIR-i and CHAIR-s (Rohrbach et al. 2018, eq. 1-2) with colour
    added. Raises ValueError if no caption belongs to any of the records.
    """
    named = true = true_captions = real = recalled = count = 0
    for record, tokens in _captioned(captions, records):
        pairs = {(i.attributes.get("color"), i.category) for i in record.instances}
        said = colored_objects(tokens)
        count, named, true = count + 1, named + len(said), true + len(said & pairs)
        true_captions += said <= pairs
        real, recalled = real + len(pairs), recalled + len(said & pairs)
    if not count:
        raise ValueError("no caption belongs to any of the records: are they of the same split?")
    return Truthfulness(count, named / count, true / max(named, 1), true_captions / count, recalled / max(real, 1))


NUMBERS = {("two",): 2, ("a", "pair", "of"): 2, ("three",): 3, ("a", "group", "of"): 3}
RELATIONS = {
    ("above",): "above",
    ("below",): "below",
    ("left", "of"): "left",
    ("right", "of"): "right",
    ("next", "to"): "next to",
}


def count_accuracy(captions: Captions, records: Iterable[Record]) -> tuple[float, int]:
    """Where a caption counts ("two red kites", "a group of men in blue"): (share that is right, how many it counts).

    Comes in: as for `truthfulness`. A group is three, as the drawn sample's people have it. Things named without a
    colour are left out.
    """
    right = said = 0
    for record, tokens in _captioned(captions, records):
        there = Counter((i.attributes.get("color"), i.category) for i in record.instances)
        for mention in find_object_mentions(tokens):
            start = mention.start
            while start and tokens[start - 1] in COLORS | SIZES:
                start -= 1
            before = tuple(tokens[:start])
            number = next((n for words, n in NUMBERS.items() if before[-len(words) :] == words), None)
            if mention.color and number:
                said, right = said + 1, right + (there[mention.color, mention.category] == number)
    return right / max(said, 1), said


def relation_accuracy(captions: Captions, records: Iterable[Record]) -> tuple[float, int]:
    """Where a caption relates two things ("a red kite above a boat"): (share that is right, how many it relates).

    Comes in: as for `truthfulness`, and records that know their size. Two centres lie apart across and down: above and
    below are true if the way down is the longer one, left and right if the way across is. "Next to" is true of things
    side by side, if both the gap between them and the height between their centres are at most a seventh of the
    picture. A thing that is not in the picture is in no relation. Things named without a colour are left out.
    """
    right = said = 0
    for record, tokens in _captioned(captions, records):
        for a, b in pairwise(find_object_mentions(tokens)):
            between = tuple(tokens[a.end : b.start])
            relation = next((name for words, name in RELATIONS.items() if _holds(between, words)), None)
            if relation and a.color and b.color:
                first, second = (_extent(record.instances, m.color, m.category) for m in (a, b))
                said += 1
                right += bool(first and second and _related(first, second, relation, record.width / 7))
    return right / max(said, 1), said


def _captioned(captions: Captions, records: Iterable[Record]) -> Iterator[tuple[Record, Tokens]]:
    """The records that have a caption, with its words."""
    return ((record, captions[record.image_id]) for record in records if record.image_id in captions)


def _holds(tokens: tuple[str, ...], words: tuple[str, ...]) -> bool:
    return any(tokens[i : i + len(words)] == words for i in range(len(tokens)))


def _extent(
    instances: Iterable[Instance], color: str | None, category: str
) -> tuple[float, float, float, float] | None:
    """The box (left, top, right, bottom) around all things of this colour and category; None without any."""
    boxes = [i.box for i in instances if (i.attributes.get("color"), i.category) == (color, category)]
    if not boxes:
        return None
    x, y, width, height = np.array(boxes).T
    return x.min(), y.min(), (x + width).max(), (y + height).max()


def _related(a: Sequence[float], b: Sequence[float], relation: str, near: float) -> bool:
    across, down = (b[0] + b[2] - a[0] - a[2]) / 2, (b[1] + b[3] - a[1] - a[3]) / 2  # from a's centre to b's
    if relation == "next to":
        return 0 <= max(b[0] - a[2], a[0] - b[2]) <= near and abs(down) <= near
    far = {"above": down, "below": -down, "left": across, "right": -across}[relation]
    return 0 < max(abs(across), abs(down)) == far
