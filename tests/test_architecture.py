"""ARCHITECTURE.md tells the truth: the imports it draws are those there are, and the tests it names exist."""

import ast
import re
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
PACKAGES = {path.parent.name for path in ROOT.glob("[a-z]*/__init__.py")}
LIBRARY = sorted(PACKAGES - {"scripts", "tests"})
MODULES = {path.stem for path in ROOT.glob("*.py")}


def sources(name: str) -> list[Path]:
    """The files of a module at the root, or of a package with the packages inside it."""
    return [ROOT / f"{name}.py"] if name in MODULES else sorted((ROOT / name).rglob("*.py"))


def imports(source: str) -> set[str]:
    """The dotted names that a source imports, wherever it does: at the top or inside a function."""
    nodes = list(ast.walk(ast.parse(source)))
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    for node in nodes:
        if isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


def arrows(text: str) -> dict[str, set[str]]:
    """The drawn imports: in the block called `arrows`, a line `name -> name, name` for each that imports others."""
    block = re.search(r"^```arrows\n(.*?)^```", text, re.M | re.S)[1]
    return {left.strip(): set(re.findall(r"[\w.]+", right)) for left, right in re.findall(r"(.+)->(.+)", block)}


DRAWN = arrows(TEXT)
NODES = {*MODULES, *LIBRARY, *DRAWN, *(name for names in DRAWN.values() for name in names)}


def node_of(name: str) -> str | None:
    """The name in the drawing that a dotted name belongs to: a module drawn by itself, or its folder."""
    parts = name.split(".")
    known = (".".join(parts[:length]) for length in range(len(parts), 0, -1))
    return next((part for part in known if part in NODES), None)


def dotted(path: Path) -> str:
    return path.with_suffix("").relative_to(ROOT).as_posix().replace("/", ".")


@pytest.mark.parametrize("node", sorted(NODES))
def test_imports_are_those_drawn(node):
    files = [path for name in {*MODULES, *LIBRARY} for path in sources(name) if node_of(dotted(path)) == node]
    assert files, "it is drawn, so it is there"
    found = set().union(*(imports(path.read_text(encoding="utf-8")) for path in files))
    assert not {name.split(".")[0] for name in found} & {"scripts", "tests"}, "the library knows no command, no test"
    modules = {dotted(path) for name in {*MODULES, *LIBRARY} for path in sources(name)} | NODES
    there = {node_of(name) for name in found if name in modules}
    assert there - {node, None} == DRAWN.get(node, set())


def test_there_is_no_circle():
    tuple(TopologicalSorter(DRAWN).static_order())


@pytest.mark.parametrize("name", LIBRARY)
def test_there_is_no_circle_inside_a_package(name):
    modules = {path.with_suffix("").relative_to(ROOT).as_posix().replace("/", "."): path for path in sources(name)}
    inside = {}
    for module, path in modules.items():
        nodes = [n for n in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(n, ast.ImportFrom)]
        named = {f"{node.module}.{alias.name}" for node in nodes for alias in node.names}
        inside[module] = (named | {node.module for node in nodes}) & set(modules)
    tuple(TopologicalSorter(inside).static_order())


def test_every_module_is_in_the_picture():
    """Each file of the library stands in the picture under its folder, as in the listing."""
    picture = re.search(r"^```text\n(.*?)^```", TEXT, re.M | re.S)[1]
    shown, folder = set(), ""
    for line in picture.splitlines():
        if match := re.match(r"([\w/]*/)? *(\w+\.\w+)? ", line + " "):
            folder = match[1] or ("" if match[2] and not line.startswith(" ") else folder)
            shown |= {folder + match[2]} if match[2] else set()
    there = {path.relative_to(ROOT).as_posix() for name in {*MODULES, *LIBRARY} for path in sources(name)}
    assert shown == {path for path in there if not path.endswith("__init__.py")}


def test_imports_are_found_wherever_they_stand():
    source = "import a.b, c\nfrom d.e import f\ndef g():\n    import h\n    from . import i"
    assert imports(source) == {"a.b", "c", "d.e", "d.e.f", "h"}


@pytest.mark.parametrize("page", ["ARCHITECTURE.md", "docs/RELIABILITY.md"])
def test_every_test_named_exists(page):
    named = re.findall(r"(test_\w+\.py)::(\w+)", (ROOT / page).read_text(encoding="utf-8"))
    assert named, "each trap and promise names its test, as in `test_loop.py::test_padding_is_not_in_the_loss`"
    paths = {path.name: path for path in (ROOT / "tests").rglob("test_*.py")}
    tests = {
        file: {node.name for node in ast.walk(ast.parse(paths[file].read_text())) if hasattr(node, "name")}
        for file, _ in named
    }
    assert [f"{file}::{test}" for file, test in named if test not in tests[file]] == []
