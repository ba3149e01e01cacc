"""What all figures have in common: they are shown once, with a text for who cannot see them, and pile up nowhere."""

import base64
import io

import matplotlib.pyplot as plt
import nbformat
import numpy as np
from nbclient import NotebookClient
from PIL import Image

from figures.attention import attention_figure
from figures.gallery import gallery, image_grid
from figures.ideas import batch_figure, course_map


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


def test_a_dollar_is_no_formula(picture):
    strange = "$x_1^$ 5$ \\frac"
    gallery([picture], [strange], [strange])._repr_mimebundle_()
    attention_figure(picture, ["$x^^$"], np.ones((1, 16)))._repr_mimebundle_()
    batch_figure([["$x^^$"]])._repr_mimebundle_()
