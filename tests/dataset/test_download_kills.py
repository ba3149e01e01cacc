"""A download meets full disks, a second download and kills at any moment, and ends in the right files."""

import contextlib
import io
import itertools
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from coco_server import NAME, Server, fetch, tree, unzipped
from conftest import LONG

from dataset import files, paths

ROOT = Path(__file__).parents[2]


def test_too_small_a_disk_is_found_before_anything_is_fetched(server, place):
    server.faults = iter(["says a million GB"])
    with pytest.raises(
        OSError, match=r"need 2,000,0\d\d\.\d\d GB, and the disk has .* GB free: make room, or set DATA"
    ):
        fetch(server, "annotations")
    assert not (place / f"{NAME}.part").exists()


def test_a_disk_that_fills_meanwhile_is_said(server, small_disk, monkeypatch):
    monkeypatch.setattr(paths, "DATA", small_disk)
    server.content[NAME], server.faults = bytes(20_000_000), iter(["no length"])
    with pytest.raises(OSError, match=rf"{NAME}\.part could not be written: the disk is full\. To go on, make room"):
        fetch(server, "annotations")


CHILD = """
import sys
from pathlib import Path
from dataset import download, paths
from scripts.download import main
paths.DATA = Path(sys.argv[1])
download.MD5.clear()
main(["coco", "--mirror", sys.argv[2], "--part", "annotations", "--part", "val"])
"""


def child(server: Server, place: Path) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", CHILD, str(place.parent), server.address],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )


def wanted(server: Server) -> dict[str, bytes]:
    return unzipped(server.content[NAME]) | unzipped(server.content["val2017.zip"])


def test_two_at_once_fetch_once(server, place):
    with files.locked(place / ".download.lock", ""):  # both start while a third is at work
        both = [child(server, place) for _ in range(2)]
        for process in both:
            assert "another download into" in (line := process.stdout.readline()) and "this one waits for it" in line
    assert [process.wait(timeout=120) for process in both] == [0, 0] and len(server.asked) == 2
    there = tree(place)
    there.pop("checksums.json")
    assert there == wanted(server)


def test_a_lock_does_not_outlive_its_holder(tmp_path):
    lock = str(tmp_path / "lock")
    code = "import time\nfrom dataset import files\n"
    code += f"with files.locked({lock!r}, ''):\n print('in', flush=True)\n time.sleep(99)"
    holder = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert holder.stdout.readline() == "in\n"
    threading.Timer(0.5, holder.kill).start()
    waiting = io.StringIO()
    with contextlib.redirect_stdout(waiting), files.locked(tmp_path / "lock", "waits"):
        assert holder.wait() == -signal.SIGKILL and waiting.getvalue() == "waits\n"


@pytest.mark.parametrize("seed", range(50 if LONG else 3))
def test_killed_at_any_moment_it_goes_on(server, place, seed):
    server.faults, draw = itertools.repeat("slow"), random.Random(seed)
    process = child(server, place)
    while not server.asked:  # Python and its modules are there
        time.sleep(0.01)
    time.sleep(draw.uniform(0, 0.5))
    process.kill()
    process.communicate()
    server.faults = iter(())
    assert child(server, place).wait(timeout=120) == 0
    there = tree(place)
    there.pop("checksums.json")
    assert there == wanted(server)
