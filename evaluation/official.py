"""METEOR and SPICE, by pycocoevalcap and Java in a process of their own.

Comes in: the words of captions and references, by image id. Goes out: a score with its margin, or a line that says what
is missing. What it does not know: models, pictures, files.

Both scorers start a Java that is hard to stop from outside and may hang. So `java_score` runs this file as a program,
`python -m evaluation.official METEOR`, which reads captions and references as JSON and prints [score, margin].
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any

import numpy as np

from dataset.progress import shown
from evaluation.metrics import Id, Score, checked
from evaluation.objects import Tokens

ROOT = Path(__file__).parents[1]
DATA = {  # what each score needs beside pycocoevalcap
    "METEOR": "meteor/meteor-1.5.jar",
    "SPICE": "spice/lib/stanford-corenlp-3.6.0-models.jar",
}
Texts = dict[str, list[str]]  # image -> texts, words between single blanks


def java_score(
    name: str, captions: Mapping[Id, Tokens], references: Mapping[Id, Sequence[Tokens]], *, seconds: float = 600
) -> Score | str:
    """METEOR or SPICE of a set with half the width of its 95 % interval; or a line saying what is missing.

    After `seconds` the process and its Java are stopped. SPICE needs Stanford's models (once, over the network:
    `python -c "from pycocoevalcap.spice.spice import Spice; Spice()"`).
    """
    checked(captions, references)
    if shutil.which("java") is None:
        return f"{name} needs Java: no `java` was found"
    package = find_spec("pycocoevalcap")
    homes = package.submodule_search_locations if package else None
    if not homes or not (Path(homes[0]) / DATA[name]).exists():
        return f"{name} needs {DATA[name]} beside pycocoevalcap: it is not there"
    said = {str(i): [" ".join(tokens)] for i, tokens in enumerate(captions.values())}
    true = {str(i): [" ".join(tokens) for tokens in references[image]] for i, image in enumerate(captions)}
    with tempfile.TemporaryFile("w+", encoding="utf-8") as question:  # a pipe is not filled before somebody reads it
        json.dump([said, true], question)
        question.seek(0)
        child = _asked(name, question)
    try:
        out, complaint = _answer(child, name, seconds)
    except subprocess.TimeoutExpired:
        _stop(child)
        return f"{name} was stopped after {seconds:.0f} seconds"
    except BaseException:  # Ctrl-C, too: the child is in a session of its own and does not hear it
        _stop(child)
        raise
    if child.returncode:
        return f"{name} failed: {complaint.strip().splitlines()[-1] if complaint.strip() else child.returncode}"
    return Score(*json.loads(out.strip().splitlines()[-1]))


def _asked(name: str, question: IO[str]) -> subprocess.Popen[str]:
    """A process that reads the question and computes the score."""
    return subprocess.Popen(
        [sys.executable, "-m", "evaluation.official", name],
        cwd=ROOT,
        env=os.environ | {"LC_ALL": "C.UTF-8"},  # where it is C, Java opens no file whose path has umlauts
        stdin=question,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        errors="replace",
        start_new_session=True,  # so that its Java can be stopped with it
    )


def _answer(child: subprocess.Popen[str], name: str, seconds: float) -> tuple[str, str]:
    """What a process writes and complains; TimeoutExpired after so many seconds, of which a bar runs meanwhile."""
    end = time.monotonic() + seconds
    with shown(None, f"{name}, at most", "s", total=round(seconds)) as bar:
        while True:
            try:
                return child.communicate(timeout=max(0.0, min(1.0, end - time.monotonic())))
            except subprocess.TimeoutExpired:
                if time.monotonic() >= end:
                    raise
            bar.update()


def _stop(child: subprocess.Popen[str]) -> None:
    """End a process and its Java."""
    with contextlib.suppress(ProcessLookupError):  # it may have ended just now
        if sys.platform == "win32":  # where its Java ends when nobody asks it any more
            child.kill()
        else:
            os.killpg(child.pid, signal.SIGKILL)
    child.communicate()


# ------------------------------------------------------------------------------------- in the process with Java


def _meteor(said: Texts, true: Texts, resamples: int = 200) -> tuple[float, float]:
    """METEOR of the set, and 1.96 standard deviations of METEOR over sets drawn anew with replacement."""
    meteor = _started()

    def score(rows: Sequence[str]) -> float:  # Java answers with a line for each row, and the set's score as the last
        meteor.meteor_p.stdin.write((" ||| ".join(["EVAL", *rows]) + "\n").encode())
        meteor.meteor_p.stdin.flush()
        return [float(meteor.meteor_p.stdout.readline()) for _ in range(len(rows) + 1)][-1]

    rows = [meteor._stat(said[image][0], true[image]) for image in said]
    draws = np.random.default_rng(0).integers(len(rows), size=(resamples, len(rows)))
    return score(rows), 1.96 * float(np.std([score([rows[i] for i in draw]) for draw in draws]))


def _started() -> Any:
    """pycocoevalcap's Meteor, but its Java finds the paraphrases under any path.

    METEOR makes their place from its own, in which it encodes blanks and umlauts twice.
    """
    from pycocoevalcap.meteor import meteor

    started = meteor.Meteor.__new__(meteor.Meteor)  # whose __init__ starts it without these
    usual = ["java", "-jar", "-Xmx2G", meteor.METEOR_JAR, "-", "-", "-stdio", "-l", "en", "-norm"]
    started.meteor_p = subprocess.Popen(
        [*usual, "-a", "data/paraphrase-en.gz"],
        cwd=Path(meteor.__file__).parent,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    return started


def _spice(said: Texts, true: Texts) -> tuple[float, float]:
    """SPICE of the set, a mean over images, and 1.96 standard errors of that mean."""
    from pycocoevalcap.spice.spice import Spice

    score, of_images = Spice().compute_score(true, said)
    values = [of_image["All"]["f"] for of_image in of_images]
    return float(score), 1.96 * float(np.std(values)) / len(values) ** 0.5


if __name__ == "__main__":
    print(json.dumps({"METEOR": _meteor, "SPICE": _spice}[sys.argv[1]](*json.load(sys.stdin))))
