"""Where the model looks: the light falls where the weights are, and words, numbers and outlines are the right ones."""

from itertools import pairwise

import numpy as np
import pytest

from figures.attention import attention_figure, attention_film, attention_mass, grid_figure, overlay

WORDS = ["a", "red", "ball", "on", "the", "grass"]


def peak(region: int, side: int = 4) -> np.ndarray:
    weights = np.full(side * side, 0.01)
    weights[region] = 1
    return weights


def cells(lit: np.ndarray, side: int = 4) -> np.ndarray:
    """The mean brightness of each region, (side, side)."""
    height, width = lit.shape[0] // side, lit.shape[1] // side
    return lit.mean(-1)[: height * side, : width * side].reshape(side, height, side, width).mean((1, 3))


@pytest.mark.parametrize("smooth", [True, False])
@pytest.mark.parametrize("region", [0, 3, 6, 12])
def test_overlay_is_brightest_where_attention_peaks(region, smooth):
    grey = np.full((80, 120, 3), 128, np.uint8)
    lit = overlay(grey, peak(region), smooth=smooth)
    assert lit.shape == grey.shape and lit.dtype == np.uint8
    assert cells(lit).argmax() == region  # row-major over the picture
    assert cells(lit).max() > 1.5 * np.median(cells(lit))


def test_true_grid_has_flat_cells_with_hard_edges_and_smooth_has_not():
    grey = np.full((80, 80, 3), 128, np.uint8)
    grid, smooth = (overlay(grey, peak(5), smooth=smooth) for smooth in (False, True))
    assert len(np.unique(grid)) == 2
    assert (grid[20:40, 20:40] == 128).all() and (grid[:20] < 80).all()
    assert len(np.unique(smooth)) > 20


def test_even_attention_leaves_the_picture_as_it_is(picture):
    for smooth in (True, False):
        assert np.array_equal(overlay(picture, np.full(49, 1 / 49), smooth=smooth), np.asarray(picture))


def test_strength_darkens_only_where_the_model_does_not_look():
    grey = np.full((80, 80, 3), 128, np.uint8)
    none, some, full = (overlay(grey, peak(0) - 0.01, False, strength) for strength in (0, 0.5, 1))
    assert np.array_equal(none, grey)
    assert (some[40:, 40:] == 64).all() and (full[40:, 40:] == 0).all() and (full[:20, :20] == 128).all()


@pytest.mark.parametrize(
    ("weights", "sentence"),
    [
        (np.ones(10), "square grid"),
        (np.ones((2, 8)), "square grid"),
        (np.array([0.5, np.nan, 0.2, 0.3]), "finite"),
        (np.array([0.5, -0.1, 0.3, 0.3]), "not negative"),
    ],
)
def test_overlay_says_what_is_wrong_with_the_weights(picture, weights, sentence):
    with pytest.raises(ValueError, match=sentence):
        overlay(picture, weights)


def test_a_tensor_shaped_picture_is_refused_with_advice():
    with pytest.raises(ValueError, match="permute"):
        overlay(np.zeros((3, 32, 48), np.uint8), np.ones(4))


@pytest.mark.parametrize("count", [0, 1, 6, 25])
def test_attention_figure_has_the_picture_and_a_panel_per_word(picture, count):
    words = (WORDS * 5)[:count]
    attention = [peak(t % 16) for t in range(count)]
    probabilities = [(t + 1) / 100 for t in range(count)]
    figure = attention_figure(picture, words, attention, probabilities)
    assert len(figure.axes) == count + 1
    assert [axes.get_title(loc="left") for axes in figure.axes[1:]] == words
    assert [axes.get_title(loc="right") for axes in figure.axes[1:]] == [f"{p:.2f}" for p in probabilities]
    shown = [np.asarray(axes.images[0].get_array()) for axes in figure.axes]
    for t in range(1, count + 1):
        assert not np.array_equal(shown[0], shown[t])


def test_attention_figure_marks_the_true_object_only_where_there_is_one(picture):
    mask = np.zeros((90, 120), bool)
    mask[20:60, 20:60] = True
    figure = attention_figure(picture, ["a", "ball"], [peak(0), peak(5)], masks=[None, mask])
    assert [len(axes.collections) for axes in figure.axes] == [0, 0, 1]


def test_titles_stay_inside_their_panels(picture):
    words = ["pneumonoultramicroscopicsilicovolcanoconiosis", "skateboarding"]
    figure = attention_figure(picture, words, [peak(0), peak(1)], [0.1, 0.99])
    figure.draw_without_rendering()
    for axes in figure.axes[1:]:
        left, right = axes._left_title.get_window_extent(), axes._right_title.get_window_extent()
        assert left.x0 >= axes.bbox.x0 - 1 and left.x1 <= right.x0


def test_attention_figure_names_the_lengths_that_differ(picture):
    with pytest.raises(ValueError, match="6 words but 5 rows of attention"):
        attention_figure(picture, WORDS, np.ones((5, 16)))
    with pytest.raises(ValueError, match="6 words but 2 probabilities"):
        attention_figure(picture, WORDS, np.ones((6, 16)), [0.1, 0.2])
    with pytest.raises(ValueError, match="columns"):
        attention_figure(picture, WORDS, np.ones((6, 16)), columns=0)


def test_a_film_has_the_bare_picture_and_one_for_each_word(picture):
    film = attention_film(picture, WORDS, [peak(t) for t in range(6)], [0.5] * 6)
    assert len(film) == 7 and len({frame.size for frame in film}) == 1
    sheets = [np.asarray(frame, int) for frame in film]
    assert all(abs(one - other).max() > 50 for one, other in pairwise(sheets))
    below = [sheet[int(sheet.shape[0] * 0.85) :] for sheet in sheets]  # the sentence
    marked = [(abs(part - (0, 114, 178)).sum(-1) < 60).any(0).nonzero()[0] for part in below]
    assert len(marked[0]) == 0, "no word is marked yet"
    assert all(one.max() < other.min() for one, other in pairwise(marked[1:])), "from left to right"


def test_looks_shows_a_bar_for_each_word(texts):
    figure = attention_mass(["a", "$red", "kite"], [0.1, 0.8, 0.95])
    assert [round(bar.get_height(), 2) for bar in figure.axes[0].patches] == [0.1, 0.8, 0.95]
    assert {"$red", "0.95"} <= set(texts(figure)) and "kite 0.95" in figure.alt
    with pytest.raises(ValueError, match="2 words and 1 shares"):
        attention_mass(["a", "b"], [0.5])


def test_grid_figure_numbers_the_regions_row_by_row(picture):
    figure = grid_figure(picture, 2, 3)
    at = {text.get_text(): text.get_position() for text in figure.axes[0].texts}
    assert list(at) == list("012345")
    assert at["2"][0] > at["1"][0] > at["0"][0] and at["3"][0] == at["0"][0] and at["3"][1] > at["0"][1]
    with pytest.raises(ValueError, match="at least one row"):
        grid_figure(picture, 0, 3)
