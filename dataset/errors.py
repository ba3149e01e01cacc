"""In a notebook, an error is the cell's line and the sentence that says what to do, not the way through the course.

Comes in: an error that has ended a cell. Goes out: IPython's traceback of it, with the cells' frames alone if it is the
course that raised it, or an interrupt; `%tb` shows all. Errors from elsewhere are shown as ever. It knows the standard
library alone.
"""

from __future__ import annotations

import linecache
import sys
from pathlib import Path
from traceback import walk_tb
from types import TracebackType
from typing import Any

COURSE = Path(__file__).parents[1]
STOPPED = "Stopped at the arrow. The cells below may need what was to be made here: run this one again before them."
NOT_YET = "Has every cell above been run to its end? Run > Run All Above Selected Cell. If it has, mind the spelling."


def say_in_notebooks() -> None:
    """Has it so from now on, in a notebook's kernel; nowhere else anything changes."""
    if "IPython" in sys.modules and (shell := sys.modules["IPython"].get_ipython()) is not None:
        shell.set_custom_exc((Exception, KeyboardInterrupt), _show)


def _show(shell: Any, kind: type[BaseException], error: BaseException, way: TracebackType, **_: Any) -> None:
    """IPython calls it with what has ended a cell."""
    stopped, ends_in_cell = isinstance(error, KeyboardInterrupt), _innermost(way) == "__main__"
    if note := STOPPED if stopped else NOT_YET if ends_in_cell and isinstance(error, NameError | KeyError) else "":
        error.add_note(note)
    if not stopped and not _raised_by_course(way):
        ran = any(frame.f_globals.get("__name__") == "__main__" for frame, _ in walk_tb(way))  # else it is no Python
        shell.showtraceback((kind, error, way), running_compiled_code=ran)
        return
    cause, suppressed = error.__cause__, error.__suppress_context__
    error.__cause__ = None  # nor what was being handled
    shell.showtraceback((kind, error, _cells(way)))
    error.__cause__, error.__suppress_context__ = cause, suppressed
    sys.last_traceback = way  # of %tb and %debug


def _innermost(way: TracebackType) -> str:
    """The name of the module where the error was raised."""
    return [frame for frame, _ in walk_tb(way)][-1].f_globals.get("__name__", "")


def _raised_by_course(way: TracebackType) -> bool:
    """Is it a `raise` of the course, that is, a sentence that was written for whoever reads it?"""
    frame, line = list(walk_tb(way))[-1]
    file, top = frame.f_code.co_filename, frame.f_globals.get("__name__", "").partition(".")[0]
    own = Path(file) == COURSE / f"{top}.py" or Path(file).is_relative_to(COURSE / top)
    return own and linecache.getline(file, line).lstrip().startswith("raise ")


def _cells(way: TracebackType) -> TracebackType | None:
    """The same without the frames between and below the cells'; the first, IPython's own, stays: it leaves it out."""
    links = []
    link: TracebackType | None = way
    while link is not None:
        if link is way or link.tb_frame.f_globals.get("__name__") == "__main__":
            links.append(link)
        link = link.tb_next
    cut = None
    for link in reversed(links):
        cut = TracebackType(cut, link.tb_frame, link.tb_lasti, link.tb_lineno)
    return cut
