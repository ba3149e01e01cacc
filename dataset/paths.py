"""Where datasets and their images lie, and where runs are kept.

Comes in: a dataset's name or path, and file names from annotation files. Goes out: paths that exist (folders) or that
cannot lead out of the dataset's folder (files). It does not know what the files hold.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
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
IMAGE_FOLDERS = ("images", "Images", "Flicker8k_Dataset", "flickr30k_images", "flickr30k-images")


def find(dataset: str | Path) -> Path:
    """The folder of a dataset, by its name in `DATA` or its path; FileNotFoundError if there is none."""
    for folder in (DATA / dataset, Path(dataset).expanduser()):
        if folder.is_dir():
            return folder
    way = WAYS.get(str(dataset), WAYS["sample"])
    raise FileNotFoundError(
        f"No dataset at {DATA / dataset}: {way}, or say where your datasets lie with the environment variable DATA=..."
    )


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
    """The places where datasets with a single folder of images, as Flickr8k and Flickr30k, have it.

    Kaggle's Flickr30k has it twice nested.
    """
    return [nested if (nested := folder / name / name).is_dir() else folder / name for name in IMAGE_FOLDERS]


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
    (NFD, as macOS and archives made there have it).
    """

    def __init__(self) -> None:
        self._names: dict[Path, dict[str, str]] = {}

    def find(self, path: Path) -> Path | None:
        """The path as the disk spells its last part; None if nothing is there."""
        if (names := self._names.get(path.parent)) is None:
            names = self._names[path.parent] = self._read(path.parent)
        if name := names.get(path.name) or names.get(normalize("NFC", path.name)):
            return path.with_name(name)
        return path if path.exists() else None  # where upper and lower case are the same

    @staticmethod
    def _read(folder: Path) -> dict[str, str]:
        try:
            names = os.listdir(folder)
        except OSError:  # no such folder
            return {}
        return {normalize("NFC", name): name for name in names} | {name: name for name in names}
