"""How a command ends that cannot go on: with one sentence, and without a traceback.

Comes in: what a command raises. Goes out: its exit status. What it does not know: any command.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator

STOPPED = 130  # the exit status after Ctrl-C, as a shell has it


@contextlib.contextmanager
def one_sentence(stopped: int | str = STOPPED) -> Iterator[None]:
    """Inside, a mistake in what was given, or on the disk, ends the program with its sentence and the status 1.

    Ctrl-C ends it with `stopped`, a status or a sentence.
    """
    try:
        yield
    except (ValueError, OSError, FloatingPointError) as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit(stopped)
