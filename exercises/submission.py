"""Submissions, each checked in a process of its own: `python -m exercises.submission` (scripts/grade.py starts it).

The library is imported once; each line of JSON on the standard input, a `Job`, is then answered by a fork of the
process. Comes in: students' notebooks. Of their code only imports, functions, classes and plain constants are executed,
each by itself: cells may be copied, moved, missing or wrong, and nothing is trained. The answers are the functions that
have a task's name; of several the last that is written. Goes out: lines of JSON on the standard output, one with the
number of the process, one when it has ended, and between them, behind a "+", what it says itself: a line as a task
begins, and one with its result. Whatever a student prints goes nowhere.
"""

from __future__ import annotations

import ast
import json
import linecache
import os
import re
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from IPython.core.inputtransformer2 import TransformerManager

from exercises import running
from exercises.checking import BUGS, TASKS, Result, check
from exercises.confine import confine
from exercises.running import time_limit
from exercises.tasks import Task

ROUNDS = 3  # seeds for each answer
LONGEST = 2**16  # bytes of a line
HEADS = re.compile(r"\A(?:\s*%%.*\n?)+")  # of a cell, as %%time
BLANK = re.compile(r"\A(?:[ \t]*\n)*")
EVERY: dict[str, Task] = TASKS | {bug.name: bug for bug in BUGS.values()}


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
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True


class Shell:
    """What `get_ipython()` gives while this is graded: its commands do nothing."""

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *_, **__: None


def is_kept(statement: ast.stmt) -> bool:
    """True for what is executed: imports, functions, classes, and names of plain numbers, texts and lists of them."""
    if isinstance(statement, ast.Assign | ast.AnnAssign) and statement.value is not None:
        try:
            ast.literal_eval(statement.value)
        except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
            return False
        return True
    return isinstance(statement, ast.Import | ast.ImportFrom | ast.FunctionDef | ast.ClassDef)


class Answers:
    """The functions of a notebook that have a task's name, in their order; `broken` says why one could not be read."""

    def __init__(self, sources: list[str]) -> None:
        self.functions: dict[str, list[Callable[..., Any]]] = defaultdict(list)
        self.broken: dict[str, str] = {}
        self.names: dict[str, Any] = {"__name__": "submission", "get_ipython": Shell}
        for number, source in enumerate(sources, 1):
            self._read(f"<cell {number}>", python_of(source))

    def _read(self, filename: str, source: str) -> None:
        linecache.cache[filename] = (len(source), None, source.splitlines(keepends=True), filename)
        try:
            statements = ast.parse(source).body
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            line = f", line {error.lineno}" if isinstance(error, SyntaxError) else ""
            for name in re.findall(r"^def (\w+)", source, re.M):
                self.broken[name] = f"its cell is not Python{line}: {getattr(error, 'msg', error)}"
            return
        for statement in filter(is_kept, statements):
            name = getattr(statement, "name", "")
            try:
                with time_limit(20):
                    exec(compile(ast.Module([statement], []), filename, "exec"), self.names)
                if name in EVERY:
                    self.functions[name].append(self.names[name])
            except BaseException as error:
                if name in EVERY:
                    self.broken[name] = f"it cannot be defined: {type(error).__name__}: {str(error)[:100]}"

    def expected(self) -> list[str]:
        """The tasks of all notebooks to which something that was found belongs."""
        notebooks = {task.notebook for name, task in EVERY.items() if name in self.functions or name in self.broken}
        return [name for name, task in EVERY.items() if task.notebook in notebooks]

    def result(self, name: str, seed: int) -> Result:
        """The check of one task with several seeds."""
        for function in reversed(self.functions[name]):
            for i in range(ROUNDS):
                result = check(function, seed + i)
                if result.state != "right":
                    break
            if result.state != "unwritten":
                return result
        if name in self.broken:
            return Result(name, "wrong", self.broken[name])
        return Result(name, "unwritten", "still to write" if self.functions[name] else "there is no such function")


def report(path: Path, seed: int, skip: list[str]) -> Iterator[dict[str, Any]]:
    """What is told, piece by piece, so that a task which ends the process takes no other with it."""
    try:
        answers = Answers(cells(path))
    except (ValueError, OSError) as error:
        yield {"error": str(error)}
        return
    yield {"expected": answers.expected()}
    for name in answers.expected():
        if name not in skip:
            yield {"begin": name}
            result = answers.result(name, seed)
            yield {"task": name, "state": result.state, "points": result.points, "sentence": result.sentence}
    yield {"done": True}


@dataclass(frozen=True)
class Job:
    """One submission to check."""

    folder: str  # with the notebook, submission.ipynb; the only place in which it may write
    seed: int
    skip: list[str]  # tasks that are not checked again
    memory: int  # bytes
    seconds: int
    call: float  # seconds for one call of an answer


def answer(job: Job, channel: int, before: str = "") -> NoReturn:
    """Confines this process, then reads, executes and checks; it ends with the last word on a channel of its own."""
    lines = os.fdopen(os.dup(channel), "w", encoding="utf-8")
    nowhere = os.open(os.devnull, os.O_RDWR)
    for descriptor in range(3):
        os.dup2(nowhere, descriptor)
    os.chdir(job.folder)
    os.environ.update(HOME=job.folder, TMPDIR=job.folder)
    running.SECONDS = job.call
    confine(Path.cwd(), job.memory, job.seconds)
    for piece in report(Path("submission.ipynb"), job.seed, job.skip):
        print(before + json.dumps(piece), file=lines, flush=True)
    os._exit(0)  # whatever the submission has left to be done at the end


def main() -> None:
    """Answers one job after the other; without `fork`, on Windows, the first only, and whoever asks starts another.

    What a submission's process says is handed on behind a "+": it cannot speak for this one, or for the next.
    """
    for line in sys.stdin:
        job = Job(**json.loads(line))
        if sys.platform == "win32":
            print(json.dumps({"process": os.getpid()}), flush=True)
            answer(job, 1, "+")
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                os.setsid()
                os.close(reading)
                answer(job, writing)
            finally:
                os._exit(1)
        os.close(writing)
        print(json.dumps({"process": child}), flush=True)
        with os.fdopen(reading, "rb") as said:
            while words := said.readline(LONGEST):
                print("+" + words.decode(errors="replace").rstrip("\n"), flush=True)
        os.waitpid(child, 0)
        print(json.dumps({"ended": child}), flush=True)


if __name__ == "__main__":
    main()
