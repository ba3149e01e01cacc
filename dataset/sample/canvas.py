"""What a scene is painted with: colours, outlines of simple forms, and a canvas.

Comes in: points and colours, in scene units: a scene is 128 wide and high. Goes out: pixels. All is painted three times
as large as asked for and shrunk at the end, which smooths the edges. It does not know what it paints.
"""

from collections.abc import Sequence
from functools import lru_cache
from math import cos, pi, sin

from PIL import Image, ImageDraw

UNITS = 128  # the scene's width and height
HORIZON = 60  # where the ground begins
FINER = 3  # painted so many times larger than the picture

RGB = tuple[int, int, int]
Points = list[tuple[float, float]]


def mix(a: RGB, b: RGB, share: float) -> RGB:
    """Colour a with a share of b."""
    return (
        round(a[0] + (b[0] - a[0]) * share),
        round(a[1] + (b[1] - a[1]) * share),
        round(a[2] + (b[2] - a[2]) * share),
    )


@lru_cache(maxsize=64)  # all pictures together have some twenty
def band(width: int, height: int, upper: RGB, lower: RGB) -> Image.Image:
    """A picture that goes from one colour, at its upper edge, to the other."""
    column = Image.new("RGB", (1, height))
    column.putdata([mix(upper, lower, k / height) for k in range(height)])
    return column.resize((width, height), Image.Resampling.NEAREST)


def arc(x: float, y: float, rx: float, ry: float, start: float = 0, stop: float = 360, steps: int = 24) -> Points:
    """Points along an ellipse, clockwise from the right, in degrees."""
    angles = [(start + (stop - start) * k / steps) * pi / 180 for k in range(steps + 1)]
    return [(x + rx * cos(a), y + ry * sin(a)) for a in angles]


def disc(x: float, y: float, r: float, ry: float | None = None) -> Points:
    """A filled circle, or an ellipse where `ry` is given."""
    return arc(x, y, r, r if ry is None else ry)[:-1]


def ring(x: float, y: float, r: float, width: float) -> Points:
    """A wheel: the outer circle, then the inner one backwards, so that one polygon has a hole."""
    return arc(x, y, r, r) + arc(x, y, r - width, r - width)[::-1]


def rect(x0: float, y0: float, x1: float, y1: float) -> Points:
    """A rectangle from its top left to its bottom right corner."""
    return [(x0, y0), (x1, y0), (x1, y1), (x0, y1)]


def bar(x0: float, y0: float, x1: float, y1: float, width: float) -> Points:
    """A thick line."""
    length = ((x1 - x0) ** 2 + (y1 - y0) ** 2) ** 0.5
    nx, ny = (y0 - y1) / length * width / 2, (x1 - x0) / length * width / 2
    return [(x0 + nx, y0 + ny), (x1 + nx, y1 + ny), (x1 - nx, y1 - ny), (x0 - nx, y0 - ny)]


class Canvas:
    """A picture three times too large (`FINER`), painted in scene units; `size` is the side of the final picture."""

    def __init__(self, size: int) -> None:
        self.scale = size * FINER / UNITS
        self.image = Image.new("RGB", (size * FINER, size * FINER))
        self.draw = ImageDraw.Draw(self.image)

    def polygon(self, points: Points, color: RGB) -> None:
        """Fill a polygon."""
        self.draw.polygon(self._pixels(points), color)

    def outline(self, points: Points, color: RGB, width: float) -> None:
        """Draw the border of a polygon."""
        closed = self._pixels([*points, points[0], points[1]])
        self.draw.line(closed, color, round(width * self.scale), joint="curve")

    def line(self, points: Sequence[tuple[float, float]], color: RGB, width: float) -> None:
        """Draw a line from point to point."""
        self.draw.line(self._pixels(points), color, max(1, round(width * self.scale)))

    def dot(self, x: float, y: float, r: float, color: RGB, ry: float | None = None) -> None:
        """Fill a circle, or an ellipse where `ry` is given."""
        s, ry = self.scale, r if ry is None else ry
        self.draw.ellipse([(x - r) * s, (y - ry) * s, (x + r) * s, (y + ry) * s], color)

    def gradient(self, top: float, bottom: float, upper: RGB, lower: RGB) -> None:
        """Fill the full width from `top` to `bottom`, from one colour to the other."""
        y0, y1 = round(top * self.scale), round(bottom * self.scale)
        self.image.paste(band(self.image.width, y1 - y0, upper, lower), (0, y0))

    def color_under(self, x: float, y: float) -> RGB:
        """The colour of the pixel just above a point."""
        pixel = self.image.getpixel((int(x * self.scale), int(y * self.scale) - 1))
        assert isinstance(pixel, tuple)  # Pillow gives a number where a picture has one band
        red, green, blue = pixel
        return red, green, blue

    def _pixels(self, points: Sequence[tuple[float, float]]) -> Points:
        return [(x * self.scale, y * self.scale) for x, y in points]
