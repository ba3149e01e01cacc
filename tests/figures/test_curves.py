"""Curves say their numbers, and nothing is cut off."""

from itertools import pairwise

import numpy as np
import pytest

from figures.curves import curve, learning, training_curves


def epochs(*val: float) -> list[dict]:
    return [{"epoch": n, "train_perplexity": v * 0.9, "val_perplexity": v} for n, v in enumerate(val, start=1)]


def test_training_curves_point_out_the_best_epoch_and_the_floor(texts):
    written = " ".join(texts(training_curves(epochs(20, 8, 9), floor=4.5, uniform=1000)))
    assert "best 8, epoch 2" in written and "best possible 4.5" in written and "uniform guess 1,000" in written


@pytest.mark.parametrize(
    "history", [epochs(20), epochs(5.5, 5.4), {"one": epochs(9, 8), "two": epochs(9), "three": epochs(9)}]
)
def test_training_curves_draw_any_number_of_epochs_and_runs_without_cutting_text(history):
    figure = training_curves(history, floor=4.5)
    figure.draw_without_rendering()
    width, _ = figure.get_size_inches() * figure.dpi
    boxes = sorted((text.get_window_extent() for text in figure.axes[0].texts), key=lambda box: box.y0)
    assert max(box.x1 for box in boxes) <= width
    assert all(low.y1 <= high.y0 + 1 for low, high in pairwise(boxes))
    assert len([tick for tick in figure.axes[0].get_yticklabels() if tick.get_text()]) >= 2


def test_training_curves_without_an_epoch_say_so():
    with pytest.raises(ValueError, match="no epoch yet"):
        training_curves([])


def test_the_live_curve_has_room_for_all_epochs_and_says_where_it_is():
    empty, half = learning([], 8), learning(epochs(20, 8), 8)
    assert "epoch 0 of 8" in empty.alt and "epoch 2 of 8" in half.alt and "validation perplexity 8" in half.alt
    loss, perplexity = half.axes
    assert [axes.get_xlim()[1] for axes in (*empty.axes, *half.axes)] == [8.2] * 4
    assert loss.lines[0].get_ydata() == pytest.approx(np.log([20, 8]))
    assert list(perplexity.lines[0].get_ydata()) == [20, 8]


def test_curve_names_the_level_it_is_compared_with(texts):
    assert "people 9.5" in texts(curve([0, 1], [5, 9], "penalty", "words", ("people", 9.5)))
    with pytest.raises(ValueError, match="2 places and 1 values"):
        curve([0, 1], [5], "penalty", "words")
