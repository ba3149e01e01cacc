"""A process is confined before it runs somebody's code: memory, time, files, no other processes.

Comes in: the folder in which the process may write. After `confine` it cannot change files elsewhere, start or end
processes, connect to anything, or use more than its share. That guards against mistakes, not against an attacker: it
is no place for code of people who are to be feared.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

FILE_BYTES = 16 * 2**20  # the largest file
FILES = 100  # opened for writing, one after the other

WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
CHANGES = {  # audited events whose first arguments are paths that they change
    *("os.remove", "os.rmdir", "os.rename", "os.link", "os.symlink", "os.mkdir", "os.truncate", "os.chmod"),
    *("os.chown", "os.utime", "shutil.rmtree", "shutil.move", "shutil.chown"),
}
FORBIDDEN = {
    *("os.fork", "os.forkpty", "os.exec", "os.posix_spawn", "os.spawn", "os.system", "os.startfile", "pty.spawn"),
    *("subprocess.Popen", "os.kill", "os.killpg", "signal.pthread_kill"),
    *("socket.connect", "socket.bind", "socket.sendto"),
}


def confine(folder: Path, memory: int, seconds: int) -> None:
    """This process may write in `folder` only, allocate `memory` bytes more than now, compute for `seconds`.

    For good: there is no way back. Without the module `resource`, on Windows, memory and computing time stay free.
    """
    sys.dont_write_bytecode = True
    _limit(memory, seconds)
    place, opened = folder.resolve(), 0

    def inside(path: Any) -> bool:
        if isinstance(path, int):
            return True  # a descriptor: whoever opened it was asked
        where = Path(os.fsdecode(path)).resolve()
        return where.is_relative_to(place) or os.fspath(where) == os.devnull

    def hook(event: str, args: tuple[Any, ...]) -> None:
        nonlocal opened
        if event in FORBIDDEN:
            raise PermissionError(f"{event} is not allowed while this is graded")
        if event == "open" and args[2] & WRITING:
            opened += 1
            if opened > FILES or not inside(args[0]):
                raise PermissionError(f"writing {args[0]!r} is not allowed while this is graded")
        if event in CHANGES:
            paths = [arg for arg in args[:2] if isinstance(arg, str | bytes | os.PathLike)]
            if not all(map(inside, paths)):
                raise PermissionError(f"changing {paths[0]!r} is not allowed while this is graded")

    sys.addaudithook(hook)


def _limit(memory: int, seconds: int) -> None:
    try:
        import resource
    except ImportError:
        return
    statm = Path("/proc/self/statm")
    used = int(statm.read_text().split()[0]) * resource.getpagesize() if statm.exists() else 0
    for what, limit in (
        (resource.RLIMIT_AS, used + memory),
        (resource.RLIMIT_CPU, seconds),
        (resource.RLIMIT_FSIZE, FILE_BYTES),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(what, (limit, limit))
