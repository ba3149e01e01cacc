"""Paints a scene: the sky, the ground, and every object as a small cartoon.

Comes in: a `Scene` (what is where, in scene units: 128 wide) and a random generator for what no caption speaks of
(clouds, grass, hair). Goes out: the picture, and for every object the polygons of its silhouette, which are its COCO
segmentation. All is painted three times as large and shrunk, which smooths the edges. It knows no captions, no files.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from math import cos, pi, sin
from random import Random

from PIL import Image, ImageDraw

from dataset.sample.grammar import FLYING, Box, Group, Scene

UNITS = 128  # the scene's width and height
HORIZON = 60  # where the ground begins
FINER = 3  # painted so many times larger than the picture

RGB = tuple[int, int, int]
Points = list[tuple[float, float]]

COLORS: dict[str, RGB] = {
    "red": (222, 30, 38),
    "yellow": (255, 214, 10),
    "green": (12, 140, 62),
    "blue": (28, 72, 214),
    "purple": (146, 44, 186),
    "brown": (132, 76, 34),
    "black": (30, 30, 34),
    "white": (250, 250, 250),
}


def mix(a: RGB, b: RGB, share: float) -> RGB:
    """Colour a with a share of b."""
    return (
        round(a[0] + (b[0] - a[0]) * share),
        round(a[1] + (b[1] - a[1]) * share),
        round(a[2] + (b[2] - a[2]) * share),
    )


# --- shapes -----------------------------------------------------------------------------------------------------------
# A part is (paint, points) in any units: a shape is scaled to its box. Paint is a fixed colour or one of the names
# main, shade (darker), tint (lighter), mark (stands out on main), skin, hair.

Part = tuple[str | RGB, Points]
INK, GLASS, STEEL, WOOD, CREAM = (38, 38, 46), (190, 226, 245), (120, 124, 134), (120, 82, 50), (255, 250, 235)


def arc(x: float, y: float, rx: float, ry: float, start: float = 0, stop: float = 360, steps: int = 24) -> Points:
    """Points along an ellipse, clockwise from the right, in degrees."""
    angles = [(start + (stop - start) * k / steps) * pi / 180 for k in range(steps + 1)]
    return [(x + rx * cos(a), y + ry * sin(a)) for a in angles]


def disc(x: float, y: float, r: float, ry: float | None = None) -> Points:
    return arc(x, y, r, r if ry is None else ry)[:-1]


def ring(x: float, y: float, r: float, width: float) -> Points:
    """A wheel: the outer circle, then the inner one backwards, so that one polygon has a hole."""
    return arc(x, y, r, r) + arc(x, y, r - width, r - width)[::-1]


def rect(x0: float, y0: float, x1: float, y1: float) -> Points:
    return [(x0, y0), (x1, y0), (x1, y1), (x0, y1)]


def bar(x0: float, y0: float, x1: float, y1: float, width: float) -> Points:
    """A thick line."""
    length = ((x1 - x0) ** 2 + (y1 - y0) ** 2) ** 0.5
    nx, ny = (y0 - y1) / length * width / 2, (x1 - x0) / length * width / 2
    return [(x0 + nx, y0 + ny), (x1 + nx, y1 + ny), (x1 - nx, y1 - ny), (x0 - nx, y0 - ny)]


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


SKINS: list[RGB] = [(255, 219, 182), (232, 184, 136), (176, 118, 74), (112, 72, 46)]
HAIRS: list[RGB] = [(58, 38, 28), (30, 26, 26), (118, 74, 40), (206, 162, 84)]


class Canvas:
    """A picture three times too large, painted in scene units."""

    def __init__(self, size: int) -> None:
        self.scale = size * FINER / UNITS
        self.image = Image.new("RGB", (size * FINER, size * FINER))
        self.draw = ImageDraw.Draw(self.image)

    def polygon(self, points: Points, color: RGB) -> None:
        self.draw.polygon([(x * self.scale, y * self.scale) for x, y in points], color)

    def outline(self, points: Points, color: RGB, width: float) -> None:
        closed = [(x * self.scale, y * self.scale) for x, y in [*points, points[0], points[1]]]
        self.draw.line(closed, color, round(width * self.scale), joint="curve")

    def line(self, points: Points, color: RGB, width: float) -> None:
        self.draw.line([(x * self.scale, y * self.scale) for x, y in points], color, max(1, round(width * self.scale)))

    def dot(self, x: float, y: float, r: float, color: RGB, ry: float | None = None) -> None:
        s, ry = self.scale, r if ry is None else ry
        self.draw.ellipse([(x - r) * s, (y - ry) * s, (x + r) * s, (y + ry) * s], color)

    def gradient(self, top: float, bottom: float, upper: RGB, lower: RGB) -> None:
        y0, y1 = round(top * self.scale), round(bottom * self.scale)
        column = Image.new("RGB", (1, y1 - y0))
        column.putdata([mix(upper, lower, k / (y1 - y0)) for k in range(y1 - y0)])
        self.image.paste(column.resize((self.image.width, y1 - y0), Image.Resampling.NEAREST), (0, y0))


# --- the sky ----------------------------------------------------------------------------------------------------------

SKY: dict[str, tuple[RGB, RGB]] = {
    "sunny": ((104, 182, 240), (214, 238, 252)),
    "cloudy": ((150, 158, 170), (206, 210, 216)),
    "night": ((14, 16, 52), (52, 60, 112)),
}


def free(x: float, y: float, box: Box) -> float:
    """How far a point is from a box."""
    left, top, w, h = box
    return max(left - x, x - left - w, top - y, y - top - h)


def paint_sky(canvas: Canvas, scene: Scene, rng: Random) -> None:
    sky = scene.sky
    canvas.gradient(0, HORIZON, *SKY[sky])
    y, spots = rng.uniform(11, 17), [rng.uniform(12, UNITS - 12) for _ in range(12)]
    boxes = [box for group in scene.groups for box in group.boxes]
    x = max(spots, key=lambda spot: min([*(free(spot, y, box) for box in boxes), 16]))  # clear of the objects if it can
    if sky == "sunny":
        canvas.dot(x, y, 12, (190, 222, 240))
        for k in range(12):
            a = k * pi / 6
            tip = [(x + r * cos(a + d), y + r * sin(a + d)) for r, d in ((9, -0.16), (9, 0.16), (14.5, 0))]
            canvas.polygon(tip, (255, 226, 110))
        canvas.dot(x, y, 8, (255, 236, 140))
    if sky == "night":
        for _ in range(34):
            shine = mix((120, 126, 170), (255, 255, 235), rng.random())
            canvas.dot(rng.uniform(0, UNITS), rng.uniform(0, HORIZON - 4), rng.choice((0.35, 0.5, 0.75)), shine)
        canvas.dot(x, y, 10.5, (48, 50, 92))
        moon = arc(x, y, 8, 8, 60, 300) + arc(x + 4.6, y, 6.9, 6.9, 270, 90)
        canvas.polygon(moon, (250, 244, 205))
    puffs = {"sunny": (2, (255, 255, 255), 1.0), "cloudy": (7, (232, 234, 238), 1.5), "night": (0, INK, 1.0)}
    count, color, scale = puffs[sky]
    for _ in range(count):
        x, y, s = rng.uniform(0, UNITS), rng.uniform(6, HORIZON - 22), scale * rng.uniform(0.7, 1.1)
        for dark in (True, False):
            paint, drop = (mix(color, (120, 132, 150), 0.3), 1.2) if dark else (color, 0)
            for dx, dy, r in ((-8, 1, 4), (-3, -2.5, 5.5), (4, -1.5, 4.8), (9, 1.2, 3.6)):
                canvas.dot(x + dx * s, y + dy * s + drop, r * s, paint)
            canvas.dot(x, y + 2.6 * s + drop, 12 * s, paint, 2.8 * s)


# --- the ground: a painter gets `tone`, which turns a colour of the day into one of the hour ------------------

Tone = Callable[[RGB], RGB]


def dimmed(color: RGB) -> RGB:
    """A colour of the ground by night: darker and bluer."""
    return mix(mix((0, 0, 0), color, 0.62), (26, 40, 104), 0.36)


def hills(canvas: Canvas, color: RGB, height: float, rng: Random) -> None:
    """A rolling skyline."""
    phase, wide = rng.uniform(0, 6), rng.uniform(14, 24)
    ridge = [(x, HORIZON - height * (0.55 + 0.45 * sin(x / wide + phase))) for x in range(-2, UNITS + 4, 2)]
    canvas.polygon([*ridge, (UNITS + 2, HORIZON + 1), (-2, HORIZON + 1)], color)


def fir(canvas: Canvas, x: float, y: float, height: float, color: RGB) -> None:
    for k in range(3):
        top, wide = y - height + k * height * 0.25, height * (0.16 + 0.08 * k)
        canvas.polygon([(x, top), (x + wide, top + height * 0.48), (x - wide, top + height * 0.48)], color)


def paint_grass(canvas: Canvas, tone: Tone, rng: Random) -> None:
    hills(canvas, tone((150, 196, 130)), 11, rng)
    hills(canvas, tone((126, 180, 104)), 6, rng)
    canvas.gradient(HORIZON, UNITS, tone((160, 208, 104)), tone((124, 180, 72)))
    for _ in range(60):
        x, y = rng.uniform(0, UNITS), rng.uniform(HORIZON + 2, UNITS)
        h, blade = 1.2 + (y - HORIZON) / 28, tone(rng.choice(((96, 156, 60), (184, 222, 126), (108, 168, 66))))
        for lean in (-0.7, 0, 0.7):
            canvas.line([(x + lean * 0.6, y), (x + lean * 1.6, y - h)], blade, 0.45)
    for _ in range(9):
        x, y = rng.uniform(2, UNITS), rng.uniform(HORIZON + 8, UNITS)
        for dx, dy in ((-0.8, 0), (0.8, 0), (0, -0.8), (0, 0.8)):
            canvas.dot(x + dx, y + dy, 0.55, tone((255, 255, 250)))
        canvas.dot(x, y, 0.5, tone((250, 220, 90)))


def paint_sand(canvas: Canvas, tone: Tone, rng: Random) -> None:
    canvas.gradient(HORIZON - 6, HORIZON + 6, tone((84, 168, 206)), tone((140, 206, 220)))
    canvas.gradient(HORIZON + 5, UNITS, tone((246, 226, 174)), tone((232, 204, 144)))
    phase = rng.uniform(0, 6)
    for width, color in ((3.4, (255, 255, 255)), (1.6, (176, 222, 230))):
        foam = [(x, HORIZON + 5 + 1.2 * sin(x / 7 + phase) - width / 3) for x in range(-2, UNITS + 4, 2)]
        canvas.line(foam, tone(color), width)
    for _ in range(130):
        grain = tone(rng.choice(((206, 176, 116), (255, 242, 204), (214, 186, 128))))
        canvas.dot(rng.uniform(0, UNITS), rng.uniform(HORIZON + 9, UNITS), rng.uniform(0.3, 0.6), grain)
    for _ in range(7):
        x, y = rng.uniform(0, UNITS), rng.uniform(HORIZON + 14, UNITS)
        ripple = [(x + k, y + 0.9 * sin(k / 2.4)) for k in range(0, 18, 2)]
        canvas.line(ripple, tone((216, 188, 130)), 0.6)


def paint_water(canvas: Canvas, tone: Tone, rng: Random) -> None:
    hills(canvas, tone((150, 186, 176)), 6, rng)
    canvas.gradient(HORIZON, UNITS, tone((126, 204, 222)), tone((58, 154, 190)))
    for k in range(40):  # eight rows of five, shaken
        x, y = 26 * (k % 5) + rng.uniform(-8, 14), HORIZON + 4 + 8.3 * (k // 5) + rng.uniform(-2.5, 2.5)
        s = 0.5 + (y - HORIZON) / 70
        crest = [(x + j * s, y - abs(sin(j * pi / 6)) * 1.6 * s) for j in range(13)]
        canvas.line(crest, tone(rng.choice(((206, 238, 244), (166, 220, 234), (40, 130, 170)))), 0.7 * s)


def paint_snow(canvas: Canvas, tone: Tone, rng: Random) -> None:
    hills(canvas, tone((214, 226, 240)), 12, rng)
    for _ in range(9):
        fir(canvas, rng.uniform(0, UNITS), HORIZON + 1, rng.uniform(7, 14), tone((92, 134, 120)))
    canvas.gradient(HORIZON, UNITS, tone((240, 246, 252)), tone((222, 232, 246)))
    for _ in range(5):
        x, y, w = rng.uniform(0, UNITS), rng.uniform(HORIZON + 6, UNITS), rng.uniform(22, 44)
        canvas.dot(x, y + 1.6, w, tone((208, 220, 238)), 4)
        canvas.dot(x, y + 2.8, w, tone((234, 241, 250)), 4)
    for _ in range(60):
        canvas.dot(rng.uniform(0, UNITS), rng.uniform(0, UNITS), rng.uniform(0.4, 0.8), tone((252, 253, 255)))


def paint_street(canvas: Canvas, tone: Tone, rng: Random) -> None:
    night = tone((255, 255, 255)) != (255, 255, 255)
    x = -4.0
    while x < UNITS:
        w, h = rng.uniform(12, 20), rng.uniform(10, 26)
        wall = tone(rng.choice(((196, 188, 186), (184, 192, 200), (206, 196, 180), (176, 180, 190))))
        canvas.polygon(rect(x, HORIZON - h, x + w, HORIZON + 2), wall)
        for row in range(int(h // 5)):
            for column in range(int(w // 4.5)):
                lit = (250, 226, 140) if rng.random() < 0.4 else (44, 50, 84)
                glass = lit if night else (156, 172, 188)
                left, top = x + 1.6 + column * 4.5, HORIZON - h + 2 + row * 5
                canvas.polygon(rect(left, top, left + 2.2, top + 2.8), glass)
        x += w + rng.choice((0, 0, 2))
    canvas.gradient(HORIZON, HORIZON + 8, tone((214, 210, 204)), tone((198, 194, 188)))
    canvas.polygon(rect(0, HORIZON + 8, UNITS, HORIZON + 9.4), tone((236, 234, 228)))
    canvas.gradient(HORIZON + 9.4, UNITS, tone((150, 152, 158)), tone((128, 130, 138)))
    for _ in range(90):
        speck = tone(rng.choice(((164, 166, 172), (116, 118, 126))))
        canvas.dot(rng.uniform(0, UNITS), rng.uniform(HORIZON + 11, UNITS), 0.4, speck)
    start = rng.uniform(-20, 0)
    for k in range(8):
        x = start + 22 * k
        canvas.polygon([(x, 100), (x + 12, 100), (x + 11, 103), (x - 1, 103)], tone((246, 242, 228)))


GROUNDS: dict[str, Callable[[Canvas, Tone, Random], None]] = {
    "grass": paint_grass,
    "sand": paint_sand,
    "water": paint_water,
    "snow": paint_snow,
    "street": paint_street,
}


# --- the objects ------------------------------------------------------------------------------------------------------


def placed(points: Points, shape: Shape, box: Box, mirrored: bool) -> Points:
    """A part's points moved from the shape's own units into the box."""
    left, top, width, height = shape.frame
    x, y, w, h = box
    unit = [((px - left) / width, (py - top) / height) for px, py in points]
    return [(x + (1 - u if mirrored else u) * w, y + v * h) for u, v in unit]


def paint_object(canvas: Canvas, group: Group, box: Box, night: bool, mirrored: bool, rng: Random) -> list[Points]:
    """Outline, body, details; returns the body's polygons in scene units."""
    shape, main = SHAPES[group.kind], COLORS[group.color]
    paints: dict[str, RGB] = {
        "main": main,
        "shade": mix(main, (0, 0, 0), 0.1 if group.color == "white" else 0.22),
        "tint": mix(main, (255, 255, 255), 0.12 if group.color == "black" else 0.3),
        "mark": INK if group.color in ("white", "yellow") else (255, 255, 255),
        "skin": rng.choice(SKINS),
        "hair": rng.choice(HAIRS),
    }
    body = [(paint, placed(points, shape, box, mirrored)) for paint, points in shape.body]
    detail = [(paint, placed(points, shape, box, mirrored)) for paint, points in shape.detail]
    rim = (206, 212, 236) if night else (52, 50, 60)
    for _, points in body:  # a dark line by day, a light one by night: black and white stand out everywhere
        canvas.outline(points, rim, 1.1 if group.size == "small" else 1.4)
    for paint, points in body + detail:
        canvas.polygon(points, paints[paint] if isinstance(paint, str) else paint)
    return [points for _, points in body]


def paint(scene: Scene, rng: Random, size: int = UNITS) -> tuple[Image.Image, list[list[list[float]]]]:
    """The scene as an RGB picture, size pixels square, and each object's polygons in pixels.

    Objects come in the order of the scene's groups and their boxes; a polygon is a flat list x, y, x, y, … as in COCO.
    """
    canvas = Canvas(size)
    night = scene.sky == "night"
    tone: Tone = dimmed if night else (lambda color: color)
    paint_sky(canvas, scene, rng)
    GROUNDS[scene.ground](canvas, tone, rng)
    standing = [(g, box) for g in scene.groups for box in g.boxes if g.kind not in FLYING]
    for group, (x, y, w, h) in standing:
        if group.kind == "boat":  # a wake instead of a shadow
            canvas.dot(x + w / 2, y + h, w * 0.56, tone((206, 238, 244)), 1.6)
        else:
            under = canvas.image.getpixel((int((x + w / 2) * canvas.scale), int((y + h) * canvas.scale) - 1))
            canvas.dot(x + w / 2, y + h - 0.4, w * 0.56, mix(under, (20, 24, 40), 0.32), w * 0.09 + 0.6)  # type: ignore[arg-type]
    polygons: list[list[list[float]]] = []
    for group in scene.groups:
        mirrored = rng.random() < 0.5
        for box in group.boxes:
            parts = paint_object(canvas, group, box, night, mirrored, rng)
            polygons.append([[round(v * size / UNITS, 2) for point in part for v in point] for part in parts])
    return canvas.image.reduce(FINER), polygons
