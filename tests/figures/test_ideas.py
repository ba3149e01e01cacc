"""The drawings of ideas show what is true of the words and numbers that they were given."""

import re
from pathlib import Path

import nbformat
import pytest
from matplotlib.text import Text

from figures.ideas import batch_figure, beam_tree, choices_figure, course_map, teacher_forcing_figure

ROOT = Path(__file__).parents[2]


def test_batch_is_ordered_by_length_with_the_running_count_on_top(texts):
    figure = batch_figure([["a", "ball"], ["two", "red", "balls"], ["one"]])
    words = {text.get_text(): text.get_position() for text in figure.axes[0].texts}
    assert words["two"][1] < words["a"][1] < words["one"][1]  # y points down
    assert [text for text in texts(figure) if text.isdigit()] == ["3", "2", "1"]
    assert "33% of the cells" in words.popitem()[0] + " ".join(words)
    batch_figure([["word"] * n for n in range(1, 60)])


def test_teacher_forcing_feeds_true_words_and_free_running_its_own():
    figure = teacher_forcing_figure(["a", "dog", "runs"], ["a", "cat", "runs"], ["a", "cat", "sits"])
    page = figure.axes[0]
    rows: dict[float, list[str]] = {}
    for text in page.texts:
        rows.setdefault(round(text.get_position()[1], 2), []).append(text.get_text())
    inputs = [row[1:] if row[0] == "input" else row for row in rows.values() if "<start>" in row]
    assert inputs == [["<start>", "a", "dog"], ["<start>", "a", "cat"]]
    with pytest.raises(ValueError, match="2 true words, 1 guesses"):
        teacher_forcing_figure(["a", "dog"], ["a"])


def test_choices_stand_in_their_order_with_their_probabilities(texts):
    steps = [[("a", 0.75), ("the", 0.25)]] + [[("hippopotamus", 0.5), ("cat", 0.125)]] * 9
    written = texts(figure := choices_figure(steps))
    assert written[:5] == ["1", "a", "0.75", "the", "0.25"] and written.count("hippopotamus") == 9
    longest = next(t for t in figure.findobj(Text) if t.get_text() == "hippopotamus")
    assert longest.get_window_extent().x1 <= figure.bbox.x1
    with pytest.raises(ValueError, match="no step"):
        choices_figure([])


def test_a_beam_tree_shows_what_was_kept_and_who_won(texts):
    none = float("-inf")
    steps = [
        [(0, "a", -0.5, False), (0, "the", -1.0, False)],
        [(0, "cat", -1.5, False), (1, "dog", -1.6, False)],
        [(1, "<end>", -1.7, True), (0, "sat", -4.0, False)],
        [(1, "<end>", -4.5, True), (1, "x", none, False)],
    ]
    figure = beam_tree(steps)
    assert figure.alt == "a beam search; the winner: the dog <end>"
    assert {"a", "cat", "sat", "<end>", "-1.6"} <= set(texts(figure)) and "x" not in texts(figure)
    with pytest.raises(ValueError, match="no hypothesis"):
        beam_tree([[(0, "a", none, False)]])


@pytest.mark.parametrize("current", range(4))
def test_the_course_map_names_each_notebook_with_what_it_introduces_and_marks_the_current_one(current):
    page = course_map(current).axes[0]
    titles, modules = page.texts[::2], page.texts[1::2]
    notebooks = [ROOT / f"{title.get_text().replace('  ', '_')}.ipynb" for title in titles]
    assert notebooks == sorted(ROOT.glob("[0-9]_*.ipynb"))
    for notebook, introduced in zip(notebooks, modules, strict=True):
        cells = nbformat.read(notebook, as_version=4).cells
        code = "\n".join(cell.source for cell in cells if cell.cell_type == "code")
        for name in introduced.get_text().split(" · "):
            assert (ROOT / f"{name}.py").is_file() or (ROOT / name / "__init__.py").is_file(), name
            assert re.search(rf"^\s*(from|import) {name}\b", code, re.M), f"{notebook.name} does not import {name}"
    assert [title.get_weight() == "bold" for title in titles] == [number == current for number in range(4)]
    largest = max((dot for dot in page.lines if dot.get_marker() == "o"), key=lambda dot: dot.get_markersize())
    assert abs(largest.get_xdata()[0] - titles[current].get_position()[0]) < 0.2


def test_the_course_map_knows_no_fifth_notebook():
    with pytest.raises(ValueError, match="no 4"):
        course_map(4)
