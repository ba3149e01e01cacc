"""The figures: what they show, where they show it, and what they say to wrong input."""

import base64
import io
from itertools import pairwise

import matplotlib.pyplot as plt
import nbformat
import numpy as np
import pytest
from matplotlib.colors import to_rgba
from matplotlib.text import Text
from nbclient import NotebookClient
from PIL import Image, ImageDraw

from figures import plots, visualize

WORDS = ["a", "red", "ball", "on", "the", "grass"]


@pytest.fixture
def picture() -> Image.Image:
    image = Image.new("RGB", (120, 90), "#b0b0b0")
    ImageDraw.Draw(image).ellipse((20, 20, 60, 60), fill="#cc3333")
    return image


def peak(region: int, side: int = 4) -> np.ndarray:
    weights = np.full(side * side, 0.01)
    weights[region] = 1
    return weights


def texts(figure) -> list[str]:
    """Everything written on a figure."""
    figure.draw_without_rendering()
    return [text.get_text() for text in figure.findobj(Text) if text.get_text()]


def cells(lit: np.ndarray, side: int = 4) -> np.ndarray:
    """The mean brightness of each region, (side, side)."""
    height, width = lit.shape[0] // side, lit.shape[1] // side
    return lit.mean(-1)[: height * side, : width * side].reshape(side, height, side, width).mean((1, 3))


@pytest.mark.parametrize("smooth", [True, False])
@pytest.mark.parametrize("region", [0, 3, 6, 12])
def test_overlay_is_brightest_where_attention_peaks(region, smooth):
    grey = np.full((80, 120, 3), 128, np.uint8)
    lit = visualize.overlay(grey, peak(region), smooth=smooth)
    assert lit.shape == grey.shape and lit.dtype == np.uint8
    assert cells(lit).argmax() == region  # row-major over the picture
    assert cells(lit).max() > 1.5 * np.median(cells(lit))


def test_true_grid_has_flat_cells_with_hard_edges_and_smooth_has_not():
    grey = np.full((80, 80, 3), 128, np.uint8)
    grid, smooth = (visualize.overlay(grey, peak(5), smooth=smooth) for smooth in (False, True))
    assert len(np.unique(grid)) == 2
    assert (grid[20:40, 20:40] == 128).all() and (grid[:20] < 80).all()
    assert len(np.unique(smooth)) > 20


def test_even_attention_leaves_the_picture_as_it_is(picture):
    for smooth in (True, False):
        assert np.array_equal(visualize.overlay(picture, np.full(49, 1 / 49), smooth=smooth), np.asarray(picture))


def test_strength_darkens_only_where_the_model_does_not_look():
    grey = np.full((80, 80, 3), 128, np.uint8)
    none, some, full = (visualize.overlay(grey, peak(0) - 0.01, False, strength) for strength in (0, 0.5, 1))
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
        visualize.overlay(picture, weights)


def test_a_tensor_shaped_picture_is_refused_with_advice():
    with pytest.raises(ValueError, match="permute"):
        visualize.overlay(np.zeros((3, 32, 48), np.uint8), np.ones(4))


@pytest.mark.parametrize("count", [0, 1, 6, 25])
def test_attention_figure_has_the_picture_and_a_panel_per_word(picture, count):
    words = (WORDS * 5)[:count]
    attention = [peak(t % 16) for t in range(count)]
    figure = visualize.attention_figure(picture, words, attention, [0.5] * count)
    assert len(figure.axes) == count + 1
    assert [axes.get_title(loc="left") for axes in figure.axes[1:]] == words
    assert all(axes.get_title(loc="right") == "0.50" for axes in figure.axes[1:])
    shown = [np.asarray(axes.images[0].get_array()) for axes in figure.axes]
    for t in range(1, count + 1):
        assert not np.array_equal(shown[0], shown[t])


def test_attention_figure_marks_the_true_object_only_where_there_is_one(picture):
    mask = np.zeros((90, 120), bool)
    mask[20:60, 20:60] = True
    figure = visualize.attention_figure(picture, ["a", "ball"], [peak(0), peak(5)], masks=[None, mask])
    assert [len(axes.collections) for axes in figure.axes] == [0, 0, 1]


def test_titles_stay_inside_their_panels(picture):
    words = ["pneumonoultramicroscopicsilicovolcanoconiosis", "skateboarding"]
    figure = visualize.attention_figure(picture, words, [peak(0), peak(1)], [0.1, 0.99])
    figure.draw_without_rendering()
    for axes in figure.axes[1:]:
        left, right = axes._left_title.get_window_extent(), axes._right_title.get_window_extent()
        assert left.x0 >= axes.bbox.x0 - 1 and left.x1 <= right.x0


def test_attention_figure_names_the_lengths_that_differ(picture):
    with pytest.raises(ValueError, match="6 words but 5 rows of attention"):
        visualize.attention_figure(picture, WORDS, np.ones((5, 16)))
    with pytest.raises(ValueError, match="6 words but 2 probabilities"):
        visualize.attention_figure(picture, WORDS, np.ones((6, 16)), [0.1, 0.2])
    with pytest.raises(ValueError, match="columns"):
        visualize.attention_figure(picture, WORDS, np.ones((6, 16)), columns=0)


def test_a_film_has_the_bare_picture_and_one_for_each_word(picture):
    film = visualize.attention_film(picture, WORDS, [peak(t) for t in range(6)], [0.5] * 6)
    assert len(film) == 7 and len({frame.size for frame in film}) == 1
    sheets = [np.asarray(frame, int) for frame in film]
    assert all(abs(one - other).max() > 50 for one, other in pairwise(sheets))
    below = [sheet[int(sheet.shape[0] * 0.85) :] for sheet in sheets]  # the sentence
    marked = [(abs(part - (0, 114, 178)).sum(-1) < 60).any(0).nonzero()[0] for part in below]
    assert len(marked[0]) == 0, "no word is marked yet"
    assert all(one.max() < other.min() for one, other in pairwise(marked[1:])), "from left to right"


def test_gallery_writes_every_word_and_marks_right_and_wrong(picture):
    long = " ".join(WORDS * 4)
    figure = visualize.gallery(
        [picture] * 4,
        ["a red ball"] * 4,
        ["a ball", long, "", "a blue ball"],
        highlight=[{}] * 3 + [{1: False, 2: True}],
    )
    assert texts(figure).count("predicted") == 4 and " ".join(texts(figure)).count("grass") == 4
    colors = {text.get_text(): text.get_color() for text in figure.texts[-3:]}
    assert colors == {"a": visualize.INK, "blue": visualize.ORANGE, "ball": visualize.GREEN}
    assert (
        len(figure.findobj(lambda thing: thing in figure.artists or thing in figure.lines)) == 1
    )  # wrong is underlined


def test_gallery_text_is_never_cut(picture):
    figure = visualize.gallery([picture] * 2, ["a"] * 2, [" ".join(WORDS * 8), "x" * 200], columns=2)
    figure.draw_without_rendering()
    width, height = figure.get_size_inches() * figure.dpi
    for text in figure.texts:
        box = text.get_window_extent()
        assert box.x0 >= 0 and box.x1 <= width and box.y0 >= 0 and box.y1 <= height


def test_a_dollar_is_no_formula(picture):
    strange = "$x_1^$ 5$ \\frac"
    visualize.gallery([picture], [strange], [strange])._repr_mimebundle_()
    visualize.attention_figure(picture, ["$x^^$"], [peak(0)])._repr_mimebundle_()
    plots.batch_figure([["$x^^$"]])._repr_mimebundle_()


def test_gallery_and_grid_refuse_lists_of_different_lengths(picture):
    with pytest.raises(ValueError, match="2 pictures, 1 actual and 2 predicted"):
        visualize.gallery([picture] * 2, ["a"], ["a", "b"])
    with pytest.raises(ValueError, match="3 pictures and 1 titles"):
        visualize.image_grid([picture] * 3, ["a"])
    with pytest.raises(ValueError, match="3 pictures and 1 masks"):
        visualize.image_grid([picture] * 3, masks=[None])
    with pytest.raises(ValueError, match="2 pictures and 1 lists of captions"):
        visualize.captioned([picture] * 2, [["a"]])
    with pytest.raises(ValueError, match="each caption of each picture"):
        visualize.captioned([picture], [["a", "b"]], named=[[{}]])


def test_image_grid_outlines_a_mask_only_where_there_is_one(picture):
    mask = np.zeros((90, 120), bool)
    mask[20:60, 20:60] = True
    figure = visualize.image_grid([picture] * 2, masks=[mask, None])
    assert [len(axes.collections) for axes in figure.axes] == [1, 0]
    with pytest.raises(ValueError, match="a mask is"):
        visualize.image_grid([picture], masks=[mask.T])
    beside = visualize.captioned([picture] * 2, [["a ball"]] * 2, masks=[mask, None])
    assert [len(axes.collections) for axes in beside.axes] == [1, 0]
    with pytest.raises(ValueError, match="1 pictures and 2 masks"):
        visualize.captioned([picture], [["a ball"]], masks=[mask, None])


def test_captions_stand_beside_their_picture_whole_and_names_in_the_colour_of_their_category(picture):
    captions = [["a red ball", " ".join(WORDS * 6)], ["one"], ["x" * 200, "$5"]]
    named = [[{2: "sports ball"}, {}], [{}], [{}, {}]]
    figure = visualize.captioned([picture, picture.resize((30, 120)), picture], captions, named=named)
    figure.draw_without_rendering()
    width, height = figure.get_size_inches() * figure.dpi
    boxes = [text.get_window_extent() for text in figure.texts]
    assert all(box.x0 >= 0 and box.x1 <= width and box.y0 >= 0 and box.y1 <= height for box in boxes)
    first = figure.axes[0].get_window_extent()
    assert boxes[0].x0 > first.x1 and abs(boxes[0].y1 - first.y1) < 10
    ball = next(text.get_color() for text in figure.texts if text.get_text() == "ball")
    box = visualize.show_annotations(picture, [("sports ball", None, (0, 0, 9, 9))]).axes[0].patches[0]
    assert to_rgba(ball) == box.get_edgecolor() and figure.texts[0].get_color() == visualize.INK


def test_image_grid_takes_arrays_and_pictures_of_any_shape(picture):
    tall = np.zeros((500, 40, 3), np.uint8)
    figure = visualize.image_grid(
        [picture, tall, picture.convert("L")], ["one", "two words", "three\nlines"], columns=2
    )
    assert len(figure.axes) == 3 and {"one", "words", "lines"} <= set(texts(figure))


def test_annotations_show_what_is_asked_for_in_stable_colours(picture):
    mask = np.zeros((90, 120), bool)
    mask[20:60, 20:60] = True
    ball, bench = ("sports ball", mask, (20, 20, 40, 40)), ("bench", None, (0, 0, 30, 20))
    both = visualize.show_annotations(picture, [ball, bench])
    assert {"sports ball", "bench"} <= set(texts(both))
    assert len(both.axes[0].patches) == 2 and len(both.axes[0].images) == 2
    bare = visualize.show_annotations(picture, [ball, bench], names=False, boxes=False, masks=False)
    assert not texts(bare) and not bare.axes[0].patches and len(bare.axes[0].images) == 1
    alone = visualize.show_annotations(picture, [bench])
    assert alone.axes[0].patches[0].get_edgecolor() == both.axes[0].patches[1].get_edgecolor()
    with pytest.raises(ValueError, match="a mask is"):
        visualize.show_annotations(picture, [("sports ball", mask.T, (0, 0, 1, 1))])


def test_boxes_lie_on_their_objects_whatever_the_picture_is_scaled_to(picture):
    figure = visualize.show_annotations(picture, [("ball", None, (20, 20, 40, 40))])
    axes = figure.axes[0]
    shown = np.asarray(axes.images[0].get_array())
    box = axes.patches[0]
    x, y, side = (round(value) for value in (box.get_x(), box.get_y(), box.get_width()))
    inside = shown[y : y + side, x : x + side]
    red = (shown[..., 0].astype(int) - shown[..., 1] > 60).sum()
    assert red > 1000 and (inside[..., 0].astype(int) - inside[..., 1] > 60).sum() > 0.95 * red


def test_grid_figure_numbers_the_regions_row_by_row(picture):
    figure = visualize.grid_figure(picture, 2, 3)
    at = {text.get_text(): text.get_position() for text in figure.axes[0].texts}
    assert list(at) == list("012345")
    assert at["2"][0] > at["1"][0] > at["0"][0] and at["3"][0] == at["0"][0] and at["3"][1] > at["0"][1]
    with pytest.raises(ValueError, match="at least one row"):
        visualize.grid_figure(picture, 0, 3)


def epochs(*val: float) -> list[dict]:
    return [{"epoch": n, "train_perplexity": v * 0.9, "val_perplexity": v} for n, v in enumerate(val, start=1)]


def test_training_curves_point_out_the_best_epoch_and_the_floor():
    written = " ".join(texts(plots.training_curves(epochs(20, 8, 9), floor=4.5, uniform=1000)))
    assert "best 8, epoch 2" in written and "best possible 4.5" in written and "uniform guess 1,000" in written


@pytest.mark.parametrize(
    "history", [epochs(20), epochs(5.5, 5.4), {"one": epochs(9, 8), "two": epochs(9), "three": epochs(9)}]
)
def test_training_curves_draw_any_number_of_epochs_and_runs_without_cutting_text(history):
    figure = plots.training_curves(history, floor=4.5)
    figure.draw_without_rendering()
    width, _ = figure.get_size_inches() * figure.dpi
    boxes = sorted((text.get_window_extent() for text in figure.axes[0].texts), key=lambda box: box.y0)
    assert max(box.x1 for box in boxes) <= width
    assert all(low.y1 <= high.y0 + 1 for low, high in pairwise(boxes))
    assert len([tick for tick in figure.axes[0].get_yticklabels() if tick.get_text()]) >= 2


def test_training_curves_without_an_epoch_say_so():
    with pytest.raises(ValueError, match="no epoch yet"):
        plots.training_curves([])


def test_the_live_curve_has_room_for_all_epochs_and_says_where_it_is():
    empty, half = plots.learning([], 8), plots.learning(epochs(20, 8), 8)
    assert "epoch 0 of 8" in empty.alt and "epoch 2 of 8" in half.alt and "validation perplexity 8" in half.alt
    loss, perplexity = half.axes
    assert [axes.get_xlim()[1] for axes in (*empty.axes, *half.axes)] == [8.2] * 4
    assert loss.lines[0].get_ydata() == pytest.approx(np.log([20, 8]))
    assert list(perplexity.lines[0].get_ydata()) == [20, 8]


def test_dataset_plots_state_their_numbers():
    assert {"dog", "1,200"} <= set(texts(plots.word_frequencies({"dog": 1200, "cat": 1, "a": 3000}, top=2)))
    assert "cat" not in texts(plots.word_frequencies({"dog": 1200, "cat": 1}, top=1))
    assert any("at most 8 words" in text for text in texts(plots.caption_lengths([7, 8, 8, 12])))
    rows = [(1, 5000, 1.0, 1.0), (5, 1500, 0.3, 0.98)]
    assert any("1,500 words make up 98.0%" in text for text in texts(plots.coverage_curve(rows, chosen=5)))
    wide = plots.coverage_curve([(1, 3000, 1.0, 1.0), (1000, 20, 0.01, 0.6)]).axes[0]
    assert wide.get_xscale() == "log", "thresholds over several decades keep their places apart"
    assert {"person", "and 1 more"} <= set(texts(plots.category_counts({"person": 9, "dog": 3}, top=1)))
    assert any("2.5 objects" in text for text in texts(plots.objects_per_picture([1, 2, 3, 4])))
    assert [text for text in texts(plots.shares({"cat": 0.25, "dog": 0.5})) if "%" in text] == ["50%", "25%"]
    pairs = texts(plots.co_occurrence(["cat", "dog", "car"], [[9, 2, 3], [2, 9, 4], [3, 4, 9]]))
    assert {"2", "3", "4"} <= set(pairs) and "9" not in pairs


def test_dataset_plots_refuse_what_they_cannot_draw():
    with pytest.raises(ValueError, match="no words"):
        plots.word_frequencies({})
    with pytest.raises(ValueError, match="no captions"):
        plots.caption_lengths([])
    with pytest.raises(ValueError, match="no pictures"):
        plots.objects_per_picture([])
    with pytest.raises(ValueError, match="no shares"):
        plots.shares({})
    with pytest.raises(ValueError, match="no row for threshold 7"):
        plots.coverage_curve([(1, 10, 1.0, 1.0)], chosen=7)
    with pytest.raises(ValueError, match="3 names"):
        plots.co_occurrence(["a", "b", "c"], np.ones((2, 2)))


def test_batch_is_ordered_by_length_with_the_running_count_on_top():
    figure = plots.batch_figure([["a", "ball"], ["two", "red", "balls"], ["one"]])
    words = {text.get_text(): text.get_position() for text in figure.axes[0].texts}
    assert words["two"][1] < words["a"][1] < words["one"][1]  # y points down
    assert [text for text in texts(figure) if text.isdigit()] == ["3", "2", "1"]
    assert "33% of the cells" in words.popitem()[0] + " ".join(words)
    plots.batch_figure([["word"] * n for n in range(1, 60)])


def test_teacher_forcing_feeds_true_words_and_free_running_its_own():
    figure = plots.teacher_forcing_figure(["a", "dog", "runs"], ["a", "cat", "runs"], ["a", "cat", "sits"])
    page = figure.axes[0]
    rows: dict[float, list[str]] = {}
    for text in page.texts:
        rows.setdefault(round(text.get_position()[1], 2), []).append(text.get_text())
    inputs = [row[1:] if row[0] == "input" else row for row in rows.values() if "<start>" in row]
    assert inputs == [["<start>", "a", "dog"], ["<start>", "a", "cat"]]
    with pytest.raises(ValueError, match="2 true words, 1 guesses"):
        plots.teacher_forcing_figure(["a", "dog"], ["a"])


def test_choices_stand_in_their_order_with_their_probabilities():
    steps = [[("a", 0.75), ("the", 0.25)]] + [[("hippopotamus", 0.5), ("cat", 0.125)]] * 9
    written = texts(figure := plots.choices_figure(steps))
    assert written[:5] == ["1", "a", "0.75", "the", "0.25"] and written.count("hippopotamus") == 9
    longest = next(t for t in figure.findobj(Text) if t.get_text() == "hippopotamus")
    assert longest.get_window_extent().x1 <= figure.bbox.x1
    with pytest.raises(ValueError, match="no step"):
        plots.choices_figure([])


def test_a_beam_tree_shows_what_was_kept_and_who_won():
    none = float("-inf")
    steps = [
        [(0, "a", -0.5, False), (0, "the", -1.0, False)],
        [(0, "cat", -1.5, False), (1, "dog", -1.6, False)],
        [(1, "<end>", -1.7, True), (0, "sat", -4.0, False)],
        [(1, "<end>", -4.5, True), (1, "x", none, False)],
    ]
    figure = plots.beam_tree(steps)
    assert figure.alt == "a beam search; the winner: the dog <end>"
    assert {"a", "cat", "sat", "<end>", "-1.6"} <= set(texts(figure)) and "x" not in texts(figure)
    with pytest.raises(ValueError, match="no hypothesis"):
        plots.beam_tree([[(0, "a", none, False)]])


def test_curve_names_the_level_it_is_compared_with():
    assert "people 9.5" in texts(plots.curve([0, 1], [5, 9], "penalty", "words", ("people", 9.5)))
    with pytest.raises(ValueError, match="2 places and 1 values"):
        plots.curve([0, 1], [5], "penalty", "words")


def test_looks_shows_a_bar_for_each_word():
    figure = plots.attention_mass(["a", "$red", "kite"], [0.1, 0.8, 0.95])
    assert [round(bar.get_height(), 2) for bar in figure.axes[0].patches] == [0.1, 0.8, 0.95]
    assert {"$red", "0.95"} <= set(texts(figure)) and "kite 0.95" in figure.alt
    with pytest.raises(ValueError, match="2 words and 1 shares"):
        plots.attention_mass(["a", "b"], [0.5])


def test_course_map_shows_four_notebooks_and_where_we_are():
    for current in range(4):
        bold = [text.get_text() for text in plots.course_map(current).axes[0].texts if text.get_weight() == "bold"]
        assert len(bold) == 1 and bold[0].startswith(str(current))
    with pytest.raises(ValueError, match="no 4"):
        plots.course_map(4)


def test_a_figure_fits_into_a_widget_with_its_text(picture):
    figure = visualize.image_grid([picture], ['a "red" ball'])
    assert figure.as_html().startswith('<img alt="1 pictures: a &quot;red&quot; ball" src="data:image/png;base64,')
    data = figure.as_html().split("base64,")[1].split('"')[0]
    shown = Image.open(io.BytesIO(base64.b64decode(data)))
    assert shown.size == tuple((figure.get_size_inches() * figure.dpi).astype(int))


def test_figures_do_not_pile_up(picture):
    for _ in range(50):
        visualize.image_grid([picture])
        plots.course_map(0)
    assert plt.get_fignums() == []


def test_photographs_stay_small_enough_for_a_notebook():
    noise = np.random.default_rng(0).integers(0, 255, (60, 60, 3)).astype(np.uint8)  # nothing compresses worse
    data, about = visualize.attention_figure(noise, ["word"] * 25, np.ones((25, 49)))._repr_mimebundle_()
    assert list(data) == ["image/jpeg"] and len(data["image/jpeg"]) < 1_000_000
    assert "word" in about["image/jpeg"]["alt"]


def test_a_notebook_shows_a_figure_once_with_a_text_for_the_blind():
    show = "plots.course_map(1)"
    sources = ("from figures import plots\n" + show, "%matplotlib inline\nimport matplotlib.pyplot", show)
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in sources])
    NotebookClient(notebook, kernel_name="python3", timeout=60).execute()
    (output,), _, (inline,) = (cell.outputs for cell in notebook.cells)
    shown = Image.open(io.BytesIO(base64.b64decode(output["data"]["image/png"])))
    assert shown.size == (900, 85) and shown.convert("L").getextrema()[0] < 100
    assert output["metadata"]["image/png"]["alt"] == "where we are: notebook 1  Preliminaries"
    assert "image/png" in inline["data"]
