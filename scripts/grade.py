"""Submissions are checked, each in a process and a folder of its own, with limits.

    python -m scripts.grade anna.ipynb ben.ipynb --json grades.json

Comes in: students' notebooks. Goes out: one table, with the points of each task and the sentence of each miss, and one
JSON file. The seeds of the checks are fresh; `--seed`, as told in the table, repeats a grading. A submission that never
ends, fills the memory, prints without end, starts processes or deletes files harms neither this computer nor the
others' grades (exercises/confine.py says how far that goes).
"""

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
from exercises.submission import EVERY

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


def grade(path: Path, seed: int, limits: Limits | None = None) -> Grade:
    """Checks one notebook; a process that ends in the middle of a task is followed by another for the rest."""
    limits = limits or Limits()
    made, left = Grade(str(path)), float(limits.seconds)
    expected: list[str] = []
    results: dict[str, dict[str, Any]] = {}
    if not path.is_file():
        made.error = "there is no such file"
        return made
    with tempfile.TemporaryDirectory(prefix="grade-", ignore_cleanup_errors=True) as folder:
        done = False
        while not done and left > 0:
            begun, since = "", time.monotonic()
            shutil.copy(path, Path(folder) / "submission.ipynb")
            for piece in _talk(Path(folder), seed, sorted(results), limits, left):
                since = time.monotonic() if "ready" in piece else since
                made.error = piece.get("error", "")
                expected = piece.get("expected", expected)
                begun = piece.get("begin", begun)
                done = "done" in piece or bool(made.error)
                if "task" in piece:
                    results[piece["task"]], begun = piece, ""
            left -= time.monotonic() - since
            if not done and not begun and not made.error:
                made.error = "its imports and functions could not be executed: they took too long or ended the process"
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


def _talk(folder: Path, seed: int, skip: list[str], limits: Limits, left: float) -> Iterator[dict[str, Any]]:
    """Starts a process for the submission, and yields what it says until it ends or is too long silent.

    Its seconds that are `left` count from its first word, when the library is imported.
    """
    command = [sys.executable, "-m", "exercises.submission", "submission.ipynb", f"--seed={seed}"]
    command += [f"--memory={limits.memory}", f"--seconds={limits.seconds}", f"--call={limits.call}", "--skip", *skip]
    kept = {name: os.environ[name] for name in ("PATH", "SYSTEMROOT", "LANG") if name in os.environ}
    environment = kept | {"PYTHONPATH": str(ROOT), "HOME": str(folder), "TMPDIR": str(folder), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        command,
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    lines: queue.Queue[bytes] = queue.Queue()
    threading.Thread(target=_read, args=(process.stdout, lines), daemon=True).start()
    patience, end = limits.start, 0.0
    try:
        while line := lines.get(timeout=max(0.1, patience)):
            yield json.loads(line)
            end = end or time.monotonic() + left
            patience = min(limits.silence, end - time.monotonic())
    except queue.Empty:
        pass
    finally:
        _end(process)


def _read(stream: Any, lines: queue.Queue[bytes]) -> None:
    """Puts each line into the queue, and an empty one at the end."""
    while line := stream.readline():
        lines.put(line)
    lines.put(b"")


def _end(process: subprocess.Popen) -> None:
    """Ends a process and all that it may have started."""
    if hasattr(os, "killpg"):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
    process.kill()
    process.wait()


def table(grades: list[Grade], seed: int) -> str:
    """One line for each submission, and one for each of its tasks."""
    width = max((len(name) for name in EVERY), default=0)
    lines = [f"seed {seed}"]
    for made in grades:
        lines.append(f"{made.file}  {made.points}/{made.of}" + (f"  {made.error}" if made.error else ""))
        for task in made.tasks:
            sentence = task["sentence"] if task["state"] != "right" else ""
            line = f"  {SIGNS[task['state']]} {task['task']:{width}}  {task['points']}/{task['of']}  {sentence}"
            lines.append(line.rstrip())
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    """The command; returns 0, whatever the grades are."""
    parser = argparse.ArgumentParser(description="Grade submissions.", epilog=__doc__.split("\n\n")[1])
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("notebooks", nargs="+", type=Path, metavar="FILE.ipynb")
    parser.add_argument("--json", type=Path, help="write the results to this file, too")
    parser.add_argument("--seed", type=int, help="of the checks' inputs; by default a new one")
    parser.add_argument("--seconds", type=int, default=Limits.seconds, help="for one submission (%(default)s)")
    parser.add_argument("--memory", type=float, default=2, help="for one submission, in gigabytes (%(default)s)")
    args = parser.parse_args(arguments)
    seed = secrets.randbelow(2**31) if args.seed is None else args.seed
    limits = Limits(seconds=args.seconds, memory=int(args.memory * 2**30))
    grades = [grade(path, seed, limits) for path in args.notebooks]
    if args.json:
        content = {"seed": seed, "submissions": [asdict(made) for made in grades]}
        files.write(args.json, json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    print(table(grades, seed))
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (ValueError, OSError) as error:
        sys.exit(str(error))
