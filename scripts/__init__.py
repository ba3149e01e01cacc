"""Thin commands: `python -m scripts.<name>`; each says what it does with `--help`."""

import io
import os
import sys

# How often a thread of torch looks for work before it sleeps, read when torch is loaded: figures/__init__.py says why.
os.environ.setdefault("GOMP_SPINCOUNT", "3000")

# A console that is redirected may have an encoding without these letters (Windows): a line of a log ends no training.
for stream in (sys.stdout, sys.stderr):
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(errors="backslashreplace")
