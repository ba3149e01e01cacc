"""Is this the Python that the course was installed into? Asked before anything else is imported.

Comes in: nothing. Goes out: "" or a sentence for who has started another Python, as a notebook's kernel of another
environment is. It knows the standard library alone, also that of older Pythons.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec

OLDEST = (3, 11)
MODULES = {  # without which nothing goes: as they are imported, as they are installed
    **{name: name for name in ("torch", "torchvision", "numpy", "matplotlib", "nltk", "regex", "safetensors", "tqdm")},
    **{"PIL": "pillow", "filelock": "filelock", "pycocotools": "pycocotools", "pycocoevalcap": "pycocoevalcap"},
    "anywidget": "anywidget",
}


def what_is_missing() -> str:
    """One sentence: this Python is too old, or lacks packages; "" if all is well."""
    python = f"this Python, {sys.executable}"
    if sys.version_info < OLDEST:
        return f"The course needs Python {OLDEST[0]}.{OLDEST[1]} or newer, and {python}, is {sys.version.split()[0]}."
    missing = [package for module, package in MODULES.items() if find_spec(module) is None]
    if not missing:
        return ""
    return (
        f"The course's libraries are not all in {python}: it lacks {', '.join(missing)}. Start the Python (or choose "
        "the kernel) that they were installed into, .venv/bin/python after make, or pip install -r requirements.txt."
    )
