"""Submissions, each checked in a process of its own: `python -m exercises.submission` (scripts/grade.py starts it).

The library is imported once; each line of JSON on the standard input, a `Job`, is then answered by a fork of the
process. Comes in: students' notebooks, whose answers are found by their names (answers.py). Goes out: lines of JSON on
the standard output, one with the number of the process, one when it has ended, and between them, behind a "+", what it
says itself: a line as a task begins, and one with its result. Whatever a student prints goes nowhere.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NoReturn

from exercises import running
from exercises.answers import Answers, cells
from exercises.checking import BUGS, TASKS, Result, check
from exercises.confine import confine
from exercises.tasks import Task

ROUNDS = 3  # seeds for each answer
LONGEST = 2**16  # bytes of a line
EVERY: dict[str, Task] = TASKS | {bug.name: bug for bug in BUGS.values()}


def expected(answers: Answers) -> list[str]:
    """The tasks of all notebooks to which something that was found belongs."""
    notebooks = {EVERY[name].notebook for name in answers.found}
    return [name for name, task in EVERY.items() if task.notebook in notebooks]


def checked(answers: Answers, name: str, seed: int) -> Result:
    """The check of one task with several seeds; of several answers the last that is written counts."""
    functions = answers.functions(name)
    for function in reversed(functions):
        for i in range(ROUNDS):
            result = check(function, seed + i)
            if result.state != "right":
                break
        if result.state != "unwritten":
            return replace(result, sentence=answers.explained(result.sentence))
    if name in answers.broken:
        return Result(name, "wrong", answers.broken[name])
    return Result(name, "unwritten", "still to write" if functions else "there is no such function")


def report(path: Path, seed: int, skip: list[str]) -> Iterator[dict[str, Any]]:
    """What is told, piece by piece, so that a task which ends the process takes no other with it."""
    try:
        answers = Answers(cells(path), set(EVERY))
    except (ValueError, OSError) as error:
        yield {"error": str(error)}
        return
    yield {"expected": expected(answers)}
    for name in expected(answers):
        if name not in skip:
            yield {"begin": name}
            result = checked(answers, name, seed)
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
