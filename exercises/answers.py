"""A notebook's answers: the functions that have a task's name, with what they use, as the notebook would define them.

Comes in: the sources of a notebook's cells, copied, moved, missing or wrong. Of all statements an answer gets those
that set a name it uses, and what they use in turn: imports, functions, classes, `WORD = re.compile("[a-z]+")`, an
`if`, a loop. Each is executed by itself, in the notebook's order and for a limited time; nothing else is, so nothing
is trained. Goes out: functions, and a sentence for a name that could not be set. What it does not know: limits of the
process (confine.py), and checks.
"""

from __future__ import annotations

import ast
import builtins
import dis
import json
import linecache
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import CodeType
from typing import Any

from IPython.core.inputtransformer2 import TransformerManager

from exercises import running
from exercises.running import OutOfTime, time_limit

IMPORTING = 20.0  # seconds for an import; other statements get those of a call
HEADS = re.compile(r"\A(?:\s*%%.*\n?)+")  # of a cell, as %%time
BLANK = re.compile(r"\A(?:[ \t]*\n)*")
UNREADABLE = (SyntaxError, ValueError, RecursionError, MemoryError)  # what ast.parse and compile raise
LONGEST = 1000  # characters of a sentence: each name in it may be missing for want of another one
EVERYTHING = "*"  # the name that `from module import *` sets


def cells(path: Path) -> list[str]:
    """The sources of a notebook's code cells. Raises ValueError with a sentence if it is no notebook."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        sources = [cell["source"] for cell in content["cells"] if cell["cell_type"] == "code"]
        return [source if isinstance(source, str) else "".join(source) for source in sources]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"this is not a notebook: {type(error).__name__}: {str(error)[:100]}") from None


def python_of(source: str) -> str:
    """A cell that is not Python as IPython makes it Python: `%time`, `!ls`, `name?` become calls. Lines stay in place.

    `%%time` and the like in front of a cell are left out.
    """
    if _parses(source):
        return source
    body = HEADS.sub(lambda heads: "\n" * heads[0].count("\n"), source)
    if _parses(body):
        return body
    try:
        python = TransformerManager().transform_cell(body)
    except Exception:  # whatever IPython raises for what it cannot read: then its mistake is told as it stands
        return body
    return "\n" * (body.count("\n") - BLANK.sub("", body).count("\n")) + python  # IPython drops blank lines in front


def _parses(source: str) -> bool:
    try:
        ast.parse(source)
    except UNREADABLE:
        return False
    return True


class Shell:
    """What `get_ipython()` gives while this is graded: its commands do nothing."""

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *_, **__: None


@dataclass(frozen=True)
class Statement:
    """One of a notebook's outermost statements."""

    code: CodeType
    text: str  # its first line
    defines: str  # the name of a function or class
    sets: frozenset[str]  # names of the notebook
    uses: frozenset[str]
    imports: bool

    @classmethod
    def of(cls, node: ast.stmt, filename: str, lines: list[str]) -> Statement:
        """Reads a statement; raises one of UNREADABLE, as Python may find what is wrong with it only now."""
        code = compile(ast.Module([node], []), filename, "exec")
        defines = node.name if isinstance(node, ast.FunctionDef | ast.ClassDef) else ""
        sets = set(_names(code, "STORE_NAME", "STORE_GLOBAL")) | (set() if defines else set(_changed(node)))
        imports = isinstance(node, ast.Import | ast.ImportFrom)
        if isinstance(node, ast.ImportFrom) and node.names[0].name == "*":
            sets.add(EVERYTHING)
        uses = {name for inner in _with_inner(code) for name in _names(inner, "LOAD_NAME", "LOAD_GLOBAL")}
        return cls(code, lines[node.lineno - 1].strip()[:80], defines, frozenset(sets), frozenset(uses), imports)


def _with_inner(code: CodeType) -> Iterator[CodeType]:
    """A statement's code and that of all functions and classes inside it."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _with_inner(constant)


def _names(code: CodeType, *instructions: str) -> Iterator[str]:
    return (step.argval for step in dis.get_instructions(code) if step.opname in instructions)


def _changed(node: ast.stmt) -> Iterator[str]:
    """Names of what a statement changes without setting the name: `table[x] = 1`."""
    for inner in ast.walk(node):
        if isinstance(inner, ast.Subscript | ast.Attribute) and isinstance(inner.ctx, ast.Store):
            root: ast.expr = inner
            while isinstance(root, ast.Subscript | ast.Attribute):
                root = root.value
            if isinstance(root, ast.Name):
                yield root.id


class Answers:
    """The functions of a notebook that have one of these names, the tasks'."""

    def __init__(self, sources: list[str], tasks: set[str]) -> None:
        self.statements: list[Statement] = []
        self.found: set[str] = set()  # tasks with an answer, be it broken
        self.broken: dict[str, str] = {}  # the sentence, where an answer cannot be defined
        self.unset: dict[str, str] = {}  # and where a name that the last answer asked for may need could not be set
        self.late: dict[Statement, str] = {}  # what took too long once is not tried again
        for number, source in enumerate(sources, 1):
            self._read(f"<cell {number}>", python_of(source), tasks)

    def _read(self, filename: str, source: str, tasks: set[str]) -> None:
        lines = source.splitlines(keepends=True)
        linecache.cache[filename] = (len(source), None, lines, filename)
        try:
            nodes = ast.parse(source).body
        except UNREADABLE as error:
            number = getattr(error, "lineno", None)
            line = f", line {number}" if number else ""
            for name in tasks.intersection(re.findall(r"^def (\w+)", source, re.M)):
                self.found.add(name)
                self.broken[name] = f"its cell is not Python{line}: {getattr(error, 'msg', error)}"
            return
        for node in nodes:
            name = getattr(node, "name", "")
            self.found |= tasks & {name}
            try:
                self.statements.append(Statement.of(node, filename, lines))
            except UNREADABLE as error:
                if name in tasks:
                    self.broken[name] = f"it cannot be defined: {_told(error)}"

    def functions(self, name: str) -> list[Callable[..., Any]]:
        """All functions of this name, in the notebook's order, among the names that they use; none is shared."""
        names: dict[str, Any] = {"__name__": "submission", "get_ipython": Shell}
        functions: list[Callable[..., Any]] = []
        self.unset = {}
        for statement in self._needed(name, names):
            fault = self._executed(statement, names)
            if statement.defines == name and fault:
                self.broken[name] = f"it cannot be defined: {fault}"
            elif statement.defines == name:
                functions.append(names[name])
            for one in statement.sets - names.keys() if fault else ():
                self.unset[one] = f"`{one}` is set by `{statement.text}`, which fails in the grading: {fault}"
        return functions

    def _needed(self, name: str, names: dict[str, Any]) -> Iterator[Statement]:
        """What the answers of this name need, to be executed into `names` one by one.

        After the last of them only what defines, and what sets a name that is still missing: they were checked before
        a later cell gave the name to something else.
        """
        chosen = {i for i, one in enumerate(self.statements) if one.defines == name or EVERYTHING in one.sets}
        last = max((i for i in chosen if self.statements[i].defines == name), default=-1)
        used: set[str] = set()
        size = -1
        while size < len(chosen):
            size = len(chosen)
            used.update(*(self.statements[i].uses for i in chosen))
            chosen |= {i for i, one in enumerate(self.statements) if one.sets & used}
        for i in sorted(chosen):
            statement = self.statements[i]
            missing = (statement.sets & used) - names.keys() - vars(builtins).keys()
            if i <= last or statement.defines or missing:
                yield statement

    def _executed(self, statement: Statement, names: dict[str, Any]) -> str:
        """Executes a statement; returns what is wrong with it, or ""."""
        if statement in self.late:
            return self.late[statement]
        seconds = IMPORTING if statement.imports else running.SECONDS
        try:
            with time_limit(seconds):
                exec(statement.code, names)
        except OutOfTime:
            self.late[statement] = f"it took longer than {seconds:g} seconds"
            return self.late[statement]
        except BaseException as error:
            return self.explained(_told(error))
        return ""

    def explained(self, sentence: str) -> str:
        """A sentence about a name that is not defined, with the reason if it is known."""
        name = re.search(r"NameError: name '(\w+)' is not defined", sentence)
        reason = name and (self.unset.get(name[1]) or self.unset.get(EVERYTHING))
        return f"{sentence}; {reason}"[:LONGEST] if reason else sentence


def _told(error: BaseException) -> str:
    try:
        return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:100]}"
    except Exception:  # a student's own, which cannot be shown
        return type(error).__name__
