"""Is what a caption says of the drawn sample true: things, colours, numbers and places?

Comes in: the words of captions, by image id, and records whose objects have colours, as the drawn sample's have. Goes
out: what each caption claims, word by word, and shares over a split. What it does not know: the ground, the sky and the
weather that captions name; models, tensors, attention. Categories alone are in evaluation/hallucination.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, NamedTuple

import numpy as np

from dataset.records import Instance, Record
from evaluation.objects import COLORS, SIZES, Mention, Tokens, colored_objects, find_object_mentions

Captions = Mapping[int | str, Tokens]


NUMBERS = {("one",): 1, ("two",): 2, ("a", "pair", "of"): 2, ("three",): 3, ("a", "group", "of"): 3}
RELATIONS = {
    ("above",): "above",
    ("below",): "below",
    ("left", "of"): "left",
    ("right", "of"): "right",
    ("next", "to"): "next to",
}


class Claim(NamedTuple):
    """Something that a caption says and that can be checked: of which kind, by which of its words, is it true?"""

    kind: Literal["thing", "color", "number", "place"]
    words: tuple[int, ...]  # places in the caption, from 0
    right: bool


def claims(tokens: Tokens, record: Record) -> list[Claim]:
    """All that a caption says of a record's things: that they are there, their colours, numbers and places.

    What is not annotated is not judged: colours and places are where the record's things have colours, as the drawn
    sample's. "A red kite" is true of two red kites, too; "one" and "two" are not true of three. Of things named without
    a colour, or whose colour nobody knows, there must be at least so many.
    """
    found: list[Claim] = []
    for mention in find_object_mentions(tokens) if record.instances else ():
        same = [i for i in record.instances if i.category == mention.category]
        colors = [i.attributes.get("color") for i in same]
        found.append(Claim("thing", tuple(range(mention.start, mention.end)), bool(colors)))
        color = None if None in colors else mention.color
        if color:
            found.append(Claim("color", (_place_of(color, tokens, mention),), color in colors))
        if number := _number(tokens, mention):
            words, count = number
            enough = len(same) >= count or any(i.crowd for i in same)  # a crowd is one annotation of many
            found.append(Claim("number", words, colors.count(color) == count if color else enough))
    return found + list(_places(tokens, record))


@dataclass(frozen=True)
class Truthfulness:
    """Shares between 0 and 1 over a split, and means per caption. CHAIR-i, with colour added, is 1 - true_share."""

    captions: int
    named: float  # (colour, category) pairs named per caption
    true_share: float  # of the pairs named, those in the picture
    true_captions: float  # of the captions, those in which all claims are true: things, colours, numbers and places
    recall: float  # of the pairs in the pictures, those named


def truthfulness(captions: Captions, records: Iterable[Record]) -> Truthfulness:
    """Are the (colour, category) pairs that captions name in their pictures, and is all true that they claim?

    `captions` is image id -> words; `records` have instances whose `attributes["color"]` is known, as the drawn
    sample's have. A pair counts once per caption: CHAIR-i (Rohrbach et al. 2018, eq. 1) with colour added. Raises
    ValueError if no caption belongs to any of the records.
    """
    named = true = true_captions = real = recalled = count = 0
    for record, tokens in _captioned(captions, records):
        pairs = {(i.attributes.get("color"), i.category) for i in record.instances}
        said = colored_objects(tokens)
        count, named, true = count + 1, named + len(said), true + len(said & pairs)
        true_captions += said <= pairs and all(claim.right for claim in claims(tokens, record))
        real, recalled = real + len(pairs), recalled + len(said & pairs)
    if not count:
        raise ValueError("no caption belongs to any of the records: are they of the same split?")
    return Truthfulness(count, named / count, true / max(named, 1), true_captions / count, recalled / max(real, 1))


def count_accuracy(captions: Captions, records: Iterable[Record]) -> tuple[float, int]:
    """Where a caption counts ("two red kites", "a group of men in blue"): (share that is right, how many it counts).

    Comes in: as for `truthfulness`; what is right: as in `claims`. A group is three, as the drawn sample's people have
    it.
    """
    return _accuracy(captions, records, "number")


def relation_accuracy(captions: Captions, records: Iterable[Record]) -> tuple[float, int]:
    """Where a caption relates two things ("a red kite above a boat"): (share that is right, how many it relates).

    Comes in: as for `truthfulness`, and records that know their size. Two centres lie apart across and down: above and
    below are true if the way down is the longer one, left and right if the way across is. "Next to" is true of things
    side by side, if both the gap between them and the height between their centres are at most a seventh of the
    picture. A thing that is not in the picture is in no relation. Things named without a colour are left out.
    """
    return _accuracy(captions, records, "place")


def _accuracy(captions: Captions, records: Iterable[Record], kind: str) -> tuple[float, int]:
    made = [claim for record, tokens in _captioned(captions, records) for claim in claims(tokens, record)]
    right = [claim.right for claim in made if claim.kind == kind]
    return sum(right) / max(len(right), 1), len(right)


def _place_of(color: str, tokens: Tokens, mention: Mention) -> int:
    """Where a mention's colour stands: before the noun, or after it, as in "a man in blue"."""
    return min((i for i, word in enumerate(tokens) if word == color), key=lambda i: abs(i - mention.start))


def _number(tokens: Tokens, mention: Mention) -> tuple[tuple[int, ...], int] | None:
    """The places of the words that count a mention, before its colour and size, and the number that they say."""
    start = mention.start
    while start and tokens[start - 1] in COLORS | SIZES:
        start -= 1
    for words, number in NUMBERS.items():
        if tuple(tokens[max(start - len(words), 0) : start]) == words:
            return tuple(range(start - len(words), start)), number
    return None


def _places(tokens: Tokens, record: Record) -> Iterator[Claim]:
    """The relations that a caption states between things which it names one after the other."""
    if not record.width or None in (i.attributes.get("color") for i in record.instances):
        return
    for a, b in pairwise(find_object_mentions(tokens)):
        between = tuple(tokens[a.end : b.start])
        words = next((words for words in RELATIONS if _place_in(between, words) is not None), None)
        if words and a.color and b.color:
            first, second = (_extent(record.instances, m.color, m.category) for m in (a, b))
            right = bool(first and second and _related(first, second, RELATIONS[words], record.width / 7))
            start = a.end + (_place_in(between, words) or 0)
            yield Claim("place", tuple(range(start, start + len(words))), right)


def _captioned(captions: Captions, records: Iterable[Record]) -> Iterator[tuple[Record, Tokens]]:
    """The records that have a caption, with its words."""
    return ((record, captions[record.image_id]) for record in records if record.image_id in captions)


def _place_in(tokens: tuple[str, ...], words: tuple[str, ...]) -> int | None:
    return next((i for i in range(len(tokens)) if tokens[i : i + len(words)] == words), None)


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
