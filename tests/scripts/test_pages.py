"""scripts/notebooks.py: what a small notebook becomes, executed, cleaned and as a page."""

import errno
import json
import os
import subprocess
import sys

import nbformat
import pytest
from bs4 import BeautifulSoup
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from scripts import notebooks

TEXT = r"""# A small notebook
What it promises.

Inline $p(w_t \mid w_{<t})$, a price of \$5 or \$6, code `$a$`, and

$$\mathcal{L} = -\sum_{t=1}^{T} \log p(\text{<end>})$$

\begin{align} a &= b \\ c &= d \end{align}

```bash
echo $HOME $$
```

<details><summary>Hint</summary>

Think of **padding**.

</details>

Next: [the first](0_Dataset.ipynb#words), [the source](model.py), [a paper](https://arxiv.org/abs/1411.4555),
[below](#below).
"""
CELLS = [
    "import sys\nprint(sys.prefix)",
    "from figures.style import Figure\nFigure(1, 1, 'an empty figure')",
    "from ipywidgets import interact\ninteract(lambda step: print(step), step=(0, 3));",
    "from tqdm.auto import tqdm\nfor _ in tqdm(range(3)): pass",
    "import tqdm as bars\nfor _ in bars.tqdm(range(3)): pass\nprint('spoken', file=sys.stderr)",
    "6 * 7",
]


def small_notebook(*sources: str):
    return new_notebook(cells=[new_markdown_cell(TEXT), *map(new_code_cell, sources)])


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The folder into which the small notebook ran, with a decoy kernel of the same name about."""
    folder = tmp_path_factory.mktemp("pages")
    decoy = folder / "kernels" / "python3"
    decoy.mkdir(parents=True)
    (decoy / "kernel.json").write_text(json.dumps({"argv": ["false"], "display_name": "decoy", "language": "python"}))
    nbformat.write(small_notebook(*CELLS), folder / "0_Small.ipynb")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JUPYTER_PATH", str(folder))
        assert notebooks.main(["run", str(folder / "0_Small.ipynb"), "--out", str(folder / "build")]) == 0
    return folder


@pytest.fixture(scope="module")
def page(built):
    return (built / "build" / "0_Small.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def outputs(built):
    """The outputs of each code cell, as they stand in the executed notebook."""
    notebook = nbformat.read(built / "build" / "0_Small.ipynb", as_version=4)
    return [cell.outputs for cell in notebook.cells if cell.cell_type == "code"]


def test_the_source_stays_as_it_was(built):
    source = nbformat.read(built / "0_Small.ipynb", as_version=4)
    assert [cell.get("outputs", []) for cell in source.cells] == [[]] * (len(CELLS) + 1)


def test_the_kernel_is_this_python(outputs):
    assert outputs[0][0].text.strip() == sys.prefix


def test_nothing_is_left_that_changes_from_run_to_run(built, outputs):
    notebook = nbformat.read(built / "build" / "0_Small.ipynb", as_version=4)
    assert set(notebook.metadata) == {"kernelspec", "language_info"}
    assert all(not cell.metadata for cell in notebook.cells)
    assert all(cell.execution_count is None for cell in notebook.cells[1:])
    assert outputs[5][0].execution_count is None


def test_progress_bars_go_and_words_on_stderr_stay(outputs):
    assert outputs[3] == []
    assert [output.text for output in outputs[4]] == ["spoken"]


def test_a_widget_becomes_a_note(outputs, page):
    assert notebooks.WIDGET_NOTE in [output.get("data", {}).get("text/markdown") for output in outputs[2]]
    assert "interactive: run this notebook" in page and "jupyter.widget" not in page


def test_the_page_needs_no_network(page, built, offline_faults):
    assert offline_faults(page) == []
    assert offline_faults((built / "build" / "index.html").read_text(encoding="utf-8")) == []


def test_faults_would_be_found(offline_faults):
    assert len(offline_faults('<script></script><img src="http://a/b.png"><link href="x"><p>$x$ and $$y$$')) >= 5


def test_a_hint_is_folded_away_with_all_its_text(page):
    (details,) = BeautifulSoup(page, "html.parser")("details")
    assert details.strong.text == "padding" and "the first" not in details.text


def test_formulas_become_mathml(page):
    soup = BeautifulSoup(page, "html.parser")
    assert [math["display"] for math in soup("math")] == ["inline", "block", "block"]
    assert "<end>" in soup("math")[1].text and len(soup.select("mtr")) == 2


def test_dollars_that_are_no_formula_stay(page):
    soup = BeautifulSoup(page, "html.parser")
    assert "a price of $5 or $6" in soup.text
    assert soup.select_one("p code").text == "$a$"
    assert "echo $HOME $$" in soup.text


def test_figures_are_in_the_page(page):
    images = BeautifulSoup(page, "html.parser")("img")
    assert [image["alt"] for image in images] == ["an empty figure"]
    assert images[0]["src"].startswith("data:image/png;base64,")


def test_links_lead_to_pages_and_sources(page):
    links = [a["href"] for a in BeautifulSoup(page, "html.parser").select("p a")]
    assert links[0] == "0_Dataset.html#words" and links[2:] == ["https://arxiv.org/abs/1411.4555", "#below"]
    assert links[1].startswith("../") and links[1].endswith("/model.py")


def test_the_index_names_each_notebook(built):
    soup = BeautifulSoup((built / "build" / "index.html").read_text(encoding="utf-8"), "html.parser")
    assert soup.select_one("h3 a")["href"] == "0_Small.html"
    assert "A small notebook" in soup.text and "What it promises." in soup.text


def test_an_unknown_formula_is_refused():
    with pytest.raises(ValueError, match=r"arg"):
        notebooks.formula(r"\arg x", "inline")
    with pytest.raises(ValueError, match="does not know '&'"):
        notebooks.formula(r"\begin{gathered} a & b \end{gathered}", "block")


def test_a_failing_cell_is_named(tmp_path, capsys):
    nbformat.write(small_notebook("1", "width = 0\n1 / width", "2"), tmp_path / "0_Bad.ipynb")
    assert notebooks.main(["run", str(tmp_path / "0_Bad.ipynb"), "--out", str(tmp_path / "build")]) == 1
    said = capsys.readouterr().err
    assert "0_Bad.ipynb, cell 3 of 4" in said and "1 / width" in said and "ZeroDivisionError" in said
    assert not (tmp_path / "build" / "0_Bad.html").exists()


def test_a_killed_kernel_is_told_in_a_sentence(tmp_path, capsys):
    nbformat.write(small_notebook("import os\nos.kill(os.getpid(), 9)"), tmp_path / "0_Bad.ipynb")
    assert notebooks.main(["update", str(tmp_path / "0_Bad.ipynb")]) == 1
    assert "0_Bad.ipynb: its kernel was killed; is the memory too small?" in capsys.readouterr().err


def test_a_missing_notebook_is_told_in_a_sentence(tmp_path):
    command = [sys.executable, "-m", "scripts.notebooks", "update", str(tmp_path / "0_None.ipynb")]
    done = subprocess.run(command, cwd=notebooks.ROOT, capture_output=True, text=True)
    assert done.returncode == 1 and "0_None.ipynb" in done.stderr and "Traceback" not in done.stderr


def test_update_writes_in_place(tmp_path, monkeypatch):
    path = tmp_path / "0_Small.ipynb"
    nbformat.write(small_notebook("6 * 7"), path)
    assert notebooks.main(["update", str(path), "--out", str(tmp_path / "build")]) == 0
    once = path.read_bytes()
    assert nbformat.reads(once.decode(), as_version=4).cells[1].outputs[0].data["text/plain"] == "42"
    assert notebooks.main(["update", str(path), "--out", str(tmp_path / "build")]) == 0
    assert path.read_bytes() == once

    def full(*_):
        raise OSError(errno.ENOSPC, "no room")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=r"0_Small\.ipynb could not be written: the disk is full"):
        notebooks.main(["update", str(path)])
    assert path.read_bytes() == once
