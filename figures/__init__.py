"""Every figure of the course, in one style. The notebooks' first import."""

import os

from dataset.errors import say_in_notebooks
from dataset.installed import what_is_missing

say_in_notebooks()
if missing := what_is_missing():
    raise ImportError(missing)

# Threads that wait for each other look again and again, by default for milliseconds. Where another program has the
# core of the one that is waited for, they take away its time: a step of training took fifty times as long. A tenth of
# a millisecond bridges the gaps between torch's operations. GNU's OpenMP reads this when torch is loaded.
os.environ.setdefault("GOMP_SPINCOUNT", "3000")
