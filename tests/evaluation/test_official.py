"""What a user relies on where Java scores: the official number or a line that says why not, and no Java left behind."""

import contextlib
import inspect
import io
import os
import shutil
import signal
import sys
import threading
import time
from pathlib import Path

import pytest
from conftest import LONG
from pycocoevalcap.meteor.meteor import Meteor

from dataset import files
from evaluation import official

NO_JAVA = "SPICE needs Java: no `java` was found"
WORDS = (
    {i: f"a small dog number {i} on a beach".split() for i in range(8)},
    {i: [f"a dog {i} at the sea".split(), f"number {i} of the little dogs".split()] for i in range(8)},
)


@pytest.mark.skipif(shutil.which("java") is None, reason="needs Java")
def test_meteor_is_the_official_one_wherever_it_lies_or_says_why_not(tmp_path, monkeypatch):
    """In a real folder with blanks and umlauts: METEOR itself does not find its data there."""
    folder = tmp_path / "Kurs für alle/it's"
    shutil.copytree(Path(inspect.getfile(Meteor)).parent, folder / "pycocoevalcap/meteor")
    monkeypatch.setenv("PYTHONPATH", str(folder))
    monkeypatch.setenv("LC_ALL", "C")
    said, true = WORDS
    texts = {i: [" ".join(tokens)] for i, tokens in said.items()}
    references = {i: [" ".join(tokens) for tokens in of_image] for i, of_image in true.items()}
    score = official.java_score("METEOR", said, true)
    whole = Meteor().compute_score(references, texts)[0] if LONG else 0.3496421  # what it gives for these
    assert score.value == pytest.approx(whole, abs=5e-4)
    assert 0 < score.margin < 0.3
    assert "stopped after" in official.java_score("METEOR", said, true, seconds=0.01)


@pytest.mark.skipif(sys.platform == "win32", reason="needs the signals of Unix")
def test_ctrl_c_ends_the_process_and_its_java(tmp_path, monkeypatch):
    """In place of Python a program whose own child, as Java would, goes on until it is killed."""
    lock = str(tmp_path / "lock")
    java = "import time\nfrom dataset import files\n"
    java += f"with files.locked({lock!r}, ''):\n open({lock + 'ed'!r}, 'w')\n time.sleep(60)"
    program = tmp_path / "python"
    program.write_text(f"#!{sys.executable}\nimport subprocess\nsubprocess.run([{sys.executable!r}, '-c', {java!r}])\n")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    monkeypatch.setattr(shutil, "which", lambda name: name)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))

    def interrupt() -> None:
        while not Path(lock + "ed").exists():
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGINT)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job is born deaf to Ctrl-C
    try:
        threading.Thread(target=interrupt).start()
        with pytest.raises(KeyboardInterrupt):
            official.java_score("METEOR", *WORDS)
    finally:
        signal.signal(signal.SIGINT, before)
    waited = io.StringIO()
    with contextlib.redirect_stdout(waited), files.locked(lock, "still at work"):
        assert waited.getvalue() == ""


def test_what_is_missing_for_a_score_is_said(monkeypatch):
    monkeypatch.setitem(official.DATA, "SPICE", "spice/lib/not-there.jar")
    answer = official.java_score("SPICE", *WORDS)
    assert answer in ("SPICE needs spice/lib/not-there.jar beside pycocoevalcap: it is not there", NO_JAVA)
    monkeypatch.setenv("PATH", "")
    assert official.java_score("METEOR", *WORDS) == NO_JAVA.replace("SPICE", "METEOR")


def test_a_scorer_that_fails_says_why(tmp_path, monkeypatch):
    program = tmp_path / "python"
    program.write_text(f"#!{sys.executable}\nraise RuntimeError('no memory')\n")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    monkeypatch.setattr(shutil, "which", lambda name: name)
    assert official.java_score("METEOR", *WORDS) == "METEOR failed: RuntimeError: no memory"


def test_many_captions_reach_a_scorer_that_starts_slowly(tmp_path, monkeypatch):
    """As on a busy computer, where Python and its libraries take seconds before they read."""
    program = tmp_path / "python"
    program.write_text(
        f"#!{sys.executable}\nimport json, sys, time\ntime.sleep(1.2)\nprint([len(json.load(sys.stdin)[0]), 0.5])\n"
    )
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    monkeypatch.setattr(shutil, "which", lambda name: name)
    said = {i: [*WORDS[0][0], str(i)] for i in range(2000)}
    score = official.java_score("METEOR", said, {i: [words] for i, words in said.items()}, seconds=20)
    assert score == (2000, 0.5)
