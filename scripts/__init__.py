"""Thin commands: `python -m scripts.<name>`; each says what it does with `--help`."""

import io
import os
import sys

from dataset.installed import what_is_missing

if missing := what_is_missing():
    sys.exit(missing)

# How often a thread of torch looks for work before it sleeps, read when torch is loaded: figures/__init__.py says why.
os.environ.setdefault("GOMP_SPINCOUNT", "3000")
if "TORCHELASTIC_RUN_ID" in os.environ:  # every process would print DistributedDataParallel's advice; torch reads this
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")

# A console that is redirected may have an encoding without these letters (Windows): a line of a log ends no training.
for stream in (sys.stdout, sys.stderr):
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(errors="backslashreplace")
