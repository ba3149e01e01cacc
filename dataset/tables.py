"""A table of captions -> records: the simplest layout, for one's own pictures.

Comes in: a folder with `captions.txt` or `captions.csv`, whose header is `image,caption`, a line for each caption, and
the images in `images/`, `Images/` or beside the table. The table is CSV as a spreadsheet or pandas writes it: commas,
semicolons, tabs or bars between the cells; UTF-8, or UTF-16 with its mark. Goes out: records, split by image.
"""

from __future__ import annotations

import codecs
import csv
import re
from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path

from dataset.checks import check_caption, first_line, shown
from dataset.paths import first_folder, image_folders, inside
from dataset.records import Record, choose_splits

DELIMITERS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}  # Excel writes ; where , is in decimal numbers
NEWLINE = re.compile("\r\n|\r|\n")
QUOTES = "a cell that begins with a quote ends with one on the same line, and quotes inside it are doubled"


def load_table(folder: Path, file: Path, split: str | None, seed: int) -> list[Record]:
    """The records of one split, or of all; a file's name is its image's id.

    Raises ValueError if a row is damaged or the split is not there, FileNotFoundError if there are no images.
    """
    captions = _read_rows(file)
    split_of = split_by_image(captions, seed)
    parts = choose_splits(split, split_of.values(), folder)
    images = first_folder([*image_folders(folder), folder])
    return [
        Record(name, inside(images, name, file), split_of[name], tuple(texts))
        for name, texts in captions.items()
        if split_of[name] in parts
    ]


def split_by_image(names: Iterable[str], seed: int) -> dict[str, str]:
    """Image name -> split: a tenth each for test and validation, the rest for training; the same on every machine.

    Images are ranked by a hash of the seed and their name: two captions of one image are never in different splits.
    """
    ranked = sorted(names, key=lambda name: sha256(f"{seed} {name}".encode()).digest())
    tenth = max(1, round(len(ranked) / 10))
    split_of = dict.fromkeys(ranked, "train")
    return split_of | dict.fromkeys(ranked[:tenth], "test") | dict.fromkeys(ranked[tenth : 2 * tenth], "val")


def _read_rows(file: Path) -> dict[str, list[str]]:
    """Image name -> its captions, in the table's order; each line is read alone, so that no quote spans several."""
    header, *lines = NEWLINE.split(_read_text(file))
    delimiter, columns = _read_header(header, file)
    image, caption = columns.index("image"), columns.index("caption")
    captions: dict[str, list[str]] = {}
    for number, line in enumerate(lines, start=2):
        if not line.strip():
            continue
        where = f"{file}, line {number}"
        try:
            (row,) = csv.reader([line], delimiter=delimiter, skipinitialspace=True, strict=True)
        except csv.Error as error:
            raise ValueError(f"{where}: {first_line(error)}; {QUOTES}.") from None
        if len(row) != len(columns):
            name = DELIMITERS[delimiter]
            raise ValueError(
                f"{where}: {len(row)} cells, not {len(columns)}; a caption with a {name} must stand in quotes."
            )
        captions.setdefault(row[image].strip(), []).append(check_caption(row[caption], where))
    return captions


def _read_header(line: str, file: Path) -> tuple[str, list[str]]:
    """The delimiter and the names of the columns; any but image and caption, as pandas' index, are not read."""
    for delimiter in DELIMITERS:
        columns = [cell.strip(' "').lower() for cell in line.split(delimiter)]
        if columns.count("image") == columns.count("caption") == 1:
            return delimiter, columns
    raise ValueError(f"{file}: the first line must be the header image,caption, not {shown(line.strip())}.")


def _read_text(file: Path) -> str:
    """The table's text: UTF-8, or UTF-16 with the byte-order mark that Excel writes."""
    content = file.read_bytes()
    encoding = "utf-16" if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig"
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        line = len(NEWLINE.split(content[: error.start].decode(encoding, "ignore")))
        raise ValueError(
            f"{file}, line {line} is not {error.encoding.upper()} text ({first_line(error)}): save the table as "
            '"CSV UTF-8", or with encoding="utf-8".'
        ) from None
