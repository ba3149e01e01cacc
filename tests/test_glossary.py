"""The glossary: the letters are those of ARCHITECTURE.md, and the terms come where it says they do."""

import re
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).parents[1]
ROWS = re.findall(r"^\| (.+?) \| .+? \| ([0-3–]) \|", (ROOT / "docs" / "GLOSSARY.md").read_text(encoding="utf-8"), re.M)


def words(text: str) -> str:
    return re.sub(r"\W+", " ", text).strip().lower()


def test_its_letters_are_the_architecture_s():
    shapes = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8").partition("## Shapes")[2].partition("## Formats")[0]
    letters = re.findall(r"^\| (`[A-Z]`) \|", shapes, re.M)
    assert letters == [term for term, _ in ROWS if re.fullmatch("`[A-Z]`", term)] != []


@pytest.mark.parametrize("name", ["0_Dataset", "1_Preliminaries"])
def test_what_comes_first_in_a_notebook_stands_in_it(name):
    cells = nbformat.read(ROOT / f"{name}.ipynb", as_version=4).cells
    text = words("\n".join(cell.source for cell in cells))
    terms = [
        words(part) for term, first in ROWS if first == name[0] for part in re.sub(r" \(.*| σ", "", term).split(",")
    ]
    assert len(terms) > 10 and [term for term in terms if term not in text] == []
