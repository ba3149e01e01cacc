"""The student edition: stubs for solutions, no outputs, and it runs in its own folder."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from exercises.edition import STUB, edition, relinked, stubbed, without_markers
from scripts import notebooks, student

ROOT = Path(__file__).parents[2]

MASTER = '''def lstm_step(gates, c):
    """Gates (B, 4D) -> new state, new memory."""
    # BEGIN SOLUTION: cut the gates into four
    i, f, g, o = gates.chunk(4, -1)
    c = f.sigmoid() * c + i.sigmoid() * g.tanh()
    return o.sigmoid() * c.tanh(), c
    # END SOLUTION'''

STUDENT = '''def lstm_step(gates, c):
    """Gates (B, 4D) -> new state, new memory."""
    # cut the gates into four
    raise NotImplementedError("your turn")'''


def a_notebook(*cells):
    """A notebook: its title and what begins with "see" are markdown, the rest code."""
    made = nbformat.v4.new_notebook()
    for source in cells:
        new = nbformat.v4.new_markdown_cell if source.startswith(("# A title", "see ")) else nbformat.v4.new_code_cell
        made.cells.append(new(source))
    return made


def a_course():
    return a_notebook(
        "# A title\n\nand a promise",
        "import torch\nfrom pathlib import Path\nfrom exercises import check, checked",
        MASTER,
        "check(lstm_step)",
        "see [the sources](model.py), [the next](2_Training.ipynb#top) and [the web](https://example.org/a.py)",
        'print("data is in", (Path.cwd() / "exercises").is_dir(), check(lstm_step).state)',
    )


def run(notebook, folder):
    """What the last cell prints, the notebook executed in this folder."""
    client = NotebookClient(
        notebook,
        timeout=120,
        kernel_manager_class=notebooks.OwnKernel,
        resources={"metadata": {"path": str(folder)}},
    )
    client.execute()
    return notebook.cells[-1].outputs[0].text.strip()


def test_the_solution_becomes_a_stub_of_the_same_indentation():
    assert stubbed(MASTER) == STUDENT
    deeper = "class A:\n    def f(self):\n        # BEGIN SOLUTION\n        return 1\n        # END SOLUTION\n\nx = 1"
    assert stubbed(deeper) == (f"class A:\n    def f(self):\n        # your lines\n        {STUB}\n\nx = 1")


def test_two_solutions_in_one_cell():
    two = f"{MASTER}\n\n\n{MASTER}"
    assert stubbed(two) == f"{STUDENT}\n\n\n{STUDENT}"


def test_the_text_of_the_solution_has_no_markers():
    assert "SOLUTION" not in without_markers(MASTER) and len(without_markers(MASTER).split("\n")) == 5


def test_a_cell_without_a_solution_stays_as_it_is():
    source = "x = 'BEGIN SOLUTION'  # END SOLUTION?\n"
    assert stubbed(source) == source


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        ("def f():\n    # BEGIN SOLUTION\n    return 1", "a # BEGIN SOLUTION without an # END SOLUTION"),
        ("def f():\n    # END SOLUTION", "an # END SOLUTION without a # BEGIN SOLUTION"),
        ("def f():\n    # BEGIN SOLUTION\n    # BEGIN SOLUTION\n    # END SOLUTION", "a second # BEGIN SOLUTION"),
        ("# BEGIN SOLUTION\nx = 1\n# END SOLUTION", "a solution stands outside a function"),
    ],
)
def test_a_wrong_marker_is_named_with_its_cell(source, sentence):
    with pytest.raises(ValueError, match=f"cell 2: {sentence}"):
        edition(a_notebook("# A title", source))


def test_links_lead_one_folder_up_but_to_the_notebooks_beside():
    text = '[a](model.py) [b](1_Preliminaries.ipynb) [c](#top) ![e](docs/e.png "E") <img src="f.png">'
    assert relinked(text, ["1_Preliminaries.ipynb"]) == (
        '[a](../model.py) [b](1_Preliminaries.ipynb) [c](#top) ![e](../docs/e.png "E") <img src="../f.png">'
    )
    assert relinked("[d](https://x.org/y.py)", []) == "[d](https://x.org/y.py)"


def test_the_solution_follows_the_check_folded_and_may_be_left_out():
    made = edition(a_course())
    place = next(i for i, cell in enumerate(made.cells) if cell.source == "check(lstm_step)")
    assert made.cells[place - 1].source == STUDENT
    assert made.cells[place + 1].source.startswith("<details><summary>Solution</summary>\n\n```python\ndef lstm_step")
    assert "SOLUTION" not in "".join(cell.source for cell in made.cells)
    without = edition(a_course(), solutions=False)
    assert len(without.cells) == len(made.cells) - 1 and "chunk" not in "".join(c.source for c in without.cells)


def test_outputs_and_counts_go_and_the_master_stays():
    master = a_course()
    master.cells[1].outputs, master.cells[1].execution_count = [nbformat.v4.new_output("stream", text="hello")], 3
    before = nbformat.writes(master)
    made = edition(master)
    nbformat.validate(made)
    codes = [cell for cell in made.cells if cell.cell_type == "code"]
    assert not any(cell.outputs or cell.execution_count for cell in codes)
    assert nbformat.writes(master) == before and nbformat.writes(edition(master)) == nbformat.writes(made)


@pytest.fixture
def course_folder(tmp_path):
    """A folder of a course: the library's exercises, and a notebook."""
    shutil.copytree(ROOT / "exercises", tmp_path / "exercises", ignore=shutil.ignore_patterns("__pycache__"))
    nbformat.write(a_course(), tmp_path / "1_Preliminaries.ipynb")
    return tmp_path


def test_the_edition_runs_in_its_folder_unwritten_and_with_the_solutions_put_back_right(course_folder, capsys):
    """From the stubs the notebook runs to its end; with the master's cells in place of the stubs all is right."""
    path, out = course_folder / "1_Preliminaries.ipynb", course_folder / "student"
    assert student.main([str(path), "--out", str(out)]) == 0
    assert capsys.readouterr().out == f"{out / path.name}: 1 functions to write\n"
    assert sorted(p.name for p in out.iterdir()) == [path.name], "nothing of the library is copied"
    made = nbformat.read(out / path.name, as_version=4)
    assert run(made, out) == "data is in True unwritten"
    for cell in made.cells:
        if STUB in cell.source:
            cell.source = MASTER
    assert run(made, out) == "data is in True right"


def test_a_notebook_alone_says_where_it_belongs(tmp_path):
    cell = next(cell for cell in edition(a_course()).cells if cell.cell_type == "code")
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-c", cell.source], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert "Put this notebook into a folder inside the course's folder" in done.stderr


def test_work_is_not_written_over(course_folder, capsys):
    path, out = course_folder / "1_Preliminaries.ipynb", course_folder / "student"
    student.main([str(path), "--out", str(out)])
    student.main([str(path), "--out", str(out)])  # the same again harms nothing
    made = json.loads((out / path.name).read_text())
    made["cells"][3]["source"] = "my work"
    (out / path.name).write_text(json.dumps(made))
    with pytest.raises(FileExistsError, match="--force writes over it"):
        student.main([str(path), "--out", str(out)])
    assert "my work" in (out / path.name).read_text()
    student.main([str(path), "--out", str(out), "--force"])
    assert "my work" not in (out / path.name).read_text()


def test_a_wrong_marker_names_the_notebook(tmp_path):
    nbformat.write(a_notebook("# A title", "# BEGIN SOLUTION\nx = 1\n# END SOLUTION"), tmp_path / "a.ipynb")
    with pytest.raises(ValueError, match=r"a\.ipynb, cell 2: a solution stands outside"):
        student.main([str(tmp_path / "a.ipynb"), "--out", str(tmp_path / "out")])


def test_the_courses_own_notebooks_make_an_edition(tmp_path, capsys):
    assert student.main(["--out", str(tmp_path)]) == 0
    for path in sorted(tmp_path.glob("*.ipynb")):
        text = path.read_text(encoding="utf-8")
        assert "SOLUTION" not in text and '"output_type"' not in text
