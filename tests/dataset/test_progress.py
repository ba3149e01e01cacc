"""A bar where somebody looks, and nothing of it anywhere else."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pty, termios = pytest.importorskip("pty"), pytest.importorskip("termios")  # not on Windows

ROOT = Path(__file__).parents[2]
PROGRAM = """
import time
from dataset import progress
progress.DELAY = 0.2
for _ in progress.shown(range(8), "work", "step"):
    time.sleep(0.1)
print("done")
"""


def test_a_terminal_sees_the_time_left_and_in_the_end_nothing():
    master, terminal = pty.openpty()
    termios.tcsetwinsize(terminal, (24, 100))
    command = [sys.executable, "-c", PROGRAM]
    child = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=terminal, text=True)
    os.close(terminal)
    seen = b""
    try:
        while part := os.read(master, 4096):
            seen += part
    except OSError:  # Linux: the other end is closed
        pass
    os.close(master)
    out, _ = child.communicate()
    frames = seen.decode().split("\r")
    assert out == "done\n" and any("work:" in f and "8 [" in f and "<" in f for f in frames)
    assert "work:   0%" not in frames[1] and not frames[-1].strip()  # not at once, and wiped out at last


def test_a_file_and_a_pipe_get_nothing(tmp_path):
    log = tmp_path / "log.txt"
    with log.open("w") as file:
        subprocess.run([sys.executable, "-c", PROGRAM], cwd=ROOT, stdout=file, stderr=file, check=True)
    assert log.read_text() == "done\n"


def test_bars_are_made_on_one_page_only():
    pages = [p for p in ROOT.rglob("*.py") if not {".venv", "build", "tests"} & set(p.relative_to(ROOT).parts)]
    assert [p.name for p in pages if "import tqdm" in p.read_text() and "tqdm(" in p.read_text()] == ["progress.py"]
