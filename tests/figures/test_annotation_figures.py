"""Annotated objects lie where the picture shows them, each category in its colour."""

from itertools import combinations

import numpy as np
import pytest

from dataset.sample.making import CATEGORIES
from figures.annotations import KINDS, category_colors, show_annotations


def test_annotations_show_what_is_asked_for_in_stable_colours(picture, texts):
    mask = np.zeros((90, 120), bool)
    mask[20:60, 20:60] = True
    ball, bench = ("sports ball", mask, (20, 20, 40, 40)), ("bench", None, (0, 0, 30, 20))
    both = show_annotations(picture, [ball, bench])
    assert {"sports ball", "bench"} <= set(texts(both))
    assert len(both.axes[0].patches) == 2 and len(both.axes[0].images) == 2
    bare = show_annotations(picture, [ball, bench], names=False, boxes=False, masks=False)
    assert not texts(bare) and not bare.axes[0].patches and len(bare.axes[0].images) == 1
    alone = show_annotations(picture, [bench])
    assert alone.axes[0].patches[0].get_edgecolor() == both.axes[0].patches[1].get_edgecolor()
    with pytest.raises(ValueError, match="a mask is"):
        show_annotations(picture, [("sports ball", mask.T, (0, 0, 1, 1))])


def test_boxes_lie_on_their_objects_whatever_the_picture_is_scaled_to(picture):
    figure = show_annotations(picture, [("ball", None, (20, 20, 40, 40))])
    axes = figure.axes[0]
    shown = np.asarray(axes.images[0].get_array())
    box = axes.patches[0]
    x, y, side = (round(value) for value in (box.get_x(), box.get_y(), box.get_width()))
    inside = shown[y : y + side, x : x + side]
    red = (shown[..., 0].astype(int) - shown[..., 1] > 60).sum()
    assert red > 1000 and (inside[..., 0].astype(int) - inside[..., 1] > 60).sum() > 0.95 * red


def test_no_two_categories_of_a_figure_share_a_colour():
    many = [f"category {number}" for number in range(len(KINDS))]
    assert len(set(category_colors(many).values())) == len(KINDS)
    assert set(category_colors([*many, "one more"]).values()) == set(KINDS), (
        "when there is none left, it has one of them"
    )


def test_the_categories_of_the_sample_have_the_same_colour_in_every_figure():
    together = category_colors(CATEGORIES)
    assert len(set(together.values())) == len(CATEGORIES)
    assert all(category_colors([name]) == {name: together[name]} for name in CATEGORIES)


def luminance(color: str) -> float:
    """Of a colour #rrggbb, as WCAG 2 defines it."""
    levels = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = (level / 12.92 if level <= 0.04045 else ((level + 0.055) / 1.055) ** 2.4 for level in levels)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_white_letters_can_be_read_on_every_colour():
    assert all(1.05 / (luminance(color) + 0.05) >= 4.5 for color in KINDS)


def test_names_lie_inside_the_picture_and_none_over_another(picture):
    crowd = [(name, None, (x, y, 8, 8)) for name in ("person", "dog") for x in (0, 50, 116) for y in (0, 40, 85)]
    figure = show_annotations(picture, crowd)
    figure.draw_without_rendering()
    axes = figure.axes[0]
    boxes = [text.get_bbox_patch().get_window_extent() for text in axes.texts]
    assert all(axes.bbox.x0 - 2 <= box.x0 and box.x1 <= axes.bbox.x1 + 2 for box in boxes)
    assert all(axes.bbox.y0 - 2 <= box.y0 and box.y1 <= axes.bbox.y1 + 2 for box in boxes)
    assert not any(one.shrunk(0.95, 0.85).overlaps(other.shrunk(0.95, 0.85)) for one, other in combinations(boxes, 2))
