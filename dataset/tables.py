"""A table of captions -> records: one's own pictures, and Flickr8k and Flickr30k as they are passed on.

Comes in: a folder with a table, a line for each caption, and the images in `images/`, `Images/`, a folder of Flickr's
or beside the table. The table is `captions.txt` or `captions.csv` with the header `image,caption` (or other usual
names), CSV as a spreadsheet or pandas writes it: commas, semicolons, tabs or bars between the cells; UTF-8, or UTF-16
with its mark. Or it is Kaggle's Flickr30k, with `image_name`, `comment_number`, `comment`; or Flickr's own token file
(flickr.py). Goes out: records, split as its column `split` says, or the lists beside it, else by image.

A broken row of one's own table stops the reading, as it can be mended. Of a published table, a few are named and left
out.
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable
from functools import cache, partial
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

from dataset.checks import NEWLINE, check_caption, check_name, first_line, read_text, shown
from dataset.flickr import TOKEN_FILES, listed_splits, read_token_line
from dataset.paths import IMAGE_FOLDERS, check_distinct, first_folder, image_folders, inside, only, stem
from dataset.records import Record, choose_splits

TABLES = (("captions.txt", "captions.csv"), *((name,) for name in (*TOKEN_FILES, "results.csv")))  # the first is taken
FOLDERS = (".", "Flickr8k_text", "flickr30k_images")  # in which it may lie
DELIMITERS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}  # Excel writes ; where , is in decimal numbers
COLUMNS = {"image": "caption", "image_name": "comment"}  # one's own, Flickr30k's
IMAGE = {"image", "image_id", "image_name", "image_path", "img", "file", "file_name", "filename", "path"}  # otherwise
CAPTION = {"caption", "captions", "comment", "description", "sentence", "text"}
SPLIT_NAMES = {"train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "dev": "val"}
SPLIT_NAMES |= {"restval": "train", "test": "test", "testing": "test"}
LIST = re.compile(r"""\[\s*(["']).*\1\s*\]""")  # several captions in one cell
QUOTES = "a cell that begins with a quote ends with one on the same line, and quotes inside it are doubled"
FEW = 5  # broken rows of a published table that are left out, whatever their share; else one in a hundred


class Header(NamedTuple):
    """What a table's first line says."""

    delimiter: str
    cells: int
    image: int  # the columns
    caption: int
    split: int | None
    published: bool


def find_table(folder: Path) -> Path | None:
    """The table of a dataset's folder; None if there is none, ValueError if there are two alike."""
    for place in FOLDERS:
        for names in TABLES:
            if file := only(path for name in names if (path := folder / place / name).is_file()):
                return file
    return None


def load_table(folder: Path, file: Path, split: str | None, seed: int) -> list[Record]:
    """The records of one split, or of all; a file's name is its image's id.

    Raises ValueError if a row is damaged, two names are of one file, or the split is not there.
    """
    captions, split_of = _read_captions(file)
    if not captions:
        raise ValueError(f"{file} holds no captions.")
    if not split_of and (listed := listed_splits(file.parent)):
        split_of = _find_in_lists(listed, captions, file)
    if not split_of:
        split_of = split_by_image(captions, seed)
        if split not in (None, *split_of.values()) and len(captions) < 3:
            raise ValueError(f"{file} is too small to be split: it has captions of {len(captions)} images, not of 3.")
    parts = choose_splits(split, split_of.values(), folder)
    images = first_folder([*image_folders(folder), folder])
    paths = {name: _find_image(images, name, file) for name in captions if name in split_of}
    check_distinct(((name, str(path), split_of[name]) for name, path in paths.items()), file)
    return [
        Record(name, paths[name], split_of[name], tuple(texts))
        for name, texts in captions.items()
        if split_of.get(name) in parts
    ]


def _find_in_lists(listed: dict[str, str], names: Collection[str], file: Path) -> dict[str, str]:
    """The split of each name that a list has; a list may leave out ".jpg"."""
    stems = Counter(stem(name) for name in listed)
    alike = {key: split for name, split in listed.items() if stems[key := stem(name)] == 1}
    found = {name: split for name in names if (split := listed.get(name) or alike.get(stem(name)))}
    if not found:
        raise ValueError(
            f"{file}: none of its {len(names):,} images is in the lists of splits beside it: it has "
            f"{shown(next(iter(names)))}, they have {shown(next(iter(listed)))}."
        )
    if others := len(names) - len(found):
        _say(f"{file}: {others:,} of {len(names):,} images left out, they are in no list of a split")
    return found


def _find_image(images: Path, name: str, file: Path) -> Path:
    """The path of a picture; its name may have the folder's in front, as "Images/1.jpg", whatever it is called here."""
    path = inside(images, name, file)
    parts = path.relative_to(images).parts
    known = len(parts) > 1 and parts[0].casefold() in {n.casefold() for n in (images.name, *IMAGE_FOLDERS)}
    return images.joinpath(*parts[1:]) if known and not (images / parts[0]).is_dir() else path


def split_by_image(names: Iterable[str], seed: int) -> dict[str, str]:
    """Image name -> split: a tenth each for test and validation, the rest for training; the same on every machine.

    Images are ranked by a hash of the seed and their name: two captions of one image are never in different splits.
    """
    ranked = sorted(names, key=lambda name: sha256(f"{seed} {name}".encode()).digest())
    tenth = max(1, round(len(ranked) / 10))
    split_of = dict.fromkeys(ranked, "train")
    return split_of | dict.fromkeys(ranked[:tenth], "test") | dict.fromkeys(ranked[tenth : 2 * tenth], "val")


def _read_captions(file: Path) -> tuple[dict[str, list[str]], dict[str, str]]:
    """Image name -> its captions, in the table's order, and -> its split, where the table has that column.

    Each line is read alone, so that no quote spans several.
    """
    lines = NEWLINE.split(read_text(file))
    if file.name in TOKEN_FILES:
        return _gather(file, lines, 1, read_token_line, published=True)
    header = _read_header(lines[0], file)
    return _gather(file, lines[1:], 2, partial(_read_row, header), header.published)


def _gather(
    file: Path, lines: list[str], first: int, read: Callable[[str, str], tuple[str, str, str | None]], published: bool
) -> tuple[dict[str, list[str]], dict[str, str]]:
    """What `read` makes of each line, and how much that is, printed; `first` is the number of the first line."""
    captions, split_of = dict[str, list[str]](), dict[str, str]()
    refused: list[str] = []
    for number, line in enumerate(lines, start=first):
        if line.strip():
            try:
                name, caption, split = read(line, f"{file}, line {number}")
                if split and split_of.setdefault(name, split) != split:
                    raise ValueError(
                        f"{file}, line {number}: {shown(name)} is in {split}, above in {split_of[name]}: an image "
                        "belongs to one split."
                    )
            except ValueError as error:
                if not published or len(refused) >= max(FEW, len(lines) // 100):
                    raise
                refused.append(str(error))
            else:
                captions.setdefault(name, []).append(caption)
    for reason in refused:
        _say(f"left out: {reason}")
    rows = sum(map(len, captions.values()))
    _say(f"{file}: {rows:,} captions of {len(captions):,} images; broken rows: {len(refused):,}")
    return captions, split_of


@cache  # a table is read again for each split
def _say(text: str) -> None:
    print(text)


def _read_row(header: Header, line: str, where: str) -> tuple[str, str, str | None]:
    """A line's image, caption and split, None where the table does not say."""
    try:
        (row,) = csv.reader([line], delimiter=header.delimiter, skipinitialspace=True, strict=True)
    except csv.Error as error:
        if not header.published:
            raise ValueError(f"{where}: {first_line(error)}; {QUOTES}.") from None
        row = []
    if header.published and len(row) != header.cells:  # Flickr30k's captions stand last, and seldom in quotes
        row = line.split(header.delimiter, header.cells - 1)
    if len(row) < header.cells:
        raise ValueError(f"{where}: {len(row)} cells, not {header.cells}: one is missing in {shown(line)}.")
    if len(row) > header.cells:
        name = DELIMITERS[header.delimiter]
        raise ValueError(
            f"{where}: {len(row)} cells, not {header.cells}; a caption with a {name} must stand in quotes."
        )
    caption = check_caption(row[header.caption], where)
    if LIST.fullmatch(caption):
        raise ValueError(f"{where}: {shown(caption)} is a list: write a row for each caption (in pandas, `explode`).")
    split = None if header.split is None else SPLIT_NAMES.get(row[header.split].strip().lower())
    if header.split is not None and split is None:
        raise ValueError(f"{where}: {shown(row[header.split])} is no split: write train, val or test.")
    return check_name(row[header.image].strip(), where), caption, split


def _read_header(line: str, file: Path) -> Header:
    """The delimiter and the columns; those of other names, as pandas' index, are not read."""
    for delimiter in DELIMITERS:
        columns = [cell.strip(' "').lower() for cell in line.split(delimiter)]
        if columns.count("split") > 1:
            raise ValueError(f"{file}: the first line has two columns that are called split.")
        split = columns.index("split") if "split" in columns else None
        for image, caption in COLUMNS.items():
            if columns.count(image) == columns.count(caption) == 1:
                places = columns.index(image), columns.index(caption)
                return Header(delimiter, len(columns), *places, split, published=image == "image_name")
        usual = [[i for i, column in enumerate(columns) if column in known] for known in (IMAGE, CAPTION)]
        if [len(found) for found in usual] == [1, 1]:
            return Header(delimiter, len(columns), usual[0][0], usual[1][0], split, published=False)
    advice = f"; a file of lines as that one is called {TOKEN_FILES[0]}" if re.match(r"\S+#\d\t", line) else ""
    raise ValueError(f"{file}: the first line must be the header image,caption, not {shown(line.strip())}{advice}.")
