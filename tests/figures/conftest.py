"""Fixtures of the figures' tests."""

from collections.abc import Callable

import pytest
from matplotlib.text import Text
from PIL import Image, ImageDraw

from figures.style import Figure


@pytest.fixture
def picture() -> Image.Image:
    """A red ball on grey, 120 x 90."""
    image = Image.new("RGB", (120, 90), "#b0b0b0")
    ImageDraw.Draw(image).ellipse((20, 20, 60, 60), fill="#cc3333")
    return image


@pytest.fixture
def texts() -> Callable[[Figure], list[str]]:
    """`texts(figure)`: everything written on a figure."""

    def written(figure: Figure) -> list[str]:
        figure.draw_without_rendering()
        return [text.get_text() for text in figure.findobj(Text) if text.get_text()]

    return written
