"""The one place that writes files: each is there whole or as it was before, whatever happens meanwhile.

Comes in: paths and their content, text or bytes. Goes out: the files, or one sentence that says which could not be
written, why, and what to do. Also a lock, for what two processes must not do at once. What it does not know: what the
files mean.
"""

from __future__ import annotations

import contextlib
import errno
import glob
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

STALE = 24 * 3600  # seconds after which nobody is still writing a half
REASONS = {  # error number: what is wrong, what to do
    errno.ENOSPC: ("the disk is full", "make room and run the same again"),
    errno.EDQUOT: ("your share of the disk is used up", "make room and run the same again"),
    errno.EFBIG: ("the disk or a limit of your account takes no file of this size", "choose another disk"),
    errno.EROFS: ("the disk is read-only", "choose a folder on another one"),
    errno.EACCES: ("you have no permission", "change the folder's permissions or choose another folder"),
    errno.EPERM: ("you have no permission", "change the folder's permissions or choose another folder"),
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


@contextlib.contextmanager
def locked(path: str | Path, waiting: str) -> Iterator[None]:
    """Only one process at a time is inside, by a lock on the file `path`; others print `waiting` and wait.

    The system itself opens the lock when its holder ends, however it ends. The empty file stays.
    """
    with explained(path):
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        file = open(path, "ab")  # noqa: SIM115
    with file:
        try:
            _lock(file, wait=False)
        except OSError:
            print(waiting, flush=True)
            with explained(path):
                _lock(file, wait=True)
        yield  # closing the file opens the lock


def _lock(file, wait: bool) -> None:
    try:
        import fcntl
    except ImportError:  # Windows, which asks ten times in ten seconds
        import msvcrt

        file.seek(0)
        while True:
            try:
                return msvcrt.locking(file.fileno(), msvcrt.LK_LOCK if wait else msvcrt.LK_NBLCK, 1)
            except OSError:
                if not wait:
                    raise
    fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))


def _settle(folder: Path) -> None:
    """Bring the names in a folder to the disk, on systems that let folders be opened."""
    with contextlib.suppress(OSError):
        number = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(number)
        finally:
            os.close(number)
