"""Curves say their numbers, and nothing is cut off."""

from itertools import pairwise

import pytest

from figures.curves import curve, learning, training_curves


def epochs(*val: float) -> list[dict]:
    return [{"epoch": n, "train_perplexity": v * 0.9, "val_perplexity": v} for n, v in enumerate(val, start=1)]


RUNGS = {"uniform": 1000, "word counts": 48.5, "pairs of words": 10}


def heights(axes) -> dict[str, float]:
    """Where each label right of the axes stands, in pixels from below."""
    return {text.get_text(): text.get_window_extent().y0 for text in axes.texts}


def test_training_curves_point_out_the_best_epoch_the_floor_and_the_rungs(texts):
    figure = training_curves(epochs(20, 8, 9), floor=4.5, rungs=RUNGS)
    for said in ("best 8, epoch 2", "floor 4.5", "uniform 1,000", "word counts 48.5", "pairs of words 10"):
        assert said in " ".join(texts(figure)) and said in figure.alt


@pytest.mark.parametrize("first", [5, 80], ids=["linear", "logarithmic"])
def test_training_curves_give_their_height_to_the_curves_whatever_is_far_above(first):
    figure = training_curves(epochs(first, 3, 2.5), floor=2, rungs={"uniform": 1e5, "pairs of words": 6.3})
    axes = figure.axes[0]
    ends = axes.transAxes.inverted().transform(axes.transData.transform([(1, first), (1, 2)]))[:, 1]
    assert ends[1] < 0.1 and ends[0] > 0.6
    assert axes.get_yscale() == ("linear" if first == 5 else "log")


def test_rungs_far_above_stand_in_their_order_over_a_break():
    figure = training_curves(epochs(5, 3), rungs=RUNGS)
    figure.draw_without_rendering()
    axes, band = figure.axes
    order = ["pairs of words 10", "word counts 48.5", "uniform 1,000"]
    assert sorted(heights(band), key=heights(band).get) == order
    assert min(heights(band).values()) > max(heights(axes).values())
    assert all(line.get_window_extent().y0 > axes.bbox.y1 for line in band.lines[:3]), "no curve has this height"
    assert len(training_curves(epochs(5, 3), rungs={"pairs of words": 6}).axes) == 1, "a near one needs no break"


NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    "history", [[8, NAN], [8, INF], [NAN, 8, 9], [INF, 8], [8, 1e300, 9], [8, 1.7e308], [1e99] * 2]
)
def test_a_training_that_has_gone_wrong_is_drawn_as_far_as_it_went(history):
    for figure in (training_curves(epochs(*history)), training_curves({"a": epochs(*history), "b": epochs(9, 7)})):
        figure._repr_mimebundle_()
        assert figure.get_figwidth() < 9 and ("best 8, epoch" in figure.alt) == (8 in history)
    live = learning(epochs(*history), 5, floor=3)
    live._repr_mimebundle_()
    assert live.get_figwidth() < 9 and len(live.alt) < 120


@pytest.mark.parametrize("nowhere", [NAN, INF])
def test_where_no_perplexity_is_finite_there_is_a_sentence(nowhere):
    with pytest.raises(ValueError, match="validation: no epoch has a finite perplexity"):
        training_curves(epochs(nowhere, nowhere))
    learning(epochs(nowhere), 5)._repr_mimebundle_()  # while it trains it draws on


def test_a_run_of_a_long_name_leaves_room_for_its_curve():
    assert training_curves({"x" * 400: epochs(9, 8)}, rungs={"y" * 400: 9}).get_figwidth() < 13


MANY = {f"run {number}": epochs(9, 8 + number / 50) for number in range(20)}


@pytest.mark.parametrize(
    "history", [epochs(20), epochs(5.5, 5.4), {"one": epochs(9, 8), "two": epochs(9), "three": epochs(9)}, MANY]
)
@pytest.mark.parametrize("floor", [4.5, 7.99])
def test_training_curves_draw_any_number_of_epochs_and_runs_and_no_label_covers_another(history, floor):
    figure = training_curves(history, floor=floor, rungs=RUNGS)
    figure.draw_without_rendering()
    width, height = figure.get_size_inches() * figure.dpi
    labels = [text.get_window_extent() for axes in figure.axes for text in axes.texts] + [
        text.get_window_extent() for text in figure.texts
    ]
    boxes = sorted(labels, key=lambda box: box.y0)
    assert max(box.x1 for box in boxes) <= width and boxes[0].y0 >= 0 and boxes[-1].y1 <= height
    assert all(low.y1 <= high.y0 + 1 for low, high in pairwise(boxes))
    assert len([tick for tick in figure.axes[0].get_yticklabels() if tick.get_text()]) >= 2


def test_labels_that_do_not_meet_stand_at_their_values():
    figure = training_curves({"high": epochs(9, 8), "low": epochs(5, 2)}, floor=1.9)
    figure.draw_without_rendering()
    axes = figure.axes[0]
    (high,) = [text for text in axes.texts if "high" in text.get_text()]
    box = high.get_window_extent()
    assert (box.y0 + box.y1) / 2 == pytest.approx(axes.transData.transform((1, 8))[1], abs=3)


def test_training_curves_without_an_epoch_say_so():
    with pytest.raises(ValueError, match="no epoch yet"):
        training_curves([])


def test_training_curves_refuse_a_level_that_is_no_perplexity():
    with pytest.raises(ValueError, match=r"floor 0\.5"):
        training_curves(epochs(5), floor=0.5)
    with pytest.raises(ValueError, match="uniform nan"):
        training_curves(epochs(5), rungs={"uniform": float("nan")})


def test_the_live_curve_has_room_for_all_epochs_and_says_where_it_is(texts):
    empty, half = learning([], 8), learning(epochs(20, 8), 8, floor=7)
    assert "epoch 0 of 8" in empty.alt and "epoch 2 of 8" in half.alt and "validation perplexity 8" in half.alt
    assert [axes.get_xlim()[1] for axes in (*empty.axes, *half.axes)] == [8.2] * 2
    assert list(half.axes[0].lines[0].get_ydata()) == [20, 8] and "floor 7" in texts(half)


def test_curve_names_the_level_it_is_compared_with(texts):
    assert "people 9.5" in texts(curve([0, 1], [5, 9], "penalty", "words", ("people", 9.5)))
    with pytest.raises(ValueError, match="2 places and 1 values"):
        curve([0, 1], [5], "penalty", "words")
