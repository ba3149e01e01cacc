"""The Makefile keeps what .gitignore promises: .venv may be a link."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not here")
@pytest.mark.parametrize("there", ["nothing", "folder", "link"])
def test_the_environment_is_made_where_there_is_nothing_or_a_folder_or_a_link_to_one(tmp_path, there):
    shutil.copy(ROOT / "Makefile", tmp_path)
    (tmp_path / "larger disk").mkdir()
    (tmp_path / "requirements.txt").touch()
    if there == "folder":
        (tmp_path / ".venv").mkdir()
    if there == "link":
        (tmp_path / ".venv").symlink_to("larger disk")
    dry = ["make", "--dry-run", "install", f"PYTHON={sys.executable}"]
    lines = subprocess.run(dry, cwd=tmp_path, capture_output=True, text=True, check=True).stdout.splitlines()
    [line] = [line for line in lines if "-m venv" in line]
    for _ in range(2):  # again, whenever requirements.txt is newer
        subprocess.run(line.replace("-m venv", "-m venv --without-pip"), shell=True, cwd=tmp_path, check=True)
        assert (tmp_path / ".venv/bin/python").exists()
    assert (tmp_path / "larger disk/bin/python").exists() == (there == "link")
