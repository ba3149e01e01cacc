"""What all figures have in common: they are shown once, with a text for who cannot see them, and pile up nowhere."""

import base64
import io

import matplotlib.pyplot as plt
import nbformat
import numpy as np
import pytest
from matplotlib.text import Text
from nbclient import NotebookClient
from PIL import Image

from figures import annotations, attention, curves, data, gallery, ideas, mechanisms
from figures.attention import attention_figure
from figures.gallery import image_grid
from figures.ideas import course_map
from figures.style import Figure


def test_a_figure_fits_into_a_widget_with_its_text(picture):
    figure = image_grid([picture], ['a "red" ball'])
    assert figure.as_html().startswith('<img alt="1 pictures: a &quot;red&quot; ball" src="data:image/png;base64,')
    data = figure.as_html().split("base64,")[1].split('"')[0]
    shown = Image.open(io.BytesIO(base64.b64decode(data)))
    assert shown.size == tuple((figure.get_size_inches() * figure.dpi).astype(int))


def test_figures_do_not_pile_up(picture):
    for _ in range(50):
        image_grid([picture])
        course_map(0)
    assert plt.get_fignums() == []


def test_photographs_stay_small_enough_for_a_notebook():
    noise = np.random.default_rng(0).integers(0, 255, (60, 60, 3)).astype(np.uint8)  # nothing compresses worse
    data, about = attention_figure(noise, ["word"] * 25, np.ones((25, 49)))._repr_mimebundle_()
    assert list(data) == ["image/jpeg"] and len(data["image/jpeg"]) < 1_000_000
    assert "word" in about["image/jpeg"]["alt"]


def test_a_figure_too_long_for_a_jpeg_is_shown_as_a_png():
    figure = Figure(1, 660, "a long one")
    figure.inches(0, 0, 1, 1).imshow(np.random.default_rng(0).integers(0, 255, (150, 150, 3)).astype(np.uint8))
    (data,) = (data for kind, data in figure._repr_mimebundle_()[0].items() if kind == "image/png")
    assert len(data) > 60_000 and base64.b64decode(data)[16:24] == bytes.fromhex("00000064 000101d0")  # 100 x 66,000


def test_a_notebook_shows_a_figure_once_with_a_text_for_the_blind():
    show = "course_map(1)"
    sources = ("from figures.ideas import course_map\n" + show, "%matplotlib inline\nimport matplotlib.pyplot", show)
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in sources])
    NotebookClient(notebook, kernel_name="python3", timeout=60).execute()
    (output,), _, (inline,) = (cell.outputs for cell in notebook.cells)
    shown = Image.open(io.BytesIO(base64.b64decode(output["data"]["image/png"])))
    assert shown.size == (900, 85) and shown.convert("L").getextrema()[0] < 100
    assert output["metadata"]["image/png"]["alt"] == "where we are: notebook 1  Preliminaries"
    assert "image/png" in inline["data"]


STRANGE = r"$\a_^$ 5 \frac"
EPOCHS = [{"epoch": 1, "train_perplexity": 5.0, "val_perplexity": 6.0}]
EVEN = np.full((1, 16), 1 / 16)


@pytest.mark.parametrize(
    "draw",
    {
        "annotations": lambda picture: annotations.show_annotations(picture, [(STRANGE, None, (9, 9, 9, 9))]),
        "attention": lambda picture: attention.attention_figure(picture, [STRANGE], EVEN, [0.5]),
        "film": lambda picture: attention.attention_film(picture, [STRANGE], EVEN),
        "mass": lambda _: attention.attention_mass([STRANGE], [0.5]),
        "runs": lambda _: curves.training_curves({STRANGE: EPOCHS, "b": EPOCHS}, rungs={STRANGE: 5, STRANGE * 2: 99}),
        "curve": lambda _: curves.curve([1], [1], STRANGE, STRANGE, (STRANGE, 2)),
        "words": lambda _: data.word_frequencies({STRANGE: 3, "b": 1}),
        "categories": lambda _: data.category_counts({STRANGE: 3, "b": 1}),
        "shares": lambda _: data.shares({STRANGE: 0.5}),
        "pairs": lambda _: data.co_occurrence([STRANGE, STRANGE * 2], [[0, 1], [1, 0]]),
        "grid": lambda picture: gallery.image_grid([picture], [STRANGE]),
        "captioned": lambda picture: gallery.captioned([picture], [[STRANGE]]),
        "gallery": lambda picture: gallery.gallery([picture], [STRANGE], [STRANGE]),
        "batch": lambda _: ideas.batch_figure([[STRANGE]]),
        "forcing": lambda _: ideas.teacher_forcing_figure([STRANGE], [STRANGE]),
        "choices": lambda _: ideas.choices_figure([[(STRANGE, 0.5)]]),
        "beams": lambda _: ideas.beam_tree([[(0, STRANGE, -1.0, True)]]),
        "sum": lambda picture: mechanisms.weighted_sum_figure(picture, EVEN[0], STRANGE),
    }.items(),
    ids=lambda item: item[0],
)
def test_a_dollar_is_no_formula(picture, draw):
    drawn = draw[1](picture)
    if isinstance(drawn, Figure):
        drawn._repr_mimebundle_()


def test_formulas_are_drawn_as_formulas():
    formulas = [text for text in mechanisms.lstm_figure().findobj(Text) if "$" in text.get_text()]
    figure = formulas[0].figure
    figure.draw_without_rendering()
    assert len(formulas) > 5 and all(text.get_parse_math() for text in formulas)
