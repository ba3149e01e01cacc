"""What a first-time user relies on who starts another Python, or starts it elsewhere: a sentence, and no traceback."""

import subprocess
import sys
from pathlib import Path

import pytest

from dataset import installed

ROOT = Path(__file__).parents[2]


def said(*arguments: str, folder: Path = ROOT) -> str:
    """What a real Python says on stderr, ending with 1."""
    run = subprocess.run([sys.executable, *arguments], cwd=folder, capture_output=True, encoding="utf-8")
    assert run.returncode == 1
    return run.stderr


def test_a_python_without_the_libraries_is_named_with_the_way_out():
    for command in ("train", "caption", "sample"):
        told = said("-S", "-m", f"scripts.{command}")  # without site-packages
        assert told.startswith("The course's libraries are not all in this Python, ") and told.count("\n") == 1
        assert "it lacks torch, " in told and "pip install -r requirements.txt" in told
    told = said("-S", "-c", "from figures.ideas import course_map").splitlines()[-1]  # how the notebooks begin
    assert told.startswith("ImportError: The course's libraries") and "choose the kernel" in told


def test_an_older_python_is_told_which_one_is_needed(monkeypatch):
    assert installed.what_is_missing() == ""
    monkeypatch.setattr(installed, "OLDEST", (99, 1))
    assert installed.what_is_missing().startswith("The course needs Python 99.1 or newer, and this Python, ")


@pytest.mark.parametrize(
    ("folder", "command"),
    [("scripts", ["train.py"]), ("scripts", ["-m", "scripts.train"]), (".", ["scripts/train.py"])],
)
def test_a_command_started_inside_its_folder_says_how_it_is_started(folder, command):
    assert said(*command, folder=ROOT / folder).startswith("Start commands in the course's folder, ")
