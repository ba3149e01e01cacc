"""A bar with the time left, for whatever may take over ten seconds.

Comes in: what is gone through, or how much there is. Goes out: the same things one by one, and a bar in a terminal or
in a notebook's cell; it appears after two seconds and is gone at the end. A log file and a pipe get nothing of it. What
it does not know: what is done.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any

from tqdm.auto import tqdm

DELAY = 2.0  # seconds without a bar


def shown(
    things: Iterable[Any] | None = None, what: str = "", unit: str = "batch", disable: bool = False, **options: Any
) -> tqdm:
    """`for thing in shown(things, …)`, or `with shown(total=…) as bar: … bar.update()`; `options` are tqdm's."""
    notebook = "IPython" in sys.modules and sys.modules["IPython"].get_ipython() is not None
    seen = sys.stderr.isatty() or notebook
    return tqdm(things, desc=what, unit=unit, leave=False, delay=DELAY, disable=disable or not seen, **options)
