"""The files in which Flickr8k and Flickr30k were first given out: `Flickr8k.token.txt`, and lists of its splits.

Comes in: a line of the token file, or the folder with the lists. Goes out: an image's name and its caption; which split
an image is in. Beside them lie judgements of captions (`CrowdFlowerAnnotations.txt`, `ExpertAnnotations.txt`), which
are not read. Hodosh, Young & Hockenmaier (2013), "Framing Image Description as a Ranking Task".
"""

from __future__ import annotations

import re
from pathlib import Path

from dataset.checks import check_caption, read_text, shown

TOKEN_FILES = ("Flickr8k.token.txt", "results_20130124.token")  # of Flickr8k, of Flickr30k
LISTS = {"train": "Flickr_8k.trainImages.txt", "val": "Flickr_8k.devImages.txt", "test": "Flickr_8k.testImages.txt"}
LINE = re.compile(r"(\S+\.(?:jpe?g|png))#\d+\t(.*)", re.IGNORECASE)


def read_token_line(line: str, where: str) -> tuple[str, str, None]:
    """`1000268201_693b08cb0e.jpg#0<tab>A child …` -> name, caption, no split; ValueError for a line that is none."""
    match = LINE.fullmatch(line)
    if match is None:
        raise ValueError(f"{where}: {shown(line)} is not a picture's name, #number, tab, caption")
    return match[1], check_caption(match[2], where), None


def listed_splits(folder: Path) -> dict[str, str]:
    """Image name -> split, as the lists in the folder say; {} where there are none.

    ValueError for a name in two lists, or for a list that is no text.
    """
    split_of: dict[str, str] = {}
    for split, list_ in LISTS.items():
        file = folder / list_
        for name in read_text(file).split() if file.is_file() else ():
            if split_of.setdefault(name, split) != split:
                raise ValueError(f"{file}: {shown(name)} is in the list of {split_of[name]}, too: it belongs to one")
    return split_of
