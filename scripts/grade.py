"""Submissions are checked, each in a process and a folder of its own, with limits; the library is imported once.

    python -m scripts.grade anna.ipynb ben.ipynb --json grades.json

Comes in: students' notebooks. Goes out: one table, with the points of each task and the sentence of each miss, and one
JSON file, which grows with each submission. The seeds of the checks are fresh; `--seed`, as told in the table, repeats
a grading. A submission that never ends, fills the memory, prints without end, starts processes or deletes files harms
neither this computer nor the others' grades (exercises/confine.py says how far that goes).
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import queue
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from dataset import files
from exercises import running
from exercises.checking import SIGNS
from exercises.submission import EVERY, Job
from scripts.arguments import between, count
from scripts.arguments import seed as a_seed
from scripts.ending import one_sentence

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Limits:
    """For one submission."""

    start: float = 60.0  # seconds until the library is imported
    silence: float = 30.0  # seconds without a word: a check takes less than one, a stopped call `call`
    call: float = running.SECONDS  # for one call of an answer
    seconds: int = 120  # all together, but for that import
    memory: int = 2 * 2**30  # bytes, beside those of the library


@dataclass
class Grade:
    """One submission's results; `error` is a sentence where it could not be read at all."""

    file: str
    points: int = 0
    of: int = 0
    error: str = ""
    tasks: list[dict[str, Any]] = field(default_factory=list)

    def add(self, name: str, state: str, points: int, sentence: str) -> None:
        """One task's result."""
        task = EVERY[name]
        result = {"task": name, "notebook": task.notebook, "state": state, "points": points, "of": task.points}
        self.tasks.append(result | {"sentence": sentence})
        self.points, self.of = self.points + points, self.of + task.points


class Library:
    """A process that has imported the library; each submission is checked by a fork of it. Use it in a `with` block.

    Of this process's environment it knows nothing but PATH and the language.
    """

    def __init__(self) -> None:
        self.process: subprocess.Popen | None = None
        self.lines: queue.Queue[bytes] = queue.Queue()

    def __enter__(self) -> Library:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process is not None:
            _end(self.process.pid)
            self.process.wait()
            self.process = None

    def _started(self) -> Any:
        """Where jobs are written to; a process that has ended is followed by another one."""
        if self.process is None or self.process.poll() is not None:
            kept = {name: os.environ[name] for name in ("PATH", "SYSTEMROOT", "LANG") if name in os.environ}
            self.process = subprocess.Popen(
                [sys.executable, "-m", "exercises.submission"],
                cwd=ROOT,
                env=kept | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
            self.lines = queue.Queue()
            threading.Thread(target=_read, args=(self.process.stdout, self.lines), daemon=True).start()
        return self.process.stdin

    def ask(self, job: Job, limits: Limits, left: float) -> Iterator[dict[str, Any]]:
        """Yields what a submission's process says until it ends, or is ended: it was too long silent.

        First comes {"process": its number}, when the library is imported; its seconds that are `left` count from there.
        """
        jobs = self._started()
        jobs.write((json.dumps(asdict(job)) + "\n").encode())
        jobs.flush()
        child, ended, patience, end = 0, False, limits.start, 0.0
        try:
            while line := self.lines.get(timeout=max(0.1, patience)):
                if line.startswith(b"+"):
                    yield understood(line[1:])
                elif ended := "ended" in (piece := json.loads(line)):
                    return
                else:
                    child = piece["process"]
                    yield piece
                end = end or time.monotonic() + left
                patience = min(limits.silence, end - time.monotonic())
            ended = True  # so has the library's process, by whatever cause: the next submission gets another
            self.__exit__()
        except queue.Empty:
            pass
        finally:
            if not ended:
                self._stop(child)

    def _stop(self, child: int) -> None:
        """Ends one submission's process; or all, if that has not begun."""
        if not child:
            return self.__exit__()
        _end(child)
        try:
            while line := self.lines.get(timeout=5):
                if b"ended" in line and not line.startswith(b"+"):
                    return
        except queue.Empty:
            self.__exit__()


def visible(text: str) -> str:
    """What is not printable becomes its escape: a terminal obeys none of it, and any encoding can write it."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def named(path: Path) -> str:
    """A path, visible; two paths never look alike, as a backslash that is part of a name is doubled."""
    return visible(path.as_posix().replace("\\", r"\\"))


def understood(line: bytes) -> dict[str, Any]:
    """A line of a submission's process; what the checks cannot have written, the submission did: an error."""
    try:
        piece = json.loads(line)
        names = [*piece.get("expected", []), *(piece[key] for key in ("begin", "task") if key in piece)]
        if all(name in EVERY for name in names) and isinstance(piece.get("error", ""), str):
            if "error" in piece:
                return piece | {"error": visible(piece["error"])}
            if "task" not in piece:
                return piece
            if piece["state"] in SIGNS and piece["points"] in range(EVERY[piece["task"]].points + 1):
                return piece | {"sentence": visible(str(piece["sentence"]))}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        pass
    return {"error": "it wrote among the results of its own checks"}


def grade(path: Path, seed: int, library: Library, limits: Limits | None = None) -> Grade:
    """Checks one notebook; a process that ends in the middle of a task is followed by another for the rest."""
    limits = limits or Limits()
    made, left = Grade(named(path)), float(limits.seconds)
    expected: list[str] = []
    results: dict[str, dict[str, Any]] = {}
    if not path.is_file():
        folder_given = f"this is a folder: name the notebooks in it, as {named(path)}/*.ipynb does"
        made.error = folder_given if path.is_dir() else "there is no such file"
        return made
    with tempfile.TemporaryDirectory(prefix="grade-", ignore_cleanup_errors=True) as folder:
        done = False
        while not done and left > 0:
            begun, since = "", time.monotonic()
            shutil.copy(path, Path(folder) / "submission.ipynb")
            job = Job(folder, seed, sorted(results), limits.memory, limits.seconds, limits.call)
            for piece in library.ask(job, limits, left):
                since = time.monotonic() if "process" in piece else since
                made.error = piece.get("error", made.error)
                expected = piece.get("expected", expected)
                begun = piece.get("begin", begun)
                done = "done" in piece or bool(made.error)
                if made.error:
                    break
                if "task" in piece:
                    results[piece["task"]], begun = piece, ""
            left -= time.monotonic() - since
            if not done and not begun and not made.error:
                made.error = "it could not be read: that took too long, or ended the process"
                break
            if begun:
                sentence = "it ended the process, or took too much time or memory, and was stopped"
                results[begun] = {"state": "wrong", "points": 0, "sentence": sentence}
    missing = {"state": "wrong", "points": 0, "sentence": "not reached: the submission's time was over"}
    for name in expected:
        found = results.get(name, missing)
        made.add(name, found["state"], found["points"], found["sentence"])
    if not made.tasks and not made.error:
        made.error = "no function in it has the name of a task"
    return made


def _read(stream: Any, lines: queue.Queue[bytes]) -> None:
    """Puts each line into the queue, and an empty one at the end."""
    while line := stream.readline():
        lines.put(line)
    lines.put(b"")


def _end(process: int) -> None:
    """Ends a process, by its number, and all that it may have started."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if sys.platform == "win32":
            os.kill(process, signal.SIGTERM)
        else:
            os.killpg(process, signal.SIGKILL)


def grade_all(paths: list[Path], seed: int, limits: Limits, saved: Path | None = None) -> list[Grade]:
    """Grades one after the other, tells each as it is done, and prints the table whatever happens, Ctrl-C included.

    Raises OSError if at the end the results could not be written to the file `saved`.
    """
    grades: list[Grade] = []
    unsaved: OSError | None = None
    try:
        with Library() as library:
            for number, path in enumerate(paths, 1):
                try:
                    made = grade(path, seed, library, limits)
                except OSError as error:
                    made = Grade(named(path), error=visible(f"it could not be read: {error.strerror or error}"))
                grades.append(made)
                print(f"[{number}/{len(paths)}] {total(made)}", file=sys.stderr, flush=True)
                try:
                    save(saved, grades, seed)
                    unsaved = None
                except OSError as error:
                    unsaved = error
    finally:
        print(table(grades, seed))
    if unsaved is not None:
        raise unsaved
    return grades


def save(path: Path | None, grades: list[Grade], seed: int) -> None:
    """What there is so far, as JSON."""
    if path is not None:
        content = {"seed": seed, "submissions": [asdict(made) for made in grades]}
        files.write(path, json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def total(made: Grade) -> str:
    """A submission in one line."""
    return f"{made.file}  {made.points}/{made.of}" + (f"  {made.error}" if made.error else "")


def table(grades: list[Grade], seed: int) -> str:
    """One line for each submission, and one for each of its tasks."""
    width = max((len(name) for name in EVERY), default=0)
    lines = [f"seed {seed}"]
    for made in grades:
        lines.append(total(made))
        for task in made.tasks:
            sentence = task["sentence"] if task["state"] != "right" else ""
            line = f"  {SIGNS[task['state']]} {task['task']:{width}}  {task['points']}/{task['of']}  {sentence}"
            lines.append(line.rstrip())
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    """The command; returns 0, whatever the grades are. Raises OSError if the results cannot be written."""
    description, usage = "Grade submissions.", __doc__.split("\n\n")[1]
    parser = argparse.ArgumentParser(prog="python -m scripts.grade", description=description, epilog=usage)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("notebooks", nargs="+", type=Path, metavar="FILE.ipynb")
    parser.add_argument("--json", type=Path, help="write the results to this file, too, after each submission")
    parser.add_argument("--seed", type=a_seed, help="of the checks' inputs; by default a new one")
    parser.add_argument("--seconds", type=count, default=Limits.seconds, help="for one submission (%(default)s)")
    parser.add_argument(
        "--memory", type=between(0.1, 2**20), default=2, help="for one submission, in gigabytes (%(default)s)"
    )
    args = parser.parse_args(arguments)
    if args.json and args.json.suffix == ".ipynb":
        parser.error(f"argument --json: {named(args.json)} is a notebook: name the file of the results first")
    if args.json:
        files.check_writable(args.json)  # now, and not after the grading
    if not any(os.path.lexists(path) for path in args.notebooks):
        raise ValueError(f"nothing to grade, there is no {', no '.join(map(named, args.notebooks))}")
    seed = secrets.randbelow(2**31) if args.seed is None else args.seed
    grade_all(args.notebooks, seed, Limits(seconds=args.seconds, memory=int(args.memory * 2**30)), args.json)
    return 0


if __name__ == "__main__":
    with one_sentence():
        sys.exit(main())
