"""What people say about a drawn scene: the rules of its captions, as a probabilistic grammar.

Comes in: a `Scene` (what is where). Goes out: a tree of pcfg.py, from which captions are drawn and by which each one's
probability is known exactly.

The rules stand below in this order: the nouns, an object with its colour and size, the relation between two objects
(always true of the geometry), place and time, and which objects are named first. It does not know how scenes are
invented, drawn or written to disk.
"""

from collections.abc import Iterable
from functools import lru_cache
from itertools import permutations

from dataset.sample.pcfg import Node, choice, logprob, seq, words
from dataset.sample.scene import FLYING, Group, Scene

# --- nouns: (weight, one, several); of small ones also "puppy", "kitten"

NOUNS: dict[str, list[tuple[float, str, str]]] = {
    "man": [(7, "man", "men"), (3, "person", "people")],
    "woman": [(7, "woman", "women"), (3, "person", "people")],
    "dog": [(1, "dog", "dogs")],
    "cat": [(1, "cat", "cats")],
    "bird": [(1, "bird", "birds")],
    "car": [(7, "car", "cars"), (3, "automobile", "automobiles")],
    "bicycle": [(4, "bicycle", "bicycles"), (6, "bike", "bikes")],
    "boat": [(6, "boat", "boats"), (4, "sailboat", "sailboats")],
    "airplane": [(4, "airplane", "airplanes"), (6, "plane", "planes")],
    "kite": [(1, "kite", "kites")],
    "umbrella": [(6, "umbrella", "umbrellas"), (4, "parasol", "parasols")],
    "bench": [(1, "bench", "benches")],
    "clock": [(1, "clock", "clocks")],
    "sports ball": [(1, "ball", "balls")],
}
SMALL_NOUNS: dict[str, list[tuple[float, str, str]]] = {
    "dog": [(0.4, "puppy", "puppies")],
    "cat": [(0.4, "kitten", "kittens")],
}
SIZES = {"small": [(6, "small"), (4, "little")], "large": [(6, "large"), (4, "big")]}
PEOPLE = ("man", "woman")
CATEGORY_OF_KIND = {kind: "person" if kind in PEOPLE else kind for kind in NOUNS}  # COCO has one category for people


# --- an object: "a small red kite", "two men in blue", rarely just "a kite" -----------------------------------------


@lru_cache(64)  # a scene's orders share their parts
def thing(group: Group) -> Node:
    """A group as a noun phrase: count, size (three times in ten), colour (nearly always), noun."""
    count = len(group.boxes)
    number = {
        1: choice((0.92, "a"), (0.08, "one")),
        2: choice((0.8, "two"), (0.2, "a pair of")),
        3: choice((0.8, "three"), (0.2, "a group of")),
    }[count]
    size = choice((0.7, ""), (0.3, choice(*SIZES[group.size])))
    several = NOUNS[group.kind] + (SMALL_NOUNS.get(group.kind, []) if group.size == "small" else [])
    noun = choice(*((weight, one if count == 1 else more) for weight, one, more in several))
    if group.kind in PEOPLE:  # the colour of a person is the colour of the clothes
        clothes = choice(
            (0.06, ""), (0.5, f"in {group.color}"), (0.3, f"wearing {group.color}"), (0.14, f"dressed in {group.color}")
        )
        return seq(number, size, noun, clothes)
    return seq(number, size, choice((0.06, ""), (0.94, group.color)), noun)


# --- two objects: relations are said only when the picture leaves no doubt ------------------------------------------


def relations(a: Group, b: Group) -> list[tuple[float, str]]:
    """What is true of a and b, weighted: a direction where only one is plain to see, "next to" where they are close."""
    left, top, right, bottom = a.extent
    other_left, other_top, other_right, other_bottom = b.extent
    dx = abs((left + right) - (other_left + other_right)) / 2  # between the centres
    dy = abs((top + bottom) - (other_top + other_bottom)) / 2
    gap = max(other_left - right, left - other_right)  # between the facing sides, negative where they overlap
    true: list[tuple[float, str]] = []
    vertical = dy > dx and (a.kind in FLYING or b.kind in FLYING)  # of two that stand, the upper is only further away
    if vertical and bottom <= other_top:
        true += [(3, "above")]
    elif vertical and other_bottom <= top:
        true += [(3, "below")]
    elif dx > 2 * dy and gap >= 2:
        side = "left" if right <= other_left else "right"
        true += [(2, f"to the {side} of")]
    if 0 <= gap <= 16 and dy <= 16:
        true += [(1, "next to")]
    return true


VERBS = {
    "man": [(6, "standing"), (4, "posing")],
    "woman": [(6, "standing"), (4, "posing")],
    "dog": [(6, "standing"), (4, "waiting")],
    "cat": [(7, "sitting"), (3, "waiting")],
    "bird": [(7, "flying"), (3, "soaring")],
    "car": [(6, "parked"), (4, "waiting")],
    "bicycle": [(7, "parked"), (3, "standing")],
    "boat": [(4, "floating"), (4, "sailing"), (2, "drifting")],
    "airplane": [(7, "flying"), (3, "soaring")],
    "kite": [(7, "flying"), (3, "floating")],
}


def doing(group: Group) -> Node:
    """A verb now and then, where the object has one; something must follow it ("flying above", "parked on")."""
    return choice((0.6, ""), (0.4, choice(*VERBS[group.kind]))) if group.kind in VERBS else words("")


@lru_cache(64)
def joined(a: Group, b: Group) -> Node:
    """From the first object's noun to the second's: "and", "with", or a relation."""
    listed = [(3.0, words("and")), (2.0, words("with"))]
    return choice(*listed, *((weight, seq(doing(a), relation)) for weight, relation in relations(a, b)))


# --- where and when -------------------------------------------------------------------------------------------------

PLACES = {
    "grass": [(4, "on the grass"), (3, "in a field"), (2, "in the park"), (2, "on the lawn")],
    "sand": [(5, "on the beach"), (3, "on the sand"), (2, "by the sea")],
    "water": [(4, "on the water"), (3, "on the sea"), (2, "in the water"), (1, "on the ocean")],
    "snow": [(5, "in the snow"), (3, "on the snow"), (2, "on snowy ground")],
    "street": [(4, "on the street"), (3, "on the road"), (2, "in the city"), (1, "in town")],
}
SKY = [(6, "in the sky"), (4, "in the air")]
TIMES = {
    "sunny": [(4, "on a sunny day"), (3, "in the sunshine"), (2, "under the sun"), (1, "on a nice day")],
    "cloudy": [(5, "on a cloudy day"), (3, "under the clouds"), (2, "in cloudy weather")],
    "night": [(5, "at night"), (2, "under the moon"), (2, "under the stars"), (1, "in the dark")],
}


def setting(scene: Scene, last: Group) -> Node:
    """Where (of the object named last) and when, both, one, or neither."""
    flies = last.kind in FLYING
    where = seq(doing(last), choice(*(SKY if flies else PLACES[scene.ground])))
    when = choice(*TIMES[scene.sky])
    return choice((0.35, where), (0.42, seq(where, when)), (0.13, when), (0.1, ""))


# --- the caption: which objects, in which order ---------------------------------------------------------------------

SALIENCE = tuple(NOUNS)  # people first, then animals, vehicles, and things: the order of the nouns above


def salience(group: Group) -> tuple[int, bool, float]:
    """Sort key: what people name first. By kind; of one kind the larger; of one size the one further left."""
    return SALIENCE.index(group.kind), group.size == "small", group.extent[0]


def orders(groups: Iterable[Group], named: int) -> list[tuple[float, tuple[Group, ...]]]:
    """Every way to name so many of the groups, one after the other, with its probability.

    Each time the most salient group still unnamed is about three times as probable as the next (Plackett-Luce).
    """
    weight = {group: 0.35**rank for rank, group in enumerate(sorted(groups, key=salience))}
    ways = []
    for way in permutations(weight, named):
        p, left = 1.0, sum(weight.values())
        for group in way:
            p, left = p * weight[group] / left, left - weight[group]
        ways.append((p, way))
    return ways


# groups in the scene -> [(weight, groups named), …]
HOW_MANY: dict[int, list[tuple[float, int]]] = {
    1: [(1, 1)],
    2: [(0.07, 1), (0.93, 2)],
    3: [(0.05, 1), (0.53, 2), (0.42, 3)],
}


def sentence(scene: Scene, named: tuple[Group, ...]) -> Node:
    """The groups named, in this order, then where and when."""
    objects: Node
    if len(named) == 3:
        objects = seq(thing(named[0]), "with", thing(named[1]), "and", thing(named[2]))
    elif len(named) == 2:
        objects = seq(thing(named[0]), joined(*named), thing(named[1]))
    else:
        objects = thing(named[0])
    there = "there is" if len(named[0].boxes) == 1 else "there are"
    opening = choice((0.7, ""), (0.15, there), (0.09, "a picture of"), (0.06, "a view of"))
    return seq(opening, objects, setting(scene, named[-1]))


def grammar(scene: Scene) -> Node:
    """All that can be said of the scene, as a tree."""
    groups = scene.groups
    return choice(
        *(
            (share, choice(*((p, sentence(scene, named)) for p, named in orders(groups, number))))
            for share, number in HOW_MANY[min(len(groups), 3)]
        )
    )


def caption_logprob(tokens: list[str], scene: Scene) -> float:
    """log p(caption | scene), natural, summed over all derivations, for the caption's lower-case words."""
    return logprob(grammar(scene), tokens)
