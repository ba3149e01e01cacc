"""Is the caption true, and did the model look at what it named?

Comes in: captions as text, records with annotated objects (dataset/records.py), attention maps as arrays. Goes out:
numbers. What it does not know: models, tensors, files.

Truth: the objects that a caption names against the objects that are there (CHAIR; Rohrbach et al. 2018, arXiv
1809.02156). Grounding: does attention's peak fall inside the mask of the thing named (the pointing game; Zhang et al.
2016)?
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from vocabulary import tokenize

# What people call COCO's categories. Plurals and the category's own name are added below; "hot dog" before "dog": the
# longest name wins.
SYNONYMS = {
    "person": "man woman men women boy girl child children kid guy lady people player rider surfer skier snowboarder "
    "skateboarder skater baby toddler gentleman pedestrian",
    "bicycle": "bike",
    "car": "automobile van suv taxi cab sedan minivan",
    "motorcycle": "motorbike scooter moped",
    "airplane": "plane aeroplane aircraft jet airliner",
    "bus": "",
    "train": "locomotive tram trolley",
    "truck": "lorry pickup",
    "boat": "ship sailboat canoe kayak ferry yacht",
    "traffic light": "stoplight",
    "fire hydrant": "hydrant",
    "stop sign": "",
    "parking meter": "",
    "bench": "",
    "bird": "pigeon seagull duck parrot owl goose geese gull crow sparrow swan",
    "cat": "kitten kitty",
    "dog": "puppy pup",
    "horse": "pony foal",
    "sheep": "lamb ram ewe",
    "cow": "cattle calf bull ox",
    "elephant": "",
    "bear": "panda",
    "zebra": "",
    "giraffe": "",
    "backpack": "rucksack",
    "umbrella": "parasol",
    "handbag": "purse",
    "tie": "necktie",
    "suitcase": "luggage",
    "frisbee": "",
    "skis": "ski",
    "snowboard": "",
    "sports ball": "ball baseball football basketball",
    "kite": "",
    "baseball bat": "bat",
    "baseball glove": "mitt glove",
    "skateboard": "",
    "surfboard": "",
    "tennis racket": "racket racquet",
    "bottle": "",
    "wine glass": "wineglass",
    "cup": "mug",
    "fork": "",
    "knife": "",
    "spoon": "",
    "bowl": "",
    "banana": "",
    "apple": "",
    "sandwich": "burger hamburger",
    "orange": "",
    "broccoli": "",
    "carrot": "",
    "hot dog": "hotdog",
    "pizza": "",
    "donut": "doughnut",
    "cake": "cupcake",
    "chair": "stool armchair",
    "couch": "sofa",
    "potted plant": "houseplant",
    "bed": "",
    "dining table": "table desk",
    "toilet": "",
    "tv": "television monitor",
    "laptop": "",
    "mouse": "",
    "remote": "",
    "keyboard": "",
    "cell phone": "phone cellphone",
    "microwave": "",
    "oven": "stove",
    "toaster": "",
    "sink": "",
    "refrigerator": "fridge",
    "book": "",
    "clock": "",
    "vase": "",
    "scissors": "",
    "teddy bear": "teddy",
    "hair drier": "",
    "toothbrush": "",
}
COLORS = frozenset(
    ("red", "orange", "yellow", "green", "blue", "purple", "pink", "brown", "black", "white", "gray", "grey")
)
SIZES = frozenset(("small", "little", "tiny", "large", "big", "huge"))
CLOTHING = (("in",), ("wearing",), ("dressed", "in"))  # "a man in blue": the colour of the clothes


IRREGULAR = {"knife": "knives", "calf": "calves", "ox": "oxen"}


def _plural(noun: str) -> str:
    if noun in IRREGULAR:
        return IRREGULAR[noun]
    if noun.endswith(("s", "sh", "ch", "x")):
        return noun + "es"
    if noun.endswith("y") and noun[-2] not in "aeiou":
        return noun[:-1] + "ies"
    return noun + "s"


def _names() -> dict[tuple[str, ...], str]:
    names = {}
    for category, synonyms in SYNONYMS.items():
        for noun in (category, *synonyms.split()):
            names[tuple(noun.split())] = category
            names[tuple(_plural(noun).split())] = category
    return names


NAMES = _names()  # ("hot", "dogs") -> "hot dog"
LONGEST = max(map(len, NAMES))


class Mention(NamedTuple):
    """A COCO category named in a caption: tokens[start:end] are its noun; the colour said of it, if any."""

    category: str
    color: str | None
    start: int
    end: int


def find_object_mentions(tokens: Sequence[str]) -> list[Mention]:
    """The COCO categories that a caption's tokens name, in order, with their colours.

    "Orange" is the fruit only where it is not a colour: of a noun that follows, or of clothes.
    """
    tokens = tuple(tokens)
    found, i = [], 0
    while i < len(tokens):
        length = _noun(tokens, i)
        if length and not (tokens[i] == "orange" and _is_adjective(tokens, i)):
            noun = tokens[i : i + length]
            found.append(Mention(NAMES[noun], _color(tokens, i, i + length), i, i + length))
        i += max(length, 1)
    return found


def _noun(tokens: tuple[str, ...], i: int) -> int:
    """How many tokens the name of a category at place i has, the longest there is; 0 for none."""
    lengths = range(min(LONGEST, len(tokens) - i), 0, -1)
    return next((length for length in lengths if tokens[i : i + length] in NAMES), 0)


def _is_adjective(tokens: tuple[str, ...], i: int) -> bool:
    after = i + 1
    while after < len(tokens) and tokens[after] in COLORS | SIZES | {"and"}:  # "an orange and white cat"
        after += 1
    followed = after < len(tokens) and tokens[after - 1] != "and" and _noun(tokens, after) > 0
    return followed or tokens[max(i - 1, 0) : i] in (("in",), ("wearing",))


def _color(tokens: tuple[str, ...], start: int, end: int) -> str | None:
    i = start - 1
    while i >= 0 and tokens[i] in COLORS | SIZES:
        if tokens[i] in COLORS:
            return tokens[i]
        i -= 1
    if NAMES[tokens[start:end]] == "person":
        for words in CLOTHING:
            color = tokens[end + len(words) : end + len(words) + 1]
            if tokens[end : end + len(words)] == words and color and color[0] in COLORS:
                return color[0]
    return None


@dataclass(frozen=True)
class Truthfulness:
    """Shares between 0 and 1 over a split, and means per caption.

    CHAIR-i is 1 - true_share, CHAIR-s is 1 - true_captions.
    """

    captions: int
    named: float  # (colour, category) pairs named per caption
    named_by_people: float  # the same in the references
    true_share: float  # of the pairs named, those in the picture
    true_captions: float  # of the captions, those that name no pair that is not in the picture
    recall: float  # of the pairs in the picture, those named


def truthfulness(captions: Mapping, records: Iterable) -> Truthfulness:
    """Are the (colour, category) pairs that captions name in their pictures?

    `captions` is image id -> caption; `records` have instances whose `attributes["color"]` is known, as the drawn
    sample's have. A pair counts once per caption. CHAIR-i and CHAIR-s (Rohrbach et al. 2018, eq. 1-2) with colour
    added.
    """
    named = true = honest = there = recalled = by_people = references = count = 0
    for record in records:
        if record.image_id not in captions:
            continue
        real = {(i.attributes.get("color"), i.category) for i in record.instances}
        said = colored_objects(captions[record.image_id])
        count, named, true = count + 1, named + len(said), true + len(said & real)
        honest += said <= real
        there, recalled = there + len(real), recalled + len(said & real)
        by_people += sum(len(colored_objects(caption)) for caption in record.captions)
        references += len(record.captions)
    if not count:
        raise ValueError("no caption belongs to any of the records: are they of the same split?")
    return Truthfulness(
        count,
        named / count,
        by_people / max(references, 1),
        true / max(named, 1),
        honest / count,
        recalled / max(there, 1),
    )


class Hallucination(NamedTuple):
    """Shares between 0 and 1 over a split (Rohrbach et al. 2018, eq. 1-2), and mentions per caption."""

    chair_i: float  # of the mentions of a category, those of one that is not in the picture
    chair_s: float  # of the captions, those with such a mention
    recall: float  # of the categories annotated in the pictures, those mentioned
    mentions: float


def hallucination(captions: Mapping, records: Iterable) -> Hallucination:
    """Do captions name things that are not in their pictures? CHAIR, over COCO's categories.

    `captions` is image id -> caption; `records` have instances. In a picture is what its instances or its references
    name, as the paper has it: annotators overlook things, and people call a drawing of a dog a dog. Raises ValueError
    if no caption belongs to any of the records.
    """
    named = wrong = lying = there = recalled = count = 0
    for record, tokens in _captioned(captions, records):
        annotated = {instance.category for instance in record.instances}
        real = annotated | {m.category for caption in record.captions for m in find_object_mentions(tokenize(caption))}
        said = [mention.category for mention in find_object_mentions(tokens)]
        invented = sum(category not in real for category in said)
        count, named, wrong, lying = count + 1, named + len(said), wrong + invented, lying + bool(invented)
        there, recalled = there + len(annotated), recalled + len(annotated & set(said))
    if not count:
        raise ValueError("no caption belongs to any of the records: are they of the same split?")
    return Hallucination(wrong / max(named, 1), lying / count, recalled / max(there, 1), named / count)


def colored_objects(caption: str) -> set[tuple[str, str]]:
    """The (colour, category) pairs that a caption names; things named without a colour are left out."""
    return {(m.color, m.category) for m in find_object_mentions(tokenize(caption)) if m.color}


NUMBERS = {("two",): 2, ("a", "pair", "of"): 2, ("three",): 3, ("a", "group", "of"): 3}
RELATIONS = {("above",): "above", ("below",): "below", ("left", "of"): "left", ("right", "of"): "right"} | {
    ("next", "to"): "next to"
}


def count_accuracy(captions: Mapping, records: Iterable) -> tuple[float, int]:
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
            number = next((n for words, n in NUMBERS.items() if words == tuple(tokens[:start][-len(words) :])), None)
            if mention.color and number:
                said, right = said + 1, right + (there[mention.color, mention.category] == number)
    return right / max(said, 1), said


def relation_accuracy(captions: Mapping, records: Iterable) -> tuple[float, int]:
    """Where a caption relates two things ("a red kite above a boat"): (share that is right, how many it relates).

    Comes in: as for `truthfulness`, and records that know their size. Above, below, to the left and to the right of
    are true where this is the longer way from centre to centre; next to, where the two stand side by side and both the
    gap between them and the height between their centres are at most a seventh of the picture. A thing that is not in
    the picture is in no relation. Things named without a colour are left out.
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


def _captioned(captions: Mapping, records: Iterable) -> Iterator[tuple[object, list[str]]]:
    """The records that have a caption, with its words."""
    return ((record, tokenize(captions[record.image_id])) for record in records if record.image_id in captions)


def _holds(tokens: tuple[str, ...], words: tuple[str, ...]) -> bool:
    return any(tokens[i : i + len(words)] == words for i in range(len(tokens)))


def _extent(instances: Iterable, color: str, category: str) -> tuple[float, float, float, float] | None:
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


# -------------------------------------------------------------------------------------------------------- grounding


class Look(NamedTuple):
    """One look at a named thing: is attention's peak in its mask, how much of attention is, how large is the mask."""

    category: str
    hit: bool
    mass: float
    chance: float  # the mask's share of the picture: what a random look would hit


def grounding(tokens: Sequence[str], attention: np.ndarray, instances: Sequence) -> list[Look]:
    """For every noun of a caption whose category is annotated: did the model look at it while saying it?

    `tokens` are the caption's T words, `attention` (>= T, R) their maps, R = side * side regions row by row over the
    whole picture, `instances` the picture's objects as pairs (category, mask), the masks bool (height, width) of one
    size. A peak is the centre of its region.
    """
    looks = []
    for mention in find_object_mentions(tokens):
        masks = [mask for category, mask in instances if category == mention.category]
        if not masks:
            continue
        mask = np.logical_or.reduce(masks)
        weights = attention[mention.end - 1]
        side = round(len(weights) ** 0.5)
        row, column = divmod(int(weights.argmax()), side)
        height, width = mask.shape
        hit = mask[int((row + 0.5) * height / side), int((column + 0.5) * width / side)]
        share = _cell_shares(mask, side)
        looks.append(Look(mention.category, bool(hit), float(weights @ share.ravel()), float(mask.mean())))
    return looks


def _cell_shares(mask: np.ndarray, side: int) -> np.ndarray:
    """The share of each grid cell that the mask covers: (height, width) bool -> (side, side)."""
    rows = np.arange(mask.shape[0]) * side // mask.shape[0]
    columns = np.arange(mask.shape[1]) * side // mask.shape[1]
    cells = rows[:, None] * side + columns
    counts = np.bincount(cells.ravel(), minlength=side * side)
    return (np.bincount(cells.ravel(), mask.ravel(), minlength=side * side) / np.maximum(counts, 1)).reshape(side, side)
