"""README.md tells the truth: its commands exist, its links lead somewhere, its map shows the files there are."""

import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md"]
TEXT = {name: (ROOT / name).read_text(encoding="utf-8") for name in PAGES}
NAMED = {name for text in TEXT.values() for name in re.findall(r"python -m (scripts\.\w+)", text)}
COMMANDS = {f"scripts.{path.stem}" for path in (ROOT / "scripts").glob("*.py") if "__main__" in path.read_text("utf-8")}
SCRIPTS = sorted(NAMED | COMMANDS)


@pytest.mark.filterwarnings("ignore:.* found in sys.modules:RuntimeWarning")  # another test has imported it
@pytest.mark.parametrize("script", SCRIPTS)
def test_scripts_answer_to_help(script, monkeypatch, capsys):
    """As `python -m` runs them, but in this process: each of its own would first import torch, for seconds."""
    monkeypatch.setattr(sys, "argv", [script, "--help"])
    with pytest.raises(SystemExit) as stop:
        runpy.run_module(script, run_name="__main__", alter_sys=True)
    assert not stop.value.code and capsys.readouterr().out.startswith(f"usage: python -m {script} ")


@pytest.mark.parametrize("page", PAGES)
def test_make_targets_exist(page):
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M))
    assert set(re.findall(r"(?:`|^ *)make (\w+)", TEXT[page], re.M)) <= targets


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    links = re.findall(r"\]\(([^)\s]+)\)|(?:src|href)=\"([^\"]+)\"", TEXT[page])
    local = [link.split("#")[0] for pair in links for link in pair if link and not re.match(r"[a-z]+:|#", link)]
    assert [link for link in local if not (ROOT / link).exists()] == []


def test_the_map_shows_the_files_there_are():
    lines = re.search(r"^## What is where\n.*?^```text\n(.*?)^```", TEXT["README.md"], re.M | re.S)[1].splitlines()
    shown = {line.split()[0] for line in lines if line and not line.startswith(" ")}
    assert [name for name in shown if not (ROOT / name).exists()] == []
    listed = ["git", "ls-files", "*.py", "*.ipynb"]
    there = subprocess.run(listed, cwd=ROOT, check=True, capture_output=True, text=True).stdout.splitlines()
    folders = tuple(name for name in shown if name.endswith("/"))
    told = [name for name in there if name in shown or name.startswith(folders) or name.endswith("__init__.py")]
    assert there == told


def test_plain_python_commands_exist():
    assert [name for name in re.findall(r"python (\w+\.py)", TEXT["README.md"]) if not (ROOT / name).exists()] == []
