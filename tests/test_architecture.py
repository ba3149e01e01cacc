"""ARCHITECTURE.md tells the truth: the arrows it draws are the imports there are, and the tests it names exist."""

import ast
import re
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
ROOMS = {path.stem for path in ROOT.glob("*.py")}


def imports(source: str) -> set[str]:
    """The modules that a source imports, wherever it does: at the top or inside a function."""
    nodes = list(ast.walk(ast.parse(source)))
    names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    names += [node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module]
    return {name.split(".")[0] for name in names}


def arrows(text: str) -> dict[str, set[str]]:
    """The drawn arrows: in the block called `arrows`, a line `room -> room, room` for each room that imports others."""
    block = re.search(r"^```arrows\n(.*?)^```", text, re.M | re.S)[1]
    return {left.strip(): set(re.findall(r"\w+", right)) for left, right in re.findall(r"(.+)->(.+)", block)}


@pytest.mark.parametrize("room", sorted(ROOMS | set(arrows(TEXT))))
def test_imports_are_the_arrows_drawn(room):
    found = imports((ROOT / f"{room}.py").read_text(encoding="utf-8"))
    assert found & ROOMS == arrows(TEXT).get(room, set())
    assert not found & {"scripts", "tests"}, "the library knows neither its commands nor its tests"


def test_there_is_no_circle():
    tuple(TopologicalSorter(arrows(TEXT)).static_order())


def test_every_room_is_in_the_picture():
    picture = re.search(r"^```text\n(.*?)^```", TEXT, re.M | re.S)[1]
    assert set(re.findall(r"\b(\w+)\.py\b", picture)) == ROOMS


def test_imports_are_found_wherever_they_stand():
    source = "import a.b, c\nfrom d.e import f\ndef g():\n    import h\n    from . import i"
    assert imports(source) == {"a", "c", "d", "h"}


@pytest.mark.parametrize("page", ["ARCHITECTURE.md", "docs/RELIABILITY.md"])
def test_every_test_named_exists(page):
    named = re.findall(r"(test_\w+\.py)::(\w+)", (ROOT / page).read_text(encoding="utf-8"))
    assert named, "each trap and promise names its test, as in `test_training.py::test_padding_is_not_in_the_loss`"
    tests = {
        file: {node.name for node in ast.walk(ast.parse((ROOT / "tests" / file).read_text())) if hasattr(node, "name")}
        for file, _ in named
    }
    assert [f"{file}::{test}" for file, test in named if test not in tests[file]] == []
