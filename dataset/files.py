"""The one place that writes files: each is there whole or as it was before, whatever happens meanwhile.

Comes in: paths and their content, text or bytes. Goes out: the files, or one sentence that says which could not be
written, why, and what to do. Also a lock, for what two processes must not do at once. It does not know what the files
mean.
"""

from __future__ import annotations

import contextlib
import errno
import glob
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

STALE = 24 * 3600  # seconds after which nobody is still writing a half
REASONS = {  # error number: what is wrong, what to do
    errno.ENOSPC: ("the disk is full", "make room and run the same again"),
    errno.EDQUOT: ("your share of the disk is used up", "make room and run the same again"),
    errno.EFBIG: ("the disk or a limit of your account takes no file of this size", "choose another disk"),
    errno.EROFS: ("the disk is read-only", "choose a folder on another one (DATA=… and RUNS=… name them)"),
    errno.EACCES: ("you have no permission", "change the folder's permissions or choose another folder"),
    errno.EPERM: ("you have no permission", "change the folder's permissions or choose another folder"),
    errno.EISDIR: ("this is a folder", "name a file, in it or elsewhere"),
}


def write(path: str | Path, content: str | bytes) -> None:
    """Write a file, text as UTF-8, and the folders above it where they are missing; OSError as `explained` tells it."""
    write_all({path: content})


def write_all(contents: Mapping[str | Path, str | bytes]) -> None:
    """As `write`, for files that belong together: none is put in place before all are written.

    Each is written beside its place, brought to the disk (fsync), and moved over the old one. Moves cannot fail for
    lack of room; a machine that stops between two of them leaves some files new and some old, each of them whole. Of
    two processes that write the same file at once, the last one's stays.
    """
    halves = {Path(path): Path(f"{path}.{os.getpid()}.part") for path in contents}
    try:
        for (path, half), content in zip(halves.items(), contents.values(), strict=True):
            with explained(path):
                path.parent.mkdir(parents=True, exist_ok=True)
                _sweep(path)
                with open(half, "wb") as file:
                    file.write(content.encode() if isinstance(content, str) else content)
                    file.flush()
                    os.fsync(file.fileno())
        for path, half in halves.items():
            with explained(path):
                os.replace(half, path)
                _settle(path.parent)
    except BaseException:
        for half in halves.values():
            with contextlib.suppress(OSError):
                half.unlink(missing_ok=True)
        raise


def _sweep(path: Path) -> None:
    """Remove the halves of a file that killed processes have left: old ones, as a process may be another machine's."""
    for half in path.parent.glob(f"{glob.escape(path.name)}.*.part"):
        with contextlib.suppress(OSError):
            if half.suffixes[-2][1:].isdecimal() and time.time() - half.stat().st_mtime > STALE:
                half.unlink()


def read_dict(path: str | Path) -> dict[str, Any]:
    """A small JSON file that `write` wrote; {} if it is not there or not whole."""
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def check_room(folder: Path, need: int, what: str) -> None:
    """OSError if the folder's disk has less than `need` bytes free; `what` needs them."""
    free = shutil.disk_usage(folder).free
    if need > free:
        raise OSError(
            f"{folder}: {what} need {need / 1e9:,.2f} GB, and the disk has {free / 1e9:,.2f} GB free: make room, or "
            "set DATA to a folder on another disk"
        )


def check_writable(path: str | Path) -> None:
    """OSError, as `explained` tells it, if a file could not be written there: found before the work, not after it.

    Nothing is left behind, neither the file nor the folders above it.
    """
    with explained(path):
        if os.path.isdir(path):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        above = next(folder for folder in Path(path).absolute().parents if os.path.lexists(folder))
        with tempfile.TemporaryFile(dir=above):
            pass


@contextlib.contextmanager
def explained(path: str | Path) -> Iterator[None]:
    """An error of the system while `path` is written becomes one sentence, still an OSError of the same kind."""
    try:
        yield
    except OSError as error:
        if error.errno is None:  # a sentence already
            raise
        reason, advice = REASONS.get(error.errno, (error.strerror or str(error), "mend that and run the same again"))
        kept = "; the file that was there before is untouched" if os.path.isfile(path) else ""
        raise type(error)(f"{path} could not be written: {reason}. To go on, {advice}{kept}.") from None


def claim(path: str | Path) -> FileLock | None:
    """A lock on the file `path`, as `locked` has it, until it is released; None if another process has it."""
    lock = FileLock(path)
    with explained(path):
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(blocking=False)
        except Timeout:
            return None
    return lock


@contextlib.contextmanager
def locked(path: str | Path, waiting: str) -> Iterator[None]:
    """Only one process at a time is inside, by a lock on the file `path`; others print `waiting` and wait.

    The operating system releases the lock when its holder ends, however it ends. Raises OSError as `explained` tells it
    if there can be no such file.
    """
    lock = claim(path)
    if lock is None:
        print(waiting, flush=True)
        lock = FileLock(path)
        with explained(path):
            lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _settle(folder: Path) -> None:
    """Bring the names in a folder to the disk, on systems that let folders be opened."""
    with contextlib.suppress(OSError):
        number = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(number)
        finally:
            os.close(number)
