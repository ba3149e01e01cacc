"""Where the model looks: the colours are where the weights are, and words, numbers and outlines are the right ones."""

from itertools import pairwise

import numpy as np
import pytest

from figures.attention import (
    attention_figure,
    attention_film,
    attention_mass,
    color_scale,
    grid_figure,
    overlay,
)

WORDS = ["a", "red", "ball", "on", "the", "grass"]


def peak(region: int, side: int = 4) -> np.ndarray:
    weights = np.full(side * side, 0.01)
    weights[region] = 1
    return weights


def grey(shown: np.ndarray) -> np.ndarray:
    """How bright a picture is to the eye, (H, W): what is left of it on a grey printer."""
    return shown @ np.array([0.299, 0.587, 0.114])


def cells(shown: np.ndarray, side: int = 4) -> np.ndarray:
    """The mean brightness of each region, (side, side)."""
    height, width = (size // side for size in shown.shape[:2])
    return grey(shown)[: height * side, : width * side].reshape(side, height, side, width).mean((1, 3))


def deuteranopic(shown: np.ndarray) -> np.ndarray:
    """As an eye without green cones sees it (Machado et al. 2009, severity 1), uint8 colours in, floats out."""
    matrix = np.array([[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]])
    return 255 * ((shown / 255) ** 2.2 @ matrix.T).clip(0, 1) ** (1 / 2.2)


NIGHT, DAY, BLACK, WHITE = "night", "day", "black", "white"


def scene(kind: str) -> np.ndarray:
    """A picture of bright and dark places whose brightness is that of a night, a day, or nothing but one colour."""
    low, high = {NIGHT: (0, 70), DAY: (150, 256), BLACK: (0, 1), WHITE: (255, 256)}[kind]
    return np.random.default_rng(0).integers(low, high, (80, 120, 3)).astype(np.uint8)


@pytest.mark.parametrize("kind", [NIGHT, DAY, BLACK, WHITE])
@pytest.mark.parametrize("smooth", [True, False])
@pytest.mark.parametrize("region", [0, 3, 6, 12])
def test_the_peak_is_the_darkest_place_by_night_and_by_day_also_in_grey(region, smooth, kind):
    heat = overlay(scene(kind), peak(region), smooth=smooth)
    assert heat.shape == (80, 120, 3) and heat.dtype == np.uint8
    for seen in (heat, deuteranopic(heat)):
        assert cells(seen).argmin() == region  # row-major over the picture
        assert cells(seen).min() < 0.75 * np.median(cells(seen))


@pytest.mark.parametrize("kind", [NIGHT, DAY])
def test_where_nothing_is_looked_at_the_picture_is_pale_grey_and_can_be_made_out(kind):
    shown = overlay(scene(kind), np.zeros(16))
    assert np.ptp(shown.astype(int), axis=2).max() == 0, "no colour"
    assert shown.min() > 150 and np.ptp(grey(shown)) > 50, "pale, but not blank"
    original = grey(scene(kind))
    assert np.corrcoef(grey(shown).ravel(), original.ravel())[0, 1] > 0.95


def test_more_weight_is_darker_at_every_step():
    shown = grey(
        np.array([overlay(np.full((4, 4, 3), 99, np.uint8), [weight], top=1)[0, 0] for weight in np.linspace(0, 1, 60)])
    )
    assert (np.diff(shown) < 0).all()


def test_true_grid_has_flat_cells_with_hard_edges_and_smooth_has_not():
    plain = np.full((80, 80, 3), 128, np.uint8)
    grid, smooth = (overlay(plain, peak(5), smooth=smooth) for smooth in (False, True))
    assert len(np.unique(grey(grid))) == 2
    assert len(np.unique(grey(grid)[20:40, 20:40])) == 1 and len(np.unique(grey(grid)[:20])) == 1
    assert len(np.unique(grey(smooth))) > 20


def test_even_attention_is_pale_everywhere():
    for smooth in (True, False):
        shown = grey(overlay(scene(DAY), np.full(49, 1 / 49), smooth=smooth))
        assert shown.min() > 120


def test_all_words_share_one_scale(picture):
    sure, unsure = peak(5) / peak(5).sum(), np.full(16, 1 / 16)
    unsure[5] = 0.2
    alone = overlay(picture, unsure)
    beside = np.asarray(attention_figure(picture, ["a", "b"], [sure, unsure]).axes[2].images[0].get_array())
    height, width = beside.shape[0] // 4, beside.shape[1] // 4
    assert cells(beside)[1, 1] > cells(alone)[1, 1] + 20 and height and width
    assert color_scale([sure, unsure]) == pytest.approx(sure.max())


def test_the_scale_is_written_on_the_figure(picture, texts):
    figure = attention_figure(picture, ["a"], [peak(3) / peak(3).sum()])
    assert {"0", "0.87"} <= set(texts(figure))


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
    panels = figure.axes[: count + 1]
    assert len(figure.axes) == count + 1 + (count > 0), "and the scale of colours"
    assert [axes.get_title(loc="left") for axes in panels[1:]] == words
    assert [axes.get_title(loc="right") for axes in panels[1:]] == [f"{p:.2f}" for p in probabilities]
    shown = [np.asarray(axes.images[0].get_array()) for axes in panels]
    for t in range(1, count + 1):
        assert not np.array_equal(shown[0], shown[t])


def test_attention_figure_marks_the_true_object_only_where_there_is_one(picture):
    mask = np.zeros((90, 120), bool)
    mask[20:60, 20:60] = True
    figure = attention_figure(picture, ["a", "ball"], [peak(0), peak(5)], masks=[None, mask])
    assert [len(axes.collections) for axes in figure.axes[:3]] == [0, 0, 1]


def test_titles_stay_inside_their_panels(picture):
    words = ["pneumonoultramicroscopicsilicovolcanoconiosis", "skateboarding"]
    figure = attention_figure(picture, words, [peak(0), peak(1)], [0.1, 0.99])
    figure.draw_without_rendering()
    for axes in figure.axes[1:3]:
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


def test_a_film_marks_all_of_a_word_that_is_cut_into_pieces_and_only_that(picture):
    film = attention_film(picture, ["Привет" * 12, "собака", "<end>"], np.ones((3, 16)))
    below = [np.asarray(frame, int)[int(frame.height * 0.72) :] for frame in film]
    blue = [(abs(part - (0, 114, 178)).sum(-1) < 60).any(1).nonzero()[0] for part in below]
    assert len(blue) == 4 and len(blue[0]) == 0 and all(map(len, blue[1:]))
    assert np.ptp(blue[1]) > 2 * np.ptp(blue[3]), "two lines of it"
    assert blue[1].max() < blue[3].max() + 25 and blue[2].max() > blue[1].min()


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
