"""What a user relies on wherever the course lies and whatever the console writes: drawn, trained, scored, captioned.

Each run is a process of its own in a copy of the sources.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
COURSE = """
import runpy, sys
from pathlib import Path
sizes = ["--train", "8", "--val", "3", "--test", "3"]
quick = ["--detector-epochs", "1", "--epochs", "1", "--tune-epochs", "1", "--hidden-size", "16"]
def run(name, *arguments):
    sys.argv = [name, *arguments]
    try:
        runpy.run_module(f"scripts.{name}", run_name="__main__", alter_sys=True)
    except SystemExit as end:
        if end.code:
            raise
run("sample", *sizes)
run("train", *quick)
run("evaluate", "--num-beams", "1")
from dataset.paths import DATA, RUNS
run("caption", str(next((DATA / "sample/test").iterdir())), "--figure", str(RUNS / "look.png"))
"""


@pytest.fixture(scope="module")
def copy(tmp_path_factory) -> Path:
    """The sources alone, under a path with spaces and umlauts."""
    folder = tmp_path_factory.mktemp("Mein Ordner für Übungen (1)") / "Bildbeschreibung – Käthe's"
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z", "*.py", "*.txt", "*.j2", "*.toml"]
    names = subprocess.run(listed, cwd=ROOT, check=True, capture_output=True, text=True).stdout.split("\0")
    for name in filter(None, names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    return folder


def run_course(folder: Path, home: Path, **environment: str) -> str:
    """The course's commands in `folder`, data and runs in `home`; what was printed, checked for the results."""
    environment = os.environ | environment
    run = subprocess.run([sys.executable, "-c", COURSE], cwd=folder, env=environment, capture_output=True)
    said = run.stdout.decode("latin-1")
    assert run.returncode == 0, said + run.stderr.decode("latin-1")
    assert "Traceback" not in said and b"Traceback" not in run.stderr
    scores = json.loads((home / "runs/sample/model/scores-val.json").read_text(encoding="utf-8"))
    assert scores["images"] == 3 and (home / "runs/sample/model/captions-val.html").stat().st_size > 10_000
    assert (home / "runs/look.png").stat().st_size > 1000 and "(p = " in said
    return said


def test_under_a_path_with_spaces_and_umlauts(copy):
    run_course(copy, copy)
    shutil.rmtree(copy / "runs"), shutil.rmtree(copy / "data")


@pytest.mark.parametrize(
    "environment",
    [
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},  # else Python takes UTF-8 all the same
        {"PYTHONIOENCODING": "cp1252", "PYTHONUTF8": "0"},
    ],
    ids=lambda environment: next(iter(environment)),
)
def test_under_another_locale_or_code_page(tmp_path, environment):
    places = {"DATA": str(tmp_path / "data"), "RUNS": str(tmp_path / "runs")}
    run_course(ROOT, tmp_path, **places, **environment)


def test_in_a_read_only_checkout(copy, tmp_path):
    """A real read-only mount, for root, too."""
    mount = [["mount", "--bind", str(copy), str(copy)], ["mount", "-o", "remount,bind,ro", str(copy)]]
    if shutil.which("mount") is None or any(subprocess.run(each, capture_output=True).returncode for each in mount):
        pytest.skip("only root may mount here")
    try:
        places = {"DATA": str(tmp_path / "data"), "RUNS": str(tmp_path / "runs")}
        run_course(copy, tmp_path, **places)
        for name, setting in (("sample", "DATA"), ("train", "RUNS")):
            without = {key: value for key, value in (os.environ | places).items() if key != setting}
            command = [sys.executable, "-m", f"scripts.{name}"]
            run = subprocess.run(command, cwd=copy, env=without, capture_output=True, encoding="utf-8")
            assert run.returncode == 1 and run.stderr.count("\n") == 1
            assert "could not be written: the disk is read-only" in run.stderr and setting in run.stderr
    finally:
        subprocess.run(["umount", "-l", str(copy)], check=True)
