"""Annotated objects lie where the picture shows them, each category in its colour."""

import numpy as np
import pytest

from dataset.sample.making import CATEGORIES
from figures.annotations import category_color, show_annotations


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


def test_the_sample_s_categories_have_thirteen_colours():
    assert len({category_color(category) for category in CATEGORIES}) == len(CATEGORIES) == 13
