"""The rows of a large file, made by any number of processes: each claims a shard, makes its rows, and claims the next.

Comes in: the file's place, and how many rows it is to have. Goes out: batches of rows to make; and of all rows, which
are made and what was noted about them. What it does not know: what a row is.

A claim is a lock, which the operating system releases when its holder ends; a mark beside it says how many of the
shard's rows are on the disk. So the shard of a process that was killed goes on, with whoever claims it next. Locks and
marks lie in a hidden folder that is called after the file's number on its disk: those of another file that had its name
are not believed.
"""

from __future__ import annotations

import glob
import json
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import BinaryIO

import numpy as np
from filelock import FileLock
from torch.utils.data import Sampler

from dataset import files

ROWS = 512  # of a shard
BEGUN = "begun.json"  # where it is not, nothing is to be made


class Shards:
    """The shards of the file at `path`, which has so many rows; once `begun`, until it is `finished`."""

    def __init__(self, path: Path, rows: int):
        self.path, self.rows = path, rows
        self.folder = path.with_name(f".{path.name}.{os.stat(path).st_ino}.shards")
        self.locks: dict[int, FileLock] = {}  # of the shards that this process has claimed
        self.progress: dict[int, tuple[int, list]] = {}  # of each, rows made and notes that no mark tells yet

    def begin(self, done: int) -> None:
        """From now on rows can be claimed; the first `done` are made already, by who knew no shards."""
        if not (self.folder / BEGUN).is_file():
            files.write(self.folder / BEGUN, json.dumps({"done": done}))

    def finish(self) -> None:
        """All rows are made: none can be claimed any more."""
        forget(self.path)

    def shard(self, row: int) -> range:
        """The rows of the shard that a row belongs to."""
        start = row // ROWS * ROWS
        return range(start, min(start + ROWS, self.rows))

    def mark_of(self, start: int) -> tuple[int, list]:
        """How many rows of a shard are made, and what is noted about them."""
        mark, before = files.read_dict(self.folder / f"{start}.json"), files.read_dict(self.folder / BEGUN)
        done = max(mark.get("done", 0), before.get("done", 0) - start)
        return min(done, len(self.shard(start))), mark.get("notes", [])

    def unfinished(self) -> Iterator[range]:
        """What is left to make of each shard; nothing of a file that is finished."""
        for start in range(0, self.rows, ROWS):
            if not (self.folder / BEGUN).is_file():
                return
            if rest := self.shard(start)[self.mark_of(start)[0] :]:
                yield rest

    def done(self) -> int:
        """So many rows are made."""
        return self.rows - sum(map(len, self.unfinished()))

    def claimed(self) -> Iterator[range]:
        """What is left of the shards that nobody else has claimed: this process's, until `mark` says they are made."""
        for rest in self.unfinished():
            start = self.shard(rest[0])[0]
            lock = None if start in self.locks else self._claim(start)
            if lock is None:
                continue
            rest = self.shard(start)[self.mark_of(start)[0] :]
            if rest and (self.folder / BEGUN).is_file():  # nobody has made it a moment ago
                self.locks[start] = lock
                yield rest
            else:
                lock.release()

    def made(self, first: int, count: int, notes: list) -> bool:
        """So many rows from `first` on are written; True if that was the end of their shard."""
        shard = self.shard(first)
        before = self.progress.get(shard[0]) or self.mark_of(shard[0])
        self.progress[shard[0]] = first + count - shard[0], before[1] + notes
        return first + count == shard[-1] + 1

    def mark(self, file: BinaryIO) -> None:
        """Bring what was written to the disk, and say so; a shard that is made is no longer claimed."""
        file.flush()
        os.fsync(file.fileno())
        for start, (done, notes) in self.progress.items():
            files.write(self.folder / f"{start}.json", json.dumps({"done": done, "notes": notes}))
            if done == len(self.shard(start)):
                self.locks.pop(start).release()
        self.progress.clear()

    def leave(self, file: BinaryIO) -> None:
        """Mark what was written; what is claimed and not made is anybody's."""
        try:
            self.mark(file)
        finally:
            while self.locks:
                self.locks.popitem()[1].release()

    def wait(self) -> None:
        """Until a shard that another process has claimed is made, or that process has ended."""
        for looks in count():
            rest = next(self.unfinished(), None)
            if rest is None:
                return
            if lock := self._claim(self.shard(rest[0])[0]):
                lock.release()
                return
            if looks == 60:  # three seconds
                print(f"{self.path}: another process is at the last of it; this one waits", flush=True)
            time.sleep(0.05)

    def _claim(self, start: int) -> FileLock | None:
        """The lock of a shard; None if another process has it, or the file was finished a moment ago."""
        try:
            return files.claim(self.folder / f"{start}.lock")
        except FileNotFoundError:
            return None

    @property
    def replaced(self) -> bool:
        """Another file has the name of this one."""
        return Shards(self.path, self.rows).folder != self.folder

    def notes_of_all(self) -> list:
        """What is noted about all rows, in their order."""
        return [note for start in range(0, self.rows, ROWS) for note in self.mark_of(start)[1]]


def create(path: Path, shape: Sequence[int]) -> None:
    """An empty `.npy` file of float16 in its full size, in place of any other; its folder is made if it is missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    forget(path)
    half = path.with_name(path.name + ".part")
    np.lib.format.open_memmap(half, mode="w+", dtype=np.float16, shape=tuple(shape))
    if hasattr(os, "posix_fallocate"):  # a disk that fills up later would end the process without a word
        with half.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, half.stat().st_size)
    os.replace(half, path)


def forget(path: Path) -> None:
    """Remove the locks and marks of the file at `path`, and of any that had its name before."""
    for folder in path.parent.glob(f".{glob.escape(path.name)}.*.shards"):
        (folder / BEGUN).unlink(missing_ok=True)  # first: from now on nobody claims a row there
        shutil.rmtree(folder, ignore_errors=True)


class ClaimedRows(Sampler[list[int]]):
    """Batches of rows, of one shard each, for a DataLoader: a shard is claimed when its first batch is asked for."""

    def __init__(self, shards: Shards, size: int):
        self.shards, self.size = shards, size

    def __iter__(self) -> Iterator[list[int]]:
        for rest in self.shards.claimed():
            for i in range(0, len(rest), self.size):
                yield list(rest[i : i + self.size])
