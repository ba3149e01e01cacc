"""Thin commands: `python -m scripts.<name>`; each says what it does with `--help`."""

import io
import sys

from dataset.installed import what_is_missing

if missing := what_is_missing():
    sys.exit(missing)

# A console that is redirected may have an encoding without these letters (Windows): a line of a log ends no training.
for stream in (sys.stdout, sys.stderr):
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(errors="backslashreplace")
