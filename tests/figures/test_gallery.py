"""Pictures with captions: every word stands there whole, in its place and colour."""

import numpy as np
import pytest
from matplotlib.colors import to_rgba

from figures.annotations import category_colors, show_annotations
from figures.gallery import captioned, gallery, image_grid
from figures.style import GREEN, INK, ORANGE

WORDS = ["a", "red", "ball", "on", "the", "grass"]


def test_gallery_writes_every_word_and_marks_right_and_wrong(picture, texts):
    long = " ".join(WORDS * 4)
    figure = gallery(
        [picture] * 4,
        ["a red ball"] * 4,
        ["a ball", long, "", "a blue ball"],
        highlight=[{}] * 3 + [{1: False, 2: True}],
    )
    assert texts(figure).count("predicted") == 4 and " ".join(texts(figure)).count("grass") == 4
    colors = {text.get_text(): text.get_color() for text in figure.texts[-3:]}
    assert colors == {"a": INK, "blue": ORANGE, "ball": GREEN}
    assert (
        len(figure.findobj(lambda thing: thing in figure.artists or thing in figure.lines)) == 1
    )  # wrong is underlined


@pytest.mark.parametrize("first", ["Привет" * 12, "犬" * 60, "x" * 200])
def test_a_word_that_is_cut_into_pieces_is_one_word_where_words_are_counted(picture, first):
    said = f"{first} собака кот"
    marked = gallery([picture], [""], [said], highlight=[{0: False, 1: True}])
    named = captioned([picture], [[said]], named=[[{0: "bird", 1: "dog"}]])
    for figure, colors in (
        (marked, (ORANGE, GREEN)),
        (named, [category_colors(["bird", "dog"])[n] for n in ("bird", "dog")]),
    ):
        drawn = {text.get_text(): text.get_color() for text in figure.texts}
        assert drawn["собака"] == colors[1] and drawn["кот"] == INK
        assert {color for text, color in drawn.items() if text[0] == first[0] and text != "predicted"} == {colors[0]}


def test_gallery_text_is_never_cut(picture):
    figure = gallery([picture] * 2, ["a"] * 2, [" ".join(WORDS * 8), "x" * 200], columns=2)
    figure.draw_without_rendering()
    width, height = figure.get_size_inches() * figure.dpi
    for text in figure.texts:
        box = text.get_window_extent()
        assert box.x0 >= 0 and box.x1 <= width and box.y0 >= 0 and box.y1 <= height


def test_gallery_and_grid_refuse_lists_of_different_lengths(picture):
    with pytest.raises(ValueError, match="2 pictures, 1 actual and 2 predicted"):
        gallery([picture] * 2, ["a"], ["a", "b"])
    with pytest.raises(ValueError, match="3 pictures and 1 titles"):
        image_grid([picture] * 3, ["a"])
    with pytest.raises(ValueError, match="3 pictures and 1 masks"):
        image_grid([picture] * 3, masks=[None])
    with pytest.raises(ValueError, match="2 pictures and 1 lists of captions"):
        captioned([picture] * 2, [["a"]])
    with pytest.raises(ValueError, match="each caption of each picture"):
        captioned([picture], [["a", "b"]], named=[[{}]])


def test_image_grid_outlines_a_mask_only_where_there_is_one(picture):
    mask = np.zeros((90, 120), bool)
    mask[20:60, 20:60] = True
    figure = image_grid([picture] * 2, masks=[mask, None])
    assert [len(axes.collections) for axes in figure.axes] == [1, 0]
    with pytest.raises(ValueError, match="a mask is"):
        image_grid([picture], masks=[mask.T])
    beside = captioned([picture] * 2, [["a ball"]] * 2, masks=[mask, None])
    assert [len(axes.collections) for axes in beside.axes] == [1, 0]
    with pytest.raises(ValueError, match="1 pictures and 2 masks"):
        captioned([picture], [["a ball"]], masks=[mask, None])


def test_captions_stand_beside_their_picture_whole_and_names_in_the_colour_of_their_category(picture):
    captions = [["a red ball", " ".join(WORDS * 6)], ["one"], ["x" * 200, "$5"]]
    named = [[{2: "sports ball"}, {}], [{}], [{}, {}]]
    figure = captioned([picture, picture.resize((30, 120)), picture], captions, named=named)
    figure.draw_without_rendering()
    width, height = figure.get_size_inches() * figure.dpi
    boxes = [text.get_window_extent() for text in figure.texts]
    assert all(box.x0 >= 0 and box.x1 <= width and box.y0 >= 0 and box.y1 <= height for box in boxes)
    first = figure.axes[0].get_window_extent()
    assert boxes[0].x0 > first.x1 and abs(boxes[0].y1 - first.y1) < 10
    ball = next(text.get_color() for text in figure.texts if text.get_text() == "ball")
    box = show_annotations(picture, [("sports ball", None, (0, 0, 9, 9))]).axes[0].patches[0]
    assert to_rgba(ball) == box.get_edgecolor() and figure.texts[0].get_color() == INK


def test_objects_beside_captions_have_the_colour_of_the_words_that_name_them(picture):
    mask = np.zeros((90, 120), bool)
    mask[20:60, 20:60] = True
    named = [[{1: "cat", 3: "dog"}], [{}]]
    objects = [[("dog", mask), ("cat", None)], []]
    figure = captioned([picture] * 2, [["a cat and dog"], ["a ball"]], named=named, objects=objects)
    word = {text.get_text(): to_rgba(text.get_color()) for text in figure.texts}
    (outline,) = figure.axes[0].collections
    assert tuple(outline.get_edgecolor()[0]) == word["dog"] != word["cat"] and len(figure.axes[1].images) == 1
    assert len(figure.axes[0].images) == 1, "the picture keeps its colours: captions speak of them"
    with pytest.raises(ValueError, match="2 pictures and 1 lists of objects"):
        captioned([picture] * 2, [["a"], ["b"]], objects=[[]])


def test_image_grid_takes_arrays_and_pictures_of_any_shape(picture, texts):
    tall = np.zeros((500, 40, 3), np.uint8)
    figure = image_grid([picture, tall, picture.convert("L")], ["one", "two words", "three\nlines"], columns=2)
    assert len(figure.axes) == 3 and {"one", "words", "lines"} <= set(texts(figure))
