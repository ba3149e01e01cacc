"""The values that a setting may have, and the sentence for one that it may not.

Comes in: an object with settings and a table of ranges. Goes out: nothing, or a ValueError with one sentence. What it
does not know: what the settings mean.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`, both included; with `above` without `low` itself."""

    low: float
    high: float = math.inf
    above: bool = False

    def __contains__(self, value: float) -> bool:
        return (self.low < value if self.above else self.low <= value) and value <= self.high

    def __str__(self) -> str:
        if self.high < math.inf:
            return f"{self.low} to {self.high}"
        return f"more than {self.low}" if self.above else f"{self.low} or more"


SHARE = Range(0, 1)
POSITIVE = Range(0, above=True)
NOT_NEGATIVE = Range(0)
AT_LEAST_ONE = Range(1)


def check_ranges(settings: object, ranges: Mapping[str, Range]) -> None:
    """ValueError naming the first setting whose number lies outside its range; None and functions are let through."""
    for name, allowed in ranges.items():
        value = getattr(settings, name)
        if isinstance(value, int | float) and value not in allowed:
            raise ValueError(f"{name} must be {allowed}, not {value}")
