"""The four notebooks: fit to be shown as they are committed, and running top to bottom in a fresh place."""

import ast
import re
import subprocess
import warnings
from pathlib import Path

import nbformat
import pytest
from bs4 import BeautifulSoup

from scripts.notebooks import PROGRESS_BAR, WIDGET, WIDGET_NOTE, write_page

ROOT = Path(__file__).parents[1]
NAMES = ["0_Dataset", "1_Preliminaries", "2_Training", "3_Inference"]


@pytest.fixture(scope="module", params=NAMES)
def notebook(request):
    with warnings.catch_warnings(action="error"):  # two cells of one id would be renamed
        return nbformat.read(ROOT / f"{request.param}.ipynb", as_version=4)


def code_cells(notebook) -> list:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def prose(notebook) -> str:
    return "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")


def texts(cell) -> list[str]:
    """What a cell says, pictures apart."""
    data = [output.get("data", {}) for output in cell.outputs]
    said = [value for bundle in data for kind, value in bundle.items() if kind.startswith("text/")]
    return said + [output.text for output in cell.outputs if "text" in output]


def has_figure(cell) -> bool:
    return any(kind.startswith("image/") for output in cell.outputs for kind in output.get("data", {}))


def test_it_has_a_shape(notebook):
    assert re.match(r"# \S.*\n\n\S", notebook.cells[0].source), "a title, then a promise"
    headings = re.findall(r"^## (.+)", prose(notebook), re.M)
    assert "Summary" in headings and "Exercises" in headings


def test_every_cell_has_an_id_of_its_own_and_every_check_says_right(notebook):
    ids = [cell.id for cell in notebook.cells]
    assert len(ids) == len(set(ids))
    checks = [cell for cell in code_cells(notebook) if re.match(r"check(_bug)?\(", cell.source)]
    assert checks and [cell.source for cell in checks if not "".join(texts(cell)).startswith("✓")] == []


def test_cells_are_short(notebook):
    assert [cell.source for cell in code_cells(notebook) if len(cell.source.splitlines()) > 12] == []


def test_it_imports_and_does_not_redefine(notebook):
    def defined(source: str) -> set[str]:
        return {n.name for n in ast.parse(source).body if isinstance(n, ast.FunctionDef | ast.ClassDef)}

    listed = subprocess.run(["git", "ls-files", "*.py"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    paths = [ROOT / name for name in listed.splitlines() if not name.startswith(("scripts/", "tests/", "exercises/"))]
    library = set().union(*(defined(path.read_text(encoding="utf-8")) for path in paths if path.is_file()))
    assert {"attention_figure", "beam_search", "EncoderCNN"} <= library, "folders are looked through as the root is"
    source = "\n".join(re.sub(r"^[%!].*", "", cell.source, flags=re.M) for cell in code_cells(notebook))
    assert defined(source) & library == set()
    assert not re.search(r"^class ", source, re.M)


def test_it_was_executed_and_cleaned(notebook):
    assert set(notebook.metadata) == {"kernelspec", "language_info"}
    assert all(cell.execution_count is None for cell in code_cells(notebook))
    assert all(set(cell.metadata) <= {"tags"} for cell in notebook.cells)
    assert not any(WIDGET in output.get("data", {}) for cell in code_cells(notebook) for output in cell.outputs)
    assert any(has_figure(cell) for cell in code_cells(notebook))


def test_nothing_went_wrong_in_it(notebook):
    outputs = [output for cell in code_cells(notebook) for output in cell.outputs]
    assert [output for output in outputs if output.output_type == "error" or output.get("name") == "stderr"] == []
    said = "\n".join(text for cell in code_cells(notebook) for text in texts(cell))
    assert not re.search(r"Warning|Traceback| at 0x[0-9a-f]{6}", said)
    assert not PROGRESS_BAR.search(said)


def test_it_names_no_machine(notebook):
    words = "\n".join([prose(notebook), *(text for c in code_cells(notebook) for text in [c.source, *texts(c)])])
    assert re.findall(r".*(?:/home/|/root|/work|/tmp|/Users/|[A-Z]:\\).*", words) == []


def test_a_slider_has_a_figure_beside_it(notebook):
    cells = code_cells(notebook)
    for here, cell in enumerate(cells):
        if WIDGET_NOTE in texts(cell):
            assert any(has_figure(beside) for beside in cells[max(here - 1, 0) : here + 2]), cell.source


@pytest.mark.parametrize("name", NAMES)
def test_it_is_small(name):
    assert (ROOT / f"{name}.ipynb").stat().st_size < 1_000_000


def test_it_reads_offline(notebook, tmp_path, offline_faults):
    write_page(notebook, tmp_path / "page.html")
    assert offline_faults((tmp_path / "page.html").read_text(encoding="utf-8")) == []


@pytest.mark.notebooks
def test_the_course_runs_in_a_fresh_place(course, offline_faults):
    """What `make run` does after installing, with nothing there but the files of the repository."""
    folder, files = course
    pages = {name: (folder / "build" / f"{name}.html").read_text(encoding="utf-8") for name in [*NAMES, "index"]}
    assert {name: faults for name, page in pages.items() if (faults := offline_faults(page))} == {}
    soups = {name: BeautifulSoup(page, "html.parser") for name, page in pages.items()}
    assert [name for name in NAMES if not soups[name]("img")] == []
    assert any(soup("math") for soup in soups.values())
    assert [a["href"] for a in soups["index"].select("h3 a[href$=html]")] == [f"{name}.html" for name in NAMES]

    made = [path.relative_to(folder) for path in folder.rglob("*") if path.is_file()]
    kept = [path for path in made if path.parts[0] not in ("build", "data", "runs") and "__pycache__" not in path.parts]
    assert {path.as_posix(): (folder / path).read_bytes() for path in kept} == files, "the checkout stays clean"
