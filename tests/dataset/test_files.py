"""What a user relies on when a disk is full, read-only or closed: the old file is there, and a sentence says what to
do. The disks, limits and permissions are real ones."""

import contextlib
import errno
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from conftest import LONG

from dataset import files
from dataset.sample import making
from evaluation import results
from models import checkpoint
from scripts import train
from vocabulary import Vocabulary

ROOT = Path(__file__).parents[2]
posix = pytest.mark.skipif(sys.platform == "win32", reason="needs the limits and signals of Unix")


def names(folder: Path) -> set[str]:
    return {file.name for file in folder.iterdir()}


def test_text_and_bytes_are_written_whole_with_their_folders(tmp_path):
    files.write(tmp_path / "a/b/text", "un café 🐈")
    files.write(tmp_path / "a/b/bytes", b"\x00\xff")
    files.write(tmp_path / "a/b/text", "two")
    assert (tmp_path / "a/b/text").read_text(encoding="utf-8") == "two"
    assert (tmp_path / "a/b/bytes").read_bytes() == b"\x00\xff"
    assert names(tmp_path / "a/b") == {"text", "bytes"}


def test_files_that_belong_together_are_changed_together_or_not_at_all(tmp_path):
    files.write_all({tmp_path / "one": "old", tmp_path / "two": "old"})
    (tmp_path / "three").write_text("not a folder")
    with pytest.raises(OSError, match=r"three.below could not be written: .*\. To go on, mend that and run the same"):
        files.write_all({tmp_path / "one": "new", tmp_path / "two": "new", tmp_path / "three/below": "new"})
    assert (tmp_path / "one").read_text() == (tmp_path / "two").read_text() == "old"
    assert names(tmp_path) == {"one", "two", "three"}


# --- faults that are real, and what stands after them


@contextlib.contextmanager
def no_file_larger_than(size: int):
    """A limit of the system on this process, for a while."""
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_keeps_the_old_file_and_leaves_no_half(small_disk):
    files.write(small_disk / "file", b"1" * 9_000_000)
    with pytest.raises(
        OSError, match=r"disk/file could not be written: the disk is full\. To go on, make room and run"
    ):
        files.write(small_disk / "file", b"2" * 9_000_000)
    assert (small_disk / "file").read_bytes() == b"1" * 9_000_000 and names(small_disk) == {"file"}
    files.write(small_disk / "file", b"3" * 5_000_000)  # the room of the half is free again
    assert (small_disk / "file").read_bytes() == b"3" * 5_000_000


def test_a_read_only_disk_is_said(small_disk):
    files.write(small_disk / "file", "old")
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with pytest.raises(
        OSError,
        match=r"the disk is read-only\. To go on, choose a folder on another one \(DATA=… and RUNS=… name them\); the",
    ):
        files.write(small_disk / "file", "new")
    assert (small_disk / "file").read_text() == "old"


def test_no_permission_is_said(powerless):
    files.write(powerless / "run/file", "old")
    (powerless / "run").chmod(0o500)
    with pytest.raises(
        PermissionError, match=r"run/file could not be written: you have no permission\. To go on, change"
    ):
        files.write(powerless / "run/file", "new")
    with pytest.raises(PermissionError, match=r"run/deeper/file could not be written"):
        files.write(powerless / "run/deeper/file", "new")
    assert (powerless / "run/file").read_text() == "old" and names(powerless / "run") == {"file"}


@posix
def test_a_limit_on_the_size_of_files_is_said(tmp_path):
    files.write(tmp_path / "file", b"1" * 50_000)
    with no_file_larger_than(60_000), pytest.raises(OSError, match=r"takes no file of this size\. To go on, choose"):
        files.write(tmp_path / "file", b"2" * 70_000)
    assert (tmp_path / "file").read_bytes() == b"1" * 50_000 and names(tmp_path) == {"file"}


@posix
@pytest.mark.parametrize("seed", range(100 if LONG else 4))
def test_killed_while_writing_the_file_is_the_old_or_the_new(tmp_path, seed):
    code = f"""
import itertools
from dataset import files
for i in itertools.count():
    files.write_all({{{str(tmp_path / "a")!r}: bytes([i % 256]) * 3_000_000, {str(tmp_path / "b")!r}: b"b" * 1000}})
    print(i, flush=True)
"""
    process = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    process.stdout.readline()
    time.sleep(random.Random(seed).uniform(0, 0.1))
    process.kill()
    assert process.wait() == -signal.SIGKILL
    content = (tmp_path / "a").read_bytes()
    assert len(content) == 3_000_000 and len(set(content)) == 1 and (tmp_path / "b").read_bytes() == b"b" * 1000
    for left in names(tmp_path) - {"a", "b"}:
        os.utime(tmp_path / left, (0, 0))
    files.write_all({tmp_path / "a": "next", tmp_path / "b": "next"})
    assert names(tmp_path) == {"a", "b"}  # what the killed one left long ago is gone


def test_only_old_halves_of_the_same_file_are_removed(tmp_path):
    for name in ("file.7.part", "file.8.part", "files.7.part", "file.txt.part"):
        (tmp_path / name).write_text("a half, or a person's")
        os.utime(tmp_path / name, None if name == "file.8.part" else (0, 0))
    files.write(tmp_path / "file", "whole")
    assert names(tmp_path) == {"file", "file.8.part", "files.7.part", "file.txt.part"}


def test_two_processes_may_write_one_file(tmp_path):
    code = f"""
import os, time; from dataset import files
until = time.time() + 1
while time.time() < until:
    files.write({str(tmp_path / "file")!r}, f"{{os.getpid() % 10}}" * 1_000_000)
"""
    both = [subprocess.Popen([sys.executable, "-c", code], cwd=ROOT) for _ in range(2)]
    assert [process.wait() for process in both] == [0, 0]
    content = (tmp_path / "file").read_text()
    assert len(content) == 1_000_000 and len(set(content)) == 1 and names(tmp_path) == {"file"}


# --- what is kept with it


def same(a: torch.nn.Module, b: torch.nn.Module) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


def test_the_last_good_checkpoint_survives_a_full_disk(captioner, vocabulary, small_disk):
    good, folder = captioner(seed=0), small_disk / "run"
    run_checkpoint = checkpoint.RunCheckpoint(folder, vocabulary, {"score": 1})
    run_checkpoint.save_best(good)
    run_checkpoint.save_training(good, {"run": {"epoch": 1}})
    (small_disk / "someone's").write_bytes(b"0" * (os.statvfs(small_disk).f_bavail * 4096 - 40_000))
    newer = checkpoint.RunCheckpoint(folder, vocabulary, {"score": 2})
    with pytest.raises(OSError, match=r"run/model\.safetensors could not be written: the disk is full.*make room"):
        newer.save_best(captioner(seed=1))
    with pytest.raises(OSError, match=r"run/training\.pt could not be written: the disk is full.*make room"):
        newer.save_training(captioner(seed=1), {"run": {"epoch": 2}})
    again = checkpoint.load(folder)
    assert same(again.model, good) and again.metadata == {"score": 1}
    went_on = captioner(seed=2)
    assert run_checkpoint.load_training(went_on) == {"run": {"epoch": 1}} and same(went_on, good)
    (small_disk / "someone's").unlink()
    newer.save_best(captioner(seed=1))
    assert checkpoint.load(folder).metadata == {"score": 2}


def test_the_last_good_checkpoint_survives_a_closed_folder(captioner, vocabulary, powerless):
    checkpoint.save(powerless / "run", captioner(seed=0), vocabulary)
    (powerless / "run").chmod(0o500)
    with pytest.raises(PermissionError, match=r"run/vocabulary\.json could not be written: you have no permission"):
        checkpoint.save(powerless / "run", captioner(seed=1), Vocabulary(["another"]))
    assert same(checkpoint.load(powerless / "run").model, captioner(seed=0))


def test_vocabularies_and_results_survive_a_full_disk(small_disk):
    vocabulary = Vocabulary(["a cat on a sofa"])
    vocabulary.save(small_disk / "vocabulary.json")
    results.save(small_disk / "results.json", {1: "a cat"})
    (small_disk / "someone's").write_bytes(b"0" * (os.statvfs(small_disk).f_bavail * 4096))
    with pytest.raises(OSError, match=r"vocabulary\.json could not be written: the disk is full"):
        Vocabulary(["words " * 9]).save(small_disk / "vocabulary.json")
    with pytest.raises(OSError, match=r"results\.json could not be written: the disk is full"):
        results.save(small_disk / "results.json", {1: "a dog"})
    assert Vocabulary.load(small_disk / "vocabulary.json").words == vocabulary.words
    assert results.load(small_disk / "results.json", [1]) == {1: "a cat"}


@posix
def test_a_night_of_training_is_not_lost_to_a_disk(tmp_path, monkeypatch):
    """The command stops with a sentence where `training.pt` finds no room; the best model stays; then it goes on."""
    monkeypatch.chdir(tmp_path)
    making.make("data/sample", train=8, val=3, test=3)
    how = ["--preset", "show_attend_tell", "--hidden-size", "16", "--epochs", "2", "--detector-epochs", "1"]
    run = train.main(how)
    history = json.loads((run / "history.json").read_text())
    (run / "training.pt").unlink()
    told = pytest.raises(OSError, match=r"training\.pt could not be written: .* To go on, choose another disk\.$")
    with (
        no_file_larger_than((run / "model.safetensors").stat().st_size + 1000),
        told,
    ):  # the optimizer's numbers are more
        train.main(how)
    assert checkpoint.load(run).metadata["preset"] == "show_attend_tell" and not list(run.glob("*.part"))
    train.main(how)
    again = json.loads((run / "history.json").read_text())
    assert [row["val_perplexity"] for row in again] == [row["val_perplexity"] for row in history]


def test_every_reason_is_told_in_words_that_end_in_advice(tmp_path):
    for number in files.REASONS:
        told = pytest.raises(OSError, match=r"^\S+file could not be written: .*\. To go on, .*\.$")
        with told, files.explained(tmp_path / "file"):
            raise OSError(number, os.strerror(number))
    assert errno.ENOSPC in files.REASONS


@pytest.mark.parametrize("name", ["file", "run/file", "run/deeper/file"])
def test_what_cannot_be_written_is_found_before_the_work_and_leaves_nothing(powerless, name):
    (powerless / "here").mkdir()
    files.check_writable(powerless / "here" / name)
    assert not names(powerless / "here")
    (powerless / "here").chmod(0o500)
    with pytest.raises(
        PermissionError, match=rf"{name} could not be written: you have no permission\. To go on, change"
    ):
        files.check_writable(powerless / "here" / name)


def test_a_file_where_a_folder_should_be_is_found_before_the_work(tmp_path):
    (tmp_path / "runs").write_text("a file")
    with pytest.raises(OSError, match=r"runs/model/file could not be written: Not a directory"):
        files.check_writable(tmp_path / "runs/model/file")
