"""The student edition of a notebook: stubs in place of the solutions, no outputs.

Comes in: a notebook whose solutions stand between `# BEGIN SOLUTION` and `# END SOLUTION`, inside functions. Goes out:
the notebook as a student gets it. What follows `BEGIN SOLUTION:` on its line stays, as a comment above the stub. It
knows neither files nor what the tasks are.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Collection, Iterator
from urllib.parse import urlsplit

import nbformat
from nbformat import NotebookNode

from exercises.running import YOUR_TURN

BEGIN = re.compile(r"( *)# BEGIN SOLUTION(?:: *(.*\S))? *")
END = re.compile(r" *# END SOLUTION *")
STUB = f'raise NotImplementedError("{YOUR_TURN}")'
LINK = re.compile(r"(?<=\]\()([^)\s]+)(?=[)\s])|(?<=src=\")([^\"]+)(?=\")")

SETUP = """# The library, data and runs are those of the course's folder, the one above this notebook's.
import os
import sys
from pathlib import Path

if not Path("exercises").is_dir():
    os.chdir("..")
if not Path("exercises").is_dir():
    raise FileNotFoundError("Put this notebook into a folder inside the course's folder, beside its README.md.")
sys.path.insert(0, str(Path.cwd()))"""


def edition(notebook: NotebookNode, siblings: Collection[str] = (), *, solutions: bool = True) -> NotebookNode:
    """A copy with stubs and without outputs; `siblings` are the notebooks that links may find beside it.

    With `solutions` each task's solution follows its cell, or the `check` after it, folded. Raises ValueError for a
    marker without its partner, or a solution outside a function, whose stub would stop the notebook.
    """
    made = copy.deepcopy(notebook)
    made.cells = []
    fold: NotebookNode | None = None
    for number, cell in enumerate(copy.deepcopy(notebook.cells), 1):
        if fold is not None and not (cell.cell_type == "code" and re.match(r"check(_bug)?\(", cell.source)):
            made.cells.append(fold)
            fold = None
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
            try:
                stub = stubbed(cell.source)
            except ValueError as error:
                raise ValueError(f"cell {number}: {error}") from None
            if solutions and stub != cell.source:
                fold = _markdown(f"solution-{number}", folded(without_markers(cell.source)))
            cell.source = stub
        elif cell.cell_type == "markdown":
            cell.source = relinked(cell.source, siblings)
        made.cells.append(cell)
    made.cells += [fold] if fold is not None else []
    first = next((i for i, cell in enumerate(made.cells) if cell.cell_type == "code"), len(made.cells))
    made.cells.insert(first, nbformat.v4.new_code_cell(SETUP, id="course-folder"))
    return made


def stubbed(source: str) -> str:
    """A cell with each solution replaced by a stub of the same indentation; as it is, if it holds none."""

    def stub(indent: str, goal: str | None, _: list[str]) -> Iterator[str]:
        if not indent:
            raise ValueError("a solution stands outside a function: its stub would stop the notebook")
        yield f"{indent}# {goal or 'your lines'}"
        yield f"{indent}{STUB}"

    return _rewritten(source, stub)


def without_markers(source: str) -> str:
    """A cell with its solutions, but without the two lines around each."""
    return _rewritten(source, lambda indent, goal, lines: iter(lines))


def _rewritten(source: str, instead: Callable[[str, str | None, list[str]], Iterator[str]]) -> str:
    """The cell with `instead(indentation, goal, lines)` in place of each solution."""
    lines: list[str] = []
    begin: re.Match[str] | None = None
    solution: list[str] = []
    for line in source.split("\n"):
        found = BEGIN.fullmatch(line)
        if found and begin:
            raise ValueError("a second # BEGIN SOLUTION before the first one's # END SOLUTION")
        if found:
            begin, solution = found, []
        elif END.fullmatch(line):
            if begin is None:
                raise ValueError("an # END SOLUTION without a # BEGIN SOLUTION")
            lines += instead(begin[1], begin[2], solution)
            begin = None
        else:
            (solution if begin else lines).append(line)
    if begin:
        raise ValueError("a # BEGIN SOLUTION without an # END SOLUTION")
    return "\n".join(lines)


def folded(solution: str) -> str:
    """Markdown that shows a solution when it is opened."""
    return f"<details><summary>Solution</summary>\n\n```python\n{solution}\n```\n\n</details>"


def relinked(markdown: str, siblings: Collection[str]) -> str:
    """Links to files of the course's folder lead one folder up; those to other notebooks of the edition stay."""

    def target(match: re.Match[str]) -> str:
        url = urlsplit(match[0])
        inside = bool(url.path) and not url.scheme and not url.netloc and not url.path.startswith("/")
        return f"../{match[0]}" if inside and url.path not in siblings else match[0]

    return LINK.sub(target, markdown)


def _markdown(name: str, source: str) -> NotebookNode:
    return nbformat.v4.new_markdown_cell(source, id=name)
