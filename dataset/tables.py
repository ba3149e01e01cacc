"""A table of captions -> records: the simplest layout, for one's own pictures.

Comes in: a folder with `captions.txt` or `captions.csv`, whose header is `image,caption`, and the images in `images/`,
`Images/` or beside the table. Goes out: records, split by image. It knows no objects.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path

from dataset.checks import check_caption, first_line, shown
from dataset.paths import first_folder, image_folders, inside
from dataset.records import Record, choose_splits


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
    """Image name -> its captions, in the table's order."""
    captions: dict[str, list[str]] = {}
    with file.open(encoding="utf-8-sig", newline="") as lines:
        rows = csv.reader(lines, skipinitialspace=True)
        try:
            header = [cell.strip().lower() for cell in next(rows, [])]
            if header != ["image", "caption"]:
                raise ValueError(
                    f"{file}: the first line must be the header image,caption, not {shown(','.join(header))}."
                )
            for row in filter(None, rows):
                where = f"{file}, line {rows.line_num}"
                if len(row) != 2:
                    raise ValueError(f"{where}: {len(row)} cells, not 2; a caption with a comma must stand in quotes.")
                captions.setdefault(row[0].strip(), []).append(check_caption(row[1], where))
        except (csv.Error, UnicodeDecodeError) as error:
            raise ValueError(f"{file}, line {rows.line_num + 1} is not CSV in UTF-8: {first_line(error)}.") from None
    return captions
