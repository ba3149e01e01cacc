"""What every kind of object looks like: the polygons of a man, a dog, a bicycle.

Comes in: nothing. Goes out: `SHAPES`, by kind of object, and how large each kind usually is. A shape has units of its
own and is scaled to the box that it is painted into; its colours are names, which the painter chooses. It knows no
scene.
"""

from dataclasses import dataclass
from functools import cached_property

from dataset.sample.canvas import RGB, Points, arc, bar, disc, rect, ring

# A part is (paint, points). Paint is a fixed colour or one of the names main, shade (darker), tint (lighter), mark
# (stands out on main), skin, hair.
Part = tuple[str | RGB, Points]
INK, GLASS, STEEL, WOOD, CREAM = (38, 38, 46), (190, 226, 245), (120, 124, 134), (120, 82, 50), (255, 250, 235)


@dataclass(frozen=True)
class Shape:
    body: list[Part]  # the silhouette
    detail: list[Part]  # painted on it
    longest: tuple[float, float] = (28, 44)  # the longer side of a small and of a large one, in scene units

    @cached_property
    def frame(self) -> tuple[float, float, float, float]:
        """Left, top, width and height of the body in its own units."""
        xs, ys = zip(*(p for _, points in self.body for p in points), strict=True)
        return min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys)


def person(woman: bool) -> Shape:
    head = [("skin", disc(25, 14, 11, 12)), ("skin", rect(21, 22, 29, 32))]
    arms: list[Part] = [("main", bar(14, 34, 3, 60, 9)), ("main", bar(36, 34, 47, 60, 9))]
    hands: list[Part] = [("skin", disc(3, 62, 5)), ("skin", disc(47, 62, 5))]
    if woman:
        hair: list[Part] = [("hair", [*arc(25, 15, 15, 15, 180, 360), (40, 36), (10, 36)])]
        legs: list[Part] = [("skin", rect(16, 74, 23, 98)), ("skin", rect(27, 74, 34, 98))]
        dress: Points = [(13, 29), (37, 29), (34, 50), (45, 80), (5, 80), (16, 50)]
        fringe: list[Part] = [("hair", arc(25, 12, 12, 11, 180, 360))]
        shoes: list[Part] = [(INK, rect(13, 95, 23, 100)), (INK, rect(27, 95, 37, 100))]
        return Shape([*hair, *legs, *arms, *hands, *head, ("main", dress), *shoes, *fringe], [], (21, 40))
    trousers: list[Part] = [((72, 78, 104), rect(13, 60, 24, 97)), ((72, 78, 104), rect(26, 60, 37, 97))]
    shoes = [(INK, rect(9, 94, 24, 100)), (INK, rect(26, 94, 41, 100))]
    top: list[Part] = [("hair", arc(25, 12, 12, 11, 180, 360))]
    shirt: Points = [(10, 33), (16, 28), (34, 28), (40, 33), (38, 66), (12, 66)]
    return Shape([*trousers, *shoes, *arms, *hands, *head, ("main", shirt), *top], [], (21, 40))


SHAPES: dict[str, Shape] = {
    "man": person(woman=False),
    "woman": person(woman=True),
    "dog": Shape(
        [
            ("main", bar(16, 32, 2, 14, 7)),
            ("shade", rect(26, 44, 33, 72)),
            ("shade", rect(56, 44, 63, 72)),
            ("main", rect(16, 40, 25, 72)),
            ("main", rect(64, 40, 73, 72)),
            ("main", disc(43, 38, 31, 14)),
            ("main", [(60, 40), (64, 18), (82, 22), (76, 44)]),
            ("main", disc(77, 17, 14, 13)),
            ("main", disc(91, 22, 10, 7)),
            (INK, disc(99, 19, 4, 3.5)),
        ],
        [("shade", disc(70, 20, 6, 12)), ("mark", disc(82, 13, 2.6))],
        (31, 46),
    ),
    "cat": Shape(
        [
            ("main", arc(58, 62, 20, 24, 20, 100) + arc(58, 62, 12, 16, 100, 20)),
            ("main", [(16, 84), (18, 54), (26, 42), (44, 42), (54, 56), (60, 84)]),
            ("main", disc(38, 76, 24, 12)),
            ("main", [(13, 22), (14, -4), (28, 10)]),
            ("main", [(51, 22), (50, -4), (36, 10)]),
            ("main", disc(32, 24, 20, 17)),
        ],
        [
            ("tint", disc(36, 66, 9, 14)),
            ((150, 220, 90), disc(24, 22, 4, 4.5)),
            ((150, 220, 90), disc(40, 22, 4, 4.5)),
            (INK, disc(24, 22, 1.6, 4)),
            (INK, disc(40, 22, 1.6, 4)),
            ((240, 150, 160), [(29, 29), (35, 29), (32, 33)]),
        ],
        (28, 43),
    ),
    "bird": Shape(
        [
            ("main", [(18, 40), (0, 30), (4, 50), (22, 50)]),
            ("shade", [(36, 36), (28, 2), (46, 10), (62, 34)]),
            ("main", disc(42, 44, 27, 13)),
            ("main", disc(70, 34, 12)),
            ((245, 150, 30), [(80, 30), (94, 36), (80, 40)]),
            ("main", [(30, 42), (14, 6), (38, 12), (58, 40)]),
        ],
        [("mark", disc(73, 31, 3)), ("shade", [(34, 40), (24, 18), (36, 24), (50, 40)])],
        (27, 41),
    ),
    "car": Shape(
        [
            (
                "main",
                [(0, 36), (1, 24), (8, 19), (22, 17), (34, 3), (66, 2), (82, 17), (96, 21), (100, 28), (100, 37)],
            ),
            (INK, disc(22, 37, 11)),
            (INK, disc(78, 37, 11)),
        ],
        [
            (GLASS, [(29, 17), (38, 7), (49, 6), (49, 17)]),
            (GLASS, [(54, 6), (64, 6), (75, 17), (54, 17)]),
            ("shade", rect(11, 32, 89, 35)),
            (INK, disc(22, 37, 11)),
            (INK, disc(78, 37, 11)),
            ((214, 218, 224), disc(22, 37, 5)),
            ((214, 218, 224), disc(78, 37, 5)),
            ((255, 240, 170), disc(96, 26, 3)),
        ],
        (32, 50),
    ),
    "bicycle": Shape(
        [
            ("main", ring(20, 44, 20, 6)),
            ("main", ring(82, 44, 20, 6)),
            ("main", bar(20, 44, 38, 16, 6)),
            ("main", bar(38, 16, 70, 14, 6)),
            ("main", bar(20, 44, 48, 44, 6)),
            ("main", bar(48, 44, 36, 12, 6)),
            ("main", bar(48, 44, 70, 16, 6)),
            ("main", bar(82, 44, 66, 4, 6)),
            (INK, bar(60, 4, 76, 1, 6)),
            (INK, bar(26, 9, 44, 9, 7)),
        ],
        [(STEEL, disc(48, 44, 5))],
        (32, 48),
    ),
    "boat": Shape(
        [
            (WOOD, rect(41, 0, 45, 70)),
            ("main", [(47, 4), (82, 62), (47, 62)]),
            ("main", [(39, 14), (39, 62), (10, 62)]),
            ("main", [(0, 68), (90, 68), (76, 90), (14, 90)]),
        ],
        [("shade", [(9, 82), (81, 82), (76, 90), (14, 90)]), ("mark", rect(6, 73, 84, 77))],
        (31, 48),
    ),
    "airplane": Shape(
        [
            ("shade", [(52, 22), (74, -2), (82, -2), (70, 24)]),
            ("main", [(2, 2), (14, 2), (28, 20), (10, 24)]),
            ("main", [*arc(84, 30, 18, 10, -90, 90), (12, 36), (4, 22), (40, 20)]),
            ("main", [(46, 32), (66, 32), (42, 58), (32, 58)]),
        ],
        [
            (GLASS, [(86, 22), (97, 26), (97, 29), (86, 29)]),
            *((GLASS, disc(x, 26, 2.5)) for x in (38, 47, 56, 65, 74)),
            ("shade", [(50, 34), (62, 34), (42, 56), (36, 56)]),
        ],
        (31, 48),
    ),
    "kite": Shape(
        [
            (WOOD, bar(32, 76, 40, 88, 3)),
            (WOOD, bar(40, 88, 30, 98, 3)),
            (WOOD, bar(30, 98, 38, 110, 3)),
            ("main", [(40, 88), (48, 82), (48, 94), (40, 88), (32, 82), (32, 94)]),
            ("main", [(36, 107), (44, 102), (44, 114), (36, 107), (28, 102), (28, 114)]),
            ("main", [(32, 0), (62, 32), (32, 78), (2, 32)]),
        ],
        [("shade", [(32, 0), (62, 32), (32, 32)]), ("shade", [(32, 32), (32, 78), (2, 32)])],
        (32, 48),
    ),
    "umbrella": Shape(
        [
            (WOOD, rect(43, 40, 48, 92)),
            ("main", arc(45, 44, 44, 40, 180, 360)),
            *(("main", disc(x, 44, 14.7, 5)) for x in (15.7, 45, 74.3)),
            (WOOD, rect(43, -2, 48, 5)),
        ],
        [("shade", arc(45, 44, 16, 40, 180, 360)), ("tint", [*arc(45, 44, 44, 40, 180, 215), (28, 44)])],
        (30, 47),
    ),
    "bench": Shape(
        [
            (STEEL, rect(10, 2, 16, 56)),
            (STEEL, rect(84, 2, 90, 56)),
            ("main", rect(2, 4, 98, 14)),
            ("main", rect(2, 18, 98, 28)),
            ("shade", rect(0, 34, 100, 44)),
        ],
        [("main", rect(0, 34, 100, 40))],
        (32, 48),
    ),
    "clock": Shape(
        [
            ("main", rect(23, 46, 31, 96)),
            ("main", [(14, 100), (18, 90), (36, 90), (40, 100)]),
            ("main", disc(27, 26, 26)),
        ],
        [
            (CREAM, disc(27, 26, 17)),
            (INK, bar(27, 27, 27, 13, 4)),
            (INK, bar(26, 26, 37, 31, 4)),
        ],
        (31, 47),
    ),
    "sports ball": Shape(
        [("main", disc(25, 25, 25))],
        [
            ("mark", [*arc(25, 25, 25, 25, 60, 120), (25, 25)]),
            ("mark", [*arc(25, 25, 25, 25, 180, 240), (25, 25)]),
            ("mark", [*arc(25, 25, 25, 25, 300, 360), (25, 25)]),
            ("main", disc(25, 25, 17)),
            ("tint", disc(17, 15, 6, 5)),
        ],
        (20, 32),
    ),
}


def extent(kind: str, size: str) -> tuple[float, float]:
    """Usual width and height of a small or large object, in scene units."""
    shape = SHAPES[kind]
    _, _, w, h = shape.frame
    scale = shape.longest[size == "large"] / max(w, h)
    return w * scale, h * scale
