"""Pictures as arrays, and masks drawn on them: each in its place."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from figures.annotations import show_annotations
from figures.attention import attention_figure
from figures.gallery import captioned, gallery, image_grid
from figures.pictures import as_array, data_url


@pytest.mark.parametrize("kind", ["attention", "grid", "captioned", "annotations"])
def test_an_outline_follows_the_border_of_its_mask(picture, kind):
    mask = np.zeros((90, 120), bool)
    mask[10:50, 60:110] = True
    figure = {
        "attention": lambda: attention_figure(picture, ["ball"], np.ones((1, 16)), masks=[mask]),
        "grid": lambda: image_grid([picture], masks=[mask]),
        "captioned": lambda: captioned([picture], [["a ball"]], masks=[mask]),
        "annotations": lambda: show_annotations(picture, [("ball", mask, (60, 10, 50, 40))]),
    }[kind]()
    axes = figure.axes[1 if kind == "attention" else -1]
    scale = axes.images[0].get_array().shape[1] / 120
    (outline,) = axes.collections
    line = np.concatenate([path.vertices for path in outline.get_paths()]) / scale  # pixels of the picture
    assert [*line.min(0), *line.max(0)] == pytest.approx([60, 10, 110, 50], abs=1)


def test_a_mask_shades_what_it_covers_and_nothing_else(picture):
    mask = np.zeros((90, 120), bool)
    mask[10:50, 60:110] = True
    axes = show_annotations(picture, [("ball", mask, (60, 10, 50, 40))]).axes[0]
    shade = np.asarray(axes.images[1].get_array())[..., 3]
    rows, columns = (shade > 0.1).nonzero()
    scale = shade.shape[1] / 120
    box = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    assert [side / scale for side in box] == pytest.approx([60, 10, 110, 50], abs=1)


def test_a_picture_is_scaled_to_its_longest_side_and_keeps_its_shape(picture):
    assert as_array(picture).shape == (90, 120, 3)
    assert as_array(picture, 40).shape == (30, 40, 3) and as_array(picture.resize((9, 900)), 40).shape == (40, 1, 3)


def test_a_data_url_holds_the_picture(picture):
    kind, data = data_url(np.asarray(picture)).split(";base64,")
    shown = np.asarray(Image.open(io.BytesIO(base64.b64decode(data))), int)
    assert kind == "data:image/jpeg" and abs(shown - np.asarray(picture)).mean() < 2


def test_one_picture_is_shown_where_several_are_expected(picture, texts):
    for one in (picture, np.asarray(picture)):
        assert len(image_grid(one, ["a ball"]).axes) == 1
        assert len(gallery(one, ["a ball"], ["a red ball"]).axes) == 1
        assert texts(captioned(one, [["a ball"]])) == texts(captioned([one], [["a ball"]]))


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ("dog.jpg", "not str; open a file with open_image"),
        (b"\xff\xd8", "not bytes; open a file with open_image"),
        ([[0, 1]], "not list; open"),
        (np.ones((4, 4, 3)), r"not float64 \(4, 4, 3\); .* numbers from 0 to 1 with"),
        (np.ones((3, 4, 4), np.uint8), r"not uint8 \(3, 4, 4\); turn a tensor \(3, H, W\) with \.permute"),
    ],
)
def test_what_is_no_picture_is_answered_in_a_sentence(given, sentence):
    with pytest.raises(ValueError, match=f"a picture must be a PIL image or a uint8 array .*, {sentence}"):
        as_array(given)
