"""Where datasets and their images lie, and where runs are kept.

Comes in: a dataset's name or path, and file names from annotation files. Goes out: paths that exist (folders) or that
cannot lead out of the dataset's folder (files). It does not know what the files hold.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path, PureWindowsPath
from typing import Any
from unicodedata import normalize

from dataset.checks import check_name, shown

DATA = Path(os.environ.get("DATA", "data"))  # the setting that all paths to data come from
RUNS = Path(os.environ.get("RUNS", "runs"))  # and the one for what is made from them
WAYS = {  # how a dataset is had
    "sample": "draw the sample with `python -m scripts.sample`",
    "coco": "fetch 5,000 of its photographs with `python -m scripts.download coco --images 5000` (1.1 GB), or all of "
    "it with `python -m scripts.download coco` (20 GB)",
    "flickr8k": "fetch it with `python -m scripts.download flickr8k` (1.1 GB)",
}
IMAGE_FOLDERS = ("images", "Images", "Flicker8k_Dataset", "Flickr8k_Dataset", "flickr30k_images", "flickr30k-images")
SUFFIXES = (".jpg", ".jpeg", ".png")  # that a table may leave out


def find(dataset: str | Path) -> Path:
    """The folder of a dataset, by its name in `DATA` or its path; FileNotFoundError if there is none."""
    for folder in (DATA / dataset, Path(os.path.expanduser(dataset))):
        if os.path.isdir(folder):  # False also for what no disk can hold, as a name of 300 letters
            return folder
    if os.path.isfile(dataset):
        raise FileNotFoundError(f"{dataset} is a file, a dataset is a folder: {_instead_of(Path(dataset))}")
    there = [folder.name for folder in DATA.iterdir() if folder.is_dir()] if DATA.is_dir() else []
    known = {name.lower(): name for name in (*WAYS, *there)}
    close = get_close_matches(str(dataset).lower(), known, n=1)
    meant = known[close[0]] if close else str(dataset)
    ask = f"did you mean {meant!r}? Or " if meant != str(dataset) else ""
    way = WAYS.get(meant, WAYS["sample"])
    raise FileNotFoundError(
        f"No dataset at {DATA / dataset}: {ask}{way}, or say where your datasets lie with the environment "
        "variable DATA=..."
    )


def _instead_of(file: Path) -> str:
    return "unpack it first" if file.suffix.lower() in (".zip", ".tar", ".gz", ".7z", ".rar") else f"name {file.parent}"


def only(files: Iterable[Path]) -> Path | None:
    """The one file among these, None if there is none; ValueError if there are several."""
    files = sorted(files)
    if len(files) > 1:
        raise ValueError(f"{files[0].parent} holds both {files[0].name} and {files[1].name}: keep one of them.")
    return files[0] if files else None


def first_folder(folders: list[Path]) -> Path:
    """The first of these folders that exists, else the first of all: whoever reads captions alone needs none."""
    return next((folder for folder in folders if folder.is_dir()), folders[0])


def image_folders(folder: Path) -> list[Path]:
    """The places where datasets with a single folder of images, as Flickr8k and Flickr30k, have it."""
    return [unnested(folder / name) for name in IMAGE_FOLDERS]


def unnested(folder: Path) -> Path:
    """The folder, or the one of the same name inside it: so Kaggle's Flickr30k comes, and what is unpacked anew."""
    return nested if (nested := folder / folder.name).is_dir() else folder


def inside(folder: Path, name: Any, file: Path) -> Path:
    """`folder / name`; ValueError if the name, found in `file`, would lead out of the folder on any system.

    A table made on Windows may have backslashes in its names; they are read as slashes.
    """
    path = PureWindowsPath(check_name(name, file))  # knows both kinds of slashes, and drives
    if path.anchor or ".." in path.parts:
        raise ValueError(f"{file}: the file name {shown(name)} leads out of the dataset's folder.")
    return folder / path.as_posix()


class Listing:
    """The names in folders as they are on disk, each folder read once.

    One name can be written in two ways: "é" as one character (NFC, as most tables have it) or as "e" and an accent
    (NFD, as macOS and archives made there have it). A table may also have other capitals, or no ".jpg". What several
    files could be is none of them.
    """

    def __init__(self) -> None:
        self._names: dict[Path, dict[str, str]] = {}

    def find(self, path: Path) -> Path | None:
        """The path as the disk spells its last part; None if nothing is there."""
        if (names := self._names.get(path.parent)) is None:
            names = self._names[path.parent] = self._read(path.parent)
        wanted = normalize("NFC", path.name)
        if name := next((names[way] for way in (path.name, wanted, f"{folded(wanted)}\0") if way in names), None):
            return path.with_name(name)
        longer = [names[way] for suffix in SUFFIXES if (way := f"{folded(wanted + suffix)}\0") in names]
        if len(longer) == 1:
            return path.with_name(longer[0])
        return path if path.exists() and not path.is_dir() else None  # where upper and lower case are the same

    def are_one(self, one: Path, other: Path) -> bool:
        """Whether two paths are of one file; where there is none, whether they are written alike."""
        found, too = self.find(one) or one, self.find(other) or other
        return found == too or (found.exists() and too.exists() and found.samefile(too))

    @staticmethod
    def _read(folder: Path) -> dict[str, str]:
        try:
            with os.scandir(folder) as entries:
                names = [entry.name for entry in entries if not entry.is_dir()]
        except OSError:  # no such folder
            return {}
        plain = {normalize("NFC", name): name for name in names} | {name: name for name in names}
        alike = Counter(map(folded, names))
        return {f"{key}\0": name for name in names if alike[key := folded(name)] == 1} | plain  # \0: no file's own


Listed = tuple[int | str, str, str]  # an image's id, its file, its split


def check_distinct(images: Iterable[Listed], file: Path) -> None:
    """ValueError if an id or a file on this disk is there twice: what is trained on must not be tested with.

    `images` are those of all splits, whichever is asked for, as `file` lists them. Files are looked at only where two
    names differ in no more than capitals, suffix or accents.
    """
    images = [(image_id, _plain(path), split) for image_id, path, split in images]
    if len({image_id for image_id, *_ in images}) == len({stem(path) for _, path, _ in images}) == len(images):
        return
    listing, split_of, alike = Listing(), dict[int | str, str](), dict[str, list[Listed]]()
    for image in images:
        image_id, path, split = image
        if image_id in split_of:
            raise ValueError(
                f"{file}: image {shown(image_id)} is listed twice, in {split_of[image_id]} and {split}: an image "
                "belongs to one split, and each image needs an id of its own over all splits."
            )
        split_of[image_id] = split
        namesakes = alike.setdefault(stem(path), [])
        for other, its_path, its_split in namesakes:
            if listing.are_one(Path(its_path), Path(path)):
                raise ValueError(
                    f"{file}: {shown(other)} and {shown(image_id)} are one file, {shown(Path(path).name)}, in "
                    f"{its_split} and {split}: list it once, in one split, its name written in one way."
                )
        namesakes.append(image)


def _plain(path: str) -> str:
    """The path with slashes alone, and no step that goes nowhere."""
    return os.path.normpath(path.replace("\\", "/")) if "\\" in path or "/." in path or "//" in path else path


def stem(path: str) -> str:
    """What two ways of writing one path have in common."""
    whole = folded(path)
    short, _, suffix = whole.rpartition(".")
    return short if f".{suffix}" in SUFFIXES else whole


def folded(name: str) -> str:
    """A name in small letters, composed alike (NFC)."""
    return name.casefold() if name.isascii() else normalize("NFC", name).casefold()
