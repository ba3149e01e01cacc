"""The dataset in counts: the numbers are written, and what cannot be drawn is refused."""

import numpy as np
import pytest

from figures.data import (
    caption_lengths,
    category_counts,
    co_occurrence,
    coverage_curve,
    objects_per_picture,
    shares,
    word_frequencies,
)


def test_dataset_plots_state_their_numbers(texts):
    assert {"dog", "1,200"} <= set(texts(word_frequencies({"dog": 1200, "cat": 1, "a": 3000}, top=2)))
    assert "cat" not in texts(word_frequencies({"dog": 1200, "cat": 1}, top=1))
    assert any("at most 8 words" in text for text in texts(caption_lengths([7, 8, 8, 12])))
    rows = [(1, 5000, 1.0, 1.0), (5, 1500, 0.3, 0.98)]
    assert any("1,500 words make up 98.0%" in text for text in texts(coverage_curve(rows, chosen=5)))
    wide = coverage_curve([(1, 3000, 1.0, 1.0), (1000, 20, 0.01, 0.6)]).axes[0]
    assert wide.get_xscale() == "log", "thresholds over several decades keep their places apart"
    assert {"person", "and 1 more"} <= set(texts(category_counts({"person": 9, "dog": 3}, top=1)))
    assert any("2.5 objects" in text for text in texts(objects_per_picture([1, 2, 3, 4])))
    assert [text for text in texts(shares({"cat": 0.25, "dog": 0.5})) if "%" in text] == ["50%", "25%"]
    pairs = texts(co_occurrence(["cat", "dog", "car"], [[9, 2, 3], [2, 9, 4], [3, 4, 9]]))
    assert {"2", "3", "4"} <= set(pairs) and "9" not in pairs


def test_zipfs_law_is_a_straight_line_beside_the_counts_with_as_many_tokens():
    follows = {f"word {rank}": round(1000 / rank) for rank in range(1, 101)}
    axes = word_frequencies(follows).axes[1]
    law, counts = (np.array(line.get_xydata()) for line in axes.lines)
    slopes = np.diff(np.log(law[:, 1])) / np.diff(np.log(law[:, 0]))
    assert slopes == pytest.approx(-1) and axes.get_xscale() == axes.get_yscale() == "log"
    assert law[:, 1].sum() == pytest.approx(counts[:, 1].sum())
    assert law[:, 1] == pytest.approx(counts[:, 1], rel=0.06), "words that obey it lie on it"


@pytest.mark.parametrize("long", ["w" * 70, "w" * 900, "Привет" * 50])
def test_a_long_name_is_shortened_and_leaves_room_for_the_numbers(long, texts):
    counts = {long: 3, "a": 2}
    for figure in (
        word_frequencies(counts),
        category_counts(counts),
        shares({long: 0.5}),
        co_occurrence([*counts], np.eye(2)),
    ):
        figure._repr_mimebundle_()
        across, down = figure.get_size_inches()
        assert across < 10 and down < 5 and all(axes.get_position().width * across > 0.3 for axes in figure.axes)
        assert [text for text in texts(figure) if text.endswith("…") and long.startswith(text[:-1])]


def test_dataset_plots_refuse_what_they_cannot_draw():
    with pytest.raises(ValueError, match="no words"):
        word_frequencies({})
    with pytest.raises(ValueError, match="no captions"):
        caption_lengths([])
    with pytest.raises(ValueError, match="no pictures"):
        objects_per_picture([])
    with pytest.raises(ValueError, match="no shares"):
        shares({})
    with pytest.raises(ValueError, match="no row for threshold 7"):
        coverage_curve([(1, 10, 1.0, 1.0)], chosen=7)
    with pytest.raises(ValueError, match="3 names"):
        co_occurrence(["a", "b", "c"], np.ones((2, 2)))
