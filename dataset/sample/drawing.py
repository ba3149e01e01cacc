"""Paints a scene: the sky, the ground, and every object as a small cartoon.

Comes in: a `Scene` (what is where, in scene units: 128 wide) and a random generator for what no caption speaks of
(clouds, grass, hair). Goes out: the picture, and for every object the polygons of its silhouette, which are its COCO
segmentation. It knows no captions and no files.
"""

from random import Random

from PIL import Image

from dataset.sample.backdrop import GROUNDS, Tone, dimmed, paint_sky
from dataset.sample.canvas import FINER, RGB, UNITS, Canvas, Points, mix
from dataset.sample.scene import FLYING, Box, Group, Scene
from dataset.sample.shapes import INK, SHAPES, Shape

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
SKINS: list[RGB] = [(255, 219, 182), (232, 184, 136), (176, 118, 74), (112, 72, 46)]
HAIRS: list[RGB] = [(58, 38, 28), (30, 26, 26), (118, 74, 40), (206, 162, 84)]


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
            shadow = mix(canvas.color_under(x + w / 2, y + h), (20, 24, 40), 0.32)
            canvas.dot(x + w / 2, y + h - 0.4, w * 0.56, shadow, w * 0.09 + 0.6)
    polygons: list[list[list[float]]] = []
    for group in scene.groups:
        mirrored = rng.random() < 0.5
        for box in group.boxes:
            parts = paint_object(canvas, group, box, night, mirrored, rng)
            polygons.append([[round(v * size / UNITS, 2) for point in part for v in point] for part in parts])
    return canvas.image.reduce(FINER), polygons
