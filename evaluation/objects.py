"""Which of COCO's categories does a caption name, and in which colours?

Comes in: the words of a caption (`vocabulary.tokenize`). Goes out: `Mention`s, each with its place among the words.
What it does not know: pictures, and whether what is named is there.

The names of the categories are in evaluation/synonyms.txt. Where several begin at a word, the longest is taken, so that
a compound is not counted by its parts: "hot dog" names no dog. As in the CHAIR metric (Rohrbach et al. 2018), "baby" or
"adult" before an animal and "passenger" before a vehicle belong to the noun: "a baby elephant" names no person.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

Tokens = Sequence[str]

COLORS = frozenset(
    ("red", "orange", "yellow", "green", "blue", "purple", "pink", "brown", "black", "white", "gray", "grey")
)
SIZES = frozenset(("small", "little", "tiny", "large", "big", "huge"))
CLOTHING = (("in",), ("wearing",), ("dressed", "in"))  # "a man in blue": the colour of the clothes

ANIMALS = ("bird", "cat", "dog", "horse", "sheep", "cow", "elephant", "bear", "zebra", "giraffe")
VEHICLES = ("bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat")
BEFORE_NOUN = {
    "baby": ANIMALS,
    "adult": ANIMALS,
    "passenger": VEHICLES,
}  # words for people, unless one of these follows
IRREGULAR = {"child": "children", "goose": "geese", "mouse": "mice", "knife": "knives", "calf": "calves", "ox": "oxen"}


def _plurals(noun: str) -> set[str]:
    """The regular plural, which people also use of "a computer mouse", and an irregular one of the last word."""
    start, last = noun[: noun.rfind(" ") + 1], noun.split()[-1]
    irregular = last[:-3] + "men" if last.endswith("man") else IRREGULAR.get(last)
    return {_regular(noun), *([start + irregular] if irregular else [])}


def _regular(noun: str) -> str:
    if noun.endswith(("s", "sh", "ch", "x")):
        return noun + "es"
    if noun.endswith("y") and noun[-2] not in "aeiou":
        return noun[:-1] + "ies"
    return noun + "s"


def _read_names(path: Path) -> dict[tuple[str, ...], str]:
    """The file of synonyms -> the category of every name, singular and plural, as words; NOTHING where it is none."""
    names = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line or line.startswith("#"):
            continue
        category, synonyms = line.split(":")
        for noun in filter(None, (category, *map(str.strip, synonyms.split(",")))):
            for form in {noun} | _plurals(noun):
                names[tuple(form.split())] = category
                for word in (word for word, kinds in BEFORE_NOUN.items() if category in kinds):
                    names[(word, *form.split())] = category
    return names


NOTHING = "nothing"
NAMES = _read_names(Path(__file__).with_name("synonyms.txt"))  # ("hot", "dogs") -> "hot dog"
CATEGORIES = frozenset(NAMES.values()) - {NOTHING}  # COCO's 80
LONGEST = max(map(len, NAMES))


class Mention(NamedTuple):
    """A COCO category named in a caption: tokens[start:end] are its name; the colour said of it, if any."""

    category: str
    color: str | None
    start: int
    end: int


def find_object_mentions(tokens: Tokens) -> list[Mention]:
    """The COCO categories that a caption's words name, in order, with their colours.

    "Orange" is the fruit only where it is not a colour: of a noun that follows, or of clothes. Raises TypeError for a
    text that has not been split into words.
    """
    if isinstance(tokens, str):
        raise TypeError(f"a caption is read word by word: give vocabulary.tokenize({tokens!r}) instead of the text")
    tokens = tuple(tokens)
    found, i = [], 0
    while i < len(tokens):
        length = _noun(tokens, i)
        if length and not (tokens[i] == "orange" and _is_adjective(tokens, i)):
            category = NAMES[tokens[i : i + length]]
            if category != NOTHING:
                found.append(Mention(category, _color(tokens, i, i + length), i, i + length))
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


def colored_objects(tokens: Tokens) -> set[tuple[str, str]]:
    """The (colour, category) pairs that a caption's words name; things named without a colour are left out."""
    return {(m.color, m.category) for m in find_object_mentions(tokens) if m.color}
