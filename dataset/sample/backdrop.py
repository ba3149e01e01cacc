"""Paints what lies behind the objects: the sky with its sun, moon or clouds, and the ground.

Comes in: a canvas, the scene, and a random generator for what no caption speaks of: clouds, waves, houses. Goes out:
pixels on the canvas. It knows no objects, except that the sun and the moon keep clear of them.
"""

from collections.abc import Callable
from functools import cache
from math import cos, pi, sin
from random import Random

from dataset.sample.canvas import HORIZON, RGB, UNITS, Canvas, arc, mix, rect
from dataset.sample.scene import Box, Scene

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
    """The sky of the hour, with sun, moon or clouds."""
    canvas.gradient(0, HORIZON, *SKY[scene.sky])
    y, spots = rng.uniform(11, 17), [rng.uniform(12, UNITS - 12) for _ in range(12)]
    boxes = [box for group in scene.groups for box in group.boxes]
    x = max(spots, key=lambda spot: min([*(free(spot, y, box) for box in boxes), 16]))  # clear of the objects if it can
    if scene.sky == "sunny":
        paint_sun(canvas, x, y)
        paint_clouds(canvas, 2, (255, 255, 255), 1.0, rng)
    elif scene.sky == "night":
        paint_stars_and_moon(canvas, x, y, rng)
    else:
        paint_clouds(canvas, 7, (232, 234, 238), 1.5, rng)


def paint_sun(canvas: Canvas, x: float, y: float) -> None:
    """A disc with twelve rays and a glow."""
    canvas.dot(x, y, 12, (190, 222, 240))
    for k in range(12):
        a = k * pi / 6
        tip = [(x + r * cos(a + d), y + r * sin(a + d)) for r, d in ((9, -0.16), (9, 0.16), (14.5, 0))]
        canvas.polygon(tip, (255, 226, 110))
    canvas.dot(x, y, 8, (255, 236, 140))


def paint_stars_and_moon(canvas: Canvas, x: float, y: float, rng: Random) -> None:
    """Stars everywhere, a crescent at (x, y)."""
    for _ in range(34):
        shine = mix((120, 126, 170), (255, 255, 235), rng.random())
        canvas.dot(rng.uniform(0, UNITS), rng.uniform(0, HORIZON - 4), rng.choice((0.35, 0.5, 0.75)), shine)
    canvas.dot(x, y, 10.5, (48, 50, 92))
    moon = arc(x, y, 8, 8, 60, 300) + arc(x + 4.6, y, 6.9, 6.9, 270, 90)
    canvas.polygon(moon, (250, 244, 205))


def paint_clouds(canvas: Canvas, count: int, color: RGB, scale: float, rng: Random) -> None:
    """So many clouds of four puffs each, with a darker copy as their shadow."""
    for _ in range(count):
        x, y, s = rng.uniform(0, UNITS), rng.uniform(6, HORIZON - 22), scale * rng.uniform(0.7, 1.1)
        for dark in (True, False):
            paint, drop = (mix(color, (120, 132, 150), 0.3), 1.2) if dark else (color, 0)
            for dx, dy, r in ((-8, 1, 4), (-3, -2.5, 5.5), (4, -1.5, 4.8), (9, 1.2, 3.6)):
                canvas.dot(x + dx * s, y + dy * s + drop, r * s, paint)
            canvas.dot(x, y + 2.6 * s + drop, 12 * s, paint, 2.8 * s)


# --- the ground: a painter gets `tone`, which turns a colour of the day into one of the hour --------------------------

Tone = Callable[[RGB], RGB]


@cache
def dimmed(color: RGB) -> RGB:
    """A colour of the ground by night: darker and bluer."""
    return mix(mix((0, 0, 0), color, 0.62), (26, 40, 104), 0.36)


def hills(canvas: Canvas, color: RGB, height: float, rng: Random) -> None:
    """A rolling skyline."""
    phase, wide = rng.uniform(0, 6), rng.uniform(14, 24)
    ridge = [(x, HORIZON - height * (0.55 + 0.45 * sin(x / wide + phase))) for x in range(-2, UNITS + 4, 2)]
    canvas.polygon([*ridge, (UNITS + 2, HORIZON + 1), (-2, HORIZON + 1)], color)


def fir(canvas: Canvas, x: float, y: float, height: float, color: RGB) -> None:
    """A fir of three triangles."""
    for k in range(3):
        top, wide = y - height + k * height * 0.25, height * (0.16 + 0.08 * k)
        canvas.polygon([(x, top), (x + wide, top + height * 0.48), (x - wide, top + height * 0.48)], color)


def paint_grass(canvas: Canvas, tone: Tone, rng: Random) -> None:
    """Hills, a meadow with blades of grass and some flowers."""
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
    """The sea behind a beach, with foam, grains and ripples."""
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
    """A far shore and waves."""
    hills(canvas, tone((150, 186, 176)), 6, rng)
    canvas.gradient(HORIZON, UNITS, tone((126, 204, 222)), tone((58, 154, 190)))
    for k in range(40):  # eight rows of five, shaken
        x, y = 26 * (k % 5) + rng.uniform(-8, 14), HORIZON + 4 + 8.3 * (k // 5) + rng.uniform(-2.5, 2.5)
        s = 0.5 + (y - HORIZON) / 70
        crest = [(x + j * s, y - abs(sin(j * pi / 6)) * 1.6 * s) for j in range(13)]
        canvas.line(crest, tone(rng.choice(((206, 238, 244), (166, 220, 234), (40, 130, 170)))), 0.7 * s)


def paint_snow(canvas: Canvas, tone: Tone, rng: Random) -> None:
    """White hills with firs, drifts and falling snow."""
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
    """A row of houses with windows, a pavement and a road with its dashed line."""
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
