"""The four notebooks on small data: the student edition, unwritten, and datasets that lack what the sample has."""

import ast
import os
import re
import shutil
import subprocess
from pathlib import Path

import nbformat
import numpy as np
import pytest
from nbclient import NotebookClient
from PIL import Image

from dataset.sample import making
from exercises.edition import edition
from scripts.notebooks import OwnKernel

ROOT = Path(__file__).parents[1]
NAMES = [f"{name}.ipynb" for name in ("0_Dataset", "1_Preliminaries", "2_Training", "3_Inference")]
NARROW = {"word_size": "32", "hidden_size": "32", "attention_size": "32", "epochs": "1"}
QUICK = NARROW | {"detector_epochs": "1", "tune_epochs": "1"}
FROZEN = NARROW | {"encoder": "squeezenet1_1", "weights": "none", "image_size": "64", "grid": "3"}
FEW = {"train": 120, "val": 60, "test": 60}  # pictures of a sample
CHECKS = re.compile(r"check(_bug)?\(")
INTERRUPT = """import os, signal, threading, time

def interrupt():
    while not (RUN / "attention" / "training.pt").exists():
        time.sleep(0.001)
    os.kill(os.getpid(), signal.SIGINT)  # as Jupyter does

threading.Thread(target=interrupt, daemon=True).start()"""


def copied(folder: Path) -> Path:
    """The repository's files, in a folder of their own."""
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    for name in subprocess.run(listed, cwd=ROOT, check=True, capture_output=True, text=True).stdout.split("\0"):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    return folder


def without_asserts(source: str) -> str:
    """A cell without its bars: a model that has hardly learned need not reach them."""
    tree = ast.parse(source)
    lines = source.splitlines()
    for node in reversed([node for node in ast.walk(tree) if isinstance(node, ast.Assert)]):
        lines[node.lineno - 1 : node.end_lineno] = [" " * node.col_offset + "pass"]
    return "\n".join(lines)


def run(course: Path, dataset: str, given: dict[str, str], students: bool = False, stopped: str = "") -> list:
    """The code cells of all four notebooks, executed one after the other with these settings.

    One process executes all, as its libraries take as long to import as the work; each notebook begins without a name.
    The cell that begins with `stopped` is interrupted as soon as an epoch is kept, and executed again.
    """
    cells = []
    for name in NAMES:
        notebook = nbformat.read(course / name, as_version=4)
        if students:
            notebook = edition(notebook, NAMES)
        cells += [nbformat.v4.new_code_cell('get_ipython().run_line_magic("reset", "-f")'), *notebook.cells]
    whole = nbformat.v4.new_notebook(cells=[cell for cell in cells if cell.cell_type == "code"])
    changes = {
        r'DATASET = "sample"': f"DATASET = {dataset!r}",
        r"for_dataset\(DATASET.*?\)": f"for_dataset(DATASET, given={given!r})",
        r"making\.make\(sample\)": f"making.make(sample, **{FEW!r})",
    }
    for number, cell in enumerate(list(whole.cells) if stopped else []):
        if cell.source.startswith(stopped):
            again = nbformat.v4.new_code_cell(cell.source)
            cell.metadata.tags = ["raises-exception"]
            whole.cells[number : number + 1] = [nbformat.v4.new_code_cell(INTERRUPT), cell, again]
    for number, cell in enumerate(whole.cells):
        cell.id = f"cell-{number}"  # the four have some in common
        for pattern, instead in changes.items():
            cell.source = re.sub(pattern, lambda _, instead=instead: instead, cell.source)
        cell.source = without_asserts(cell.source)
    client = NotebookClient(
        whole,
        timeout=600,
        kernel_manager_class=OwnKernel,
        extra_arguments=["--log-level=ERROR"],
        resources={"metadata": {"path": str(course)}},
    )
    client.comm_open_handlers = {}
    client.execute(env=os.environ | {"DATA": str(course / "data")})
    return whole.cells


def checks(cells: list) -> list[str]:
    """What the checks among executed cells say."""
    return [output["data"]["text/plain"] for cell in cells if CHECKS.match(cell.source) for output in cell.outputs]


def pictures(folder: Path, captions: list[list[str]]) -> None:
    """Random pictures beside a table of their captions: no masks, no splits."""
    folder.mkdir(parents=True)
    random, rows = np.random.default_rng(0), []
    for number, told in enumerate(captions):
        pixels = random.integers(0, 255, (4, 4, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize((64, 48)).save(folder / f"{number}.png")
        rows += [f"{number}.png,{caption}" for caption in told]
    (folder / "captions.txt").write_text("\n".join(["image,caption", *rows]), encoding="utf-8")


@pytest.mark.notebooks
def test_the_student_edition_runs_to_its_end_with_nothing_written(tmp_path):
    course = copied(tmp_path / "course")
    making.make(course / "data" / "sample", **FEW)
    said = checks(run(course, "sample", QUICK, students=True))
    assert len(said) == 28 and [text for text in said if not text.startswith("○")] == []


@pytest.mark.notebooks
def test_all_four_run_through_a_frozen_network_without_masks(tmp_path):
    course, words = copied(tmp_path / "course"), ["dog", "cat", "car", "tree"]
    captions = [[f"a {words[n % 4]} number {k} near a {words[n // 4 % 4]}" for k in range(5)] for n in range(60)]
    pictures(course / "photographs", captions)
    training = 'histories["attention"] = train_model('
    cells = run(course, "photographs", FROZEN | {"epochs": "4"}, stopped=training)
    said = checks(cells)
    assert len(said) == 28 and [text for text in said if not text.startswith("✓")] == []
    stopped, again = (
        "".join(output.get("text", "") for output in cell.outputs) for cell in cells if cell.source.startswith(training)
    )
    epochs = re.findall(r"^epoch +(\d)", again, re.M)
    assert "1" not in epochs and epochs[-1] == "4", "a stopped training goes on"
    assert f"stopped in epoch {epochs[0]}: the model holds its best weights so far" in stopped


@pytest.mark.notebooks
def test_all_four_run_with_one_chinese_caption_a_picture(tmp_path):
    course = copied(tmp_path / "course")
    pictures(course / "chinese", [[f"一只{'狗猫鸟'[n % 3]}在{'草地上跑' if n % 2 else '树下'}"] for n in range(40)])
    said = checks(run(course, "chinese", FROZEN))
    assert len(said) == 28 and [text for text in said if not text.startswith("✓")] == []
