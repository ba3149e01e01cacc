"""The drawings of a step say what the code computes, and nothing is cut off or written over something else."""

import re
from itertools import combinations

import numpy as np
import pytest
from matplotlib.text import Text
from PIL import Image

from figures.attention import HEAT
from figures.mechanisms import lstm_figure, spatial_step_figure, weighted_sum_figure


def peaks(side: int = 4, **chosen: float) -> np.ndarray:
    """Weights that sum to one: those given by region ("r5"), the rest shared alike."""
    given = {int(name[1:]): weight for name, weight in chosen.items()}
    weights = np.full(side * side, (1 - sum(given.values())) / max(side * side - len(given), 1), np.float32)
    weights[list(given)] = list(given.values())
    return weights


def strips(figure) -> list[np.ndarray]:
    """The vectors drawn: eight cells of three colours each."""
    shown = [np.asarray(axes.images[0].get_array()) for axes in figure.axes if axes.images]
    return [array[0] for array in shown if array.shape == (1, 8, 3)]


@pytest.mark.parametrize("draw", [lstm_figure, spatial_step_figure])
def test_every_text_of_a_drawing_can_be_read(draw):
    figure = draw()
    figure.draw_without_rendering()
    width, height = figure.get_size_inches() * figure.dpi
    boxes = {text.get_text(): text.get_window_extent() for text in figure.axes[0].texts}
    for box in boxes.values():
        assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= width and box.y1 <= height
    for (one, box), (other, beside) in combinations(boxes.items(), 2):
        assert not box.shrunk(0.9, 0.7).overlaps(beside.shrunk(0.9, 0.7)), f"{one} covers {other}"


def test_the_lstm_has_its_gates_in_the_order_of_the_code_and_each_its_squashing(texts):
    figure = lstm_figure()
    places = {text.get_text(): text.get_position() for text in figure.axes[0].texts}
    gates = [name for name in sorted(places, key=lambda name: places[name][0]) if re.match(r"\$\\bf", name)]
    assert [name.split()[-1] for name in gates] == ["input", "forget", "candidate", "output"]
    squashes = [t for t in figure.axes[0].texts if t.get_text() in ("σ", "tanh")]
    over = {
        round(t.get_position()[0], 2): t.get_text()
        for t in sorted(squashes, key=lambda t: t.get_position()[1])  # the lowest last: those next to the gates
    }
    assert [over[round(places[name][0], 2)] for name in gates] == ["σ", "σ", "tanh", "σ"]
    assert "c' = σ(f) · c + σ(i) · tanh(g)" in figure.alt and "h' = σ(o) · tanh(c')" in figure.alt


def test_the_decoders_step_goes_from_the_word_over_the_look_to_the_scores(texts):
    figure = spatial_step_figure()
    places = {text.get_text(): text.get_position()[0] for text in figure.axes[0].texts}
    order = ["word", "embedding", "word LSTM", "look", "language LSTM", "scores"]
    assert sorted(order, key=places.get) == order


def test_the_weighted_sum_cuts_out_the_largest_regions_and_adds_them_truly(picture, texts):
    weights = peaks(r5=0.5, r10=0.2, r0=0.1, r3=0.08)
    figure = weighted_sum_figure(picture, weights, "ball")
    written = texts(figure)
    assert [text for text in written if "×" in text] == ["0.50 ×", "0.20 ×", "0.10 ×", "0.08 ×", "0.12 ×"]
    assert [text for text in written if "a_{" in text] == ["$a_{5}$", "$a_{10}$", "$a_{0}$", "$a_{3}$"]
    assert "ball" in written and "the other 12" in written and "0.50 times region 5" in figure.alt
    *terms, z = strips(figure)
    factors = [0.5, 0.2, 0.1, 0.08, 0.12]
    assert z == pytest.approx(sum(f * term for f, term in zip(factors, terms, strict=True)), abs=1e-3)


@pytest.mark.parametrize("region", range(4))
def test_a_region_is_cut_out_where_it_lies(region):
    quarters = np.array([[10, 60], [120, 240]], np.uint8)  # row by row
    image = np.repeat(quarters.repeat(45, 0).repeat(60, 1)[..., None], 3, axis=2)
    figure = weighted_sum_figure(image, peaks(side=2, **{f"r{region}": 1.0}))
    tile = np.asarray(figure.axes[2].images[0].get_array())
    assert tile.mean() == pytest.approx(quarters.flat[region], abs=1)


def test_the_largest_weight_has_the_darkest_cell(picture):
    figure = weighted_sum_figure(picture, peaks(r6=0.6))
    heat = np.asarray(figure.axes[1].images[0].get_array()).mean(-1)
    height, width = (size // 4 for size in heat.shape)
    cells = heat[: 4 * height, : 4 * width].reshape(4, height, 4, width).mean((1, 3))
    assert cells.argmin() == 6 and HEAT[-1].mean() < HEAT[0].mean()


@pytest.mark.parametrize("side", [1, 2, 14])
def test_the_weighted_sum_fits_its_page_for_any_grid_and_format(side):
    for height, width in ((300, 100), (100, 300), (20, 20)):
        image = np.full((height, width, 3), 90, np.uint8)
        figure = weighted_sum_figure(image, np.full(side * side, side**-2.0), "$5 for a title")
        figure.draw_without_rendering()
        page = figure.bbox
        for text in figure.findobj(Text):
            box = text.get_window_extent()
            assert not text.get_text() or (box.x1 <= page.x1 and box.y0 >= 0 and box.y1 <= page.y1)


def test_the_weighted_sum_refuses_what_is_no_attention(picture):
    with pytest.raises(ValueError, match=r"sum to one, but these sum to 2"):
        weighted_sum_figure(picture, np.full(16, 1 / 8))
    with pytest.raises(ValueError, match="square grid"):
        weighted_sum_figure(picture, np.full(10, 0.1))
    with pytest.raises(ValueError, match="not negative"):
        weighted_sum_figure(picture, np.array([1.5, -0.5, 0, 0]))


@pytest.mark.parametrize("size", [(1, 3000), (3000, 1), (1, 1), (10, 10_000)])
def test_a_weighted_sum_of_a_thin_picture_has_all_its_regions(size):
    figure = weighted_sum_figure(Image.new("RGB", size, "red"), np.full(49, 1 / 49))
    figure._repr_mimebundle_()
    for vector in strips(figure):
        assert vector.reshape(-1, 3) == pytest.approx(np.tile([1, 0, 0], (8, 1)))
