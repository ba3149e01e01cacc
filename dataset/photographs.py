"""Some of COCO's photographs, each fetched by itself: real pictures without the 20 GB of all.

Comes in: a folder and how many. Goes out: that many in `images/train2017` and `images/val2017`, a tenth of them in the
latter, and annotations of these alone, so that the folder is a dataset like any other. The annotations of all lie in
`whole/`: when more are asked for, only the difference is fetched. It is not known here how a file is fetched.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Container, Iterable
from concurrent.futures import ThreadPoolExecutor, as_completed
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

from dataset import files
from dataset.checks import get_field, get_list, read_json
from dataset.download import COCO, check_year, download_part
from dataset.fetching import Unavailable, fetch
from dataset.paths import inside
from dataset.pictures import open_image
from dataset.progress import shown

NOTE = "photographs.json"  # where it lies, the annotations beside it are of some photographs only
CONNECTIONS = 8  # at once; if as many photographs in a row cannot be had, none can
TRIES = 3  # of a file that is no picture
SHOWN = 20  # reasons
BYTES = 165_000  # of a photograph, on average


def download_photographs(folder: Path, number: int, year: str = "2017", mirror: str | None = None) -> None:
    """`number` of COCO's photographs with their annotations, always the same ones, into the folder.

    What is there is not fetched again. A photograph that the server does not give, or that is no picture three times,
    is named and left out. Raises ValueError if the folder holds all photographs, Karpathy's splits, or the other year;
    OSError if nothing can be fetched or written.
    """
    _check_place(folder, year)
    with files.locked(
        folder / ".photographs.lock", f"another download into {folder} is at work; this one waits for it"
    ):
        if not (folder / NOTE).exists() and (folder / "annotations").exists():  # of all, from an earlier download
            with files.explained(folder / "whole/annotations"):
                (folder / "whole").mkdir(exist_ok=True)
                (folder / "annotations").replace(folder / "whole/annotations")
        download_part(folder / "whole", "coco", "annotations", year, mirror)
        listed = {name: _listed(folder, name) for name in (f"train{year}", f"val{year}")}
        server = (mirror or COCO).rstrip("/")
        val = min(len(listed[f"val{year}"]), max(1, number // 10))
        share = {f"train{year}": max(1, number - val), f"val{year}": val}
        chosen = [
            (f"{server}/{name}/{entry['file_name']}", folder / "images" / name / entry["file_name"], entry)
            for name, entries in listed.items()
            for entry in _ranked(entries)[: share[name]]
        ]
        refused = _fetch_all(chosen, folder)
        there = _annotate(folder, listed, year)
    for reason in refused[:SHOWN]:
        print(f"left out: {reason}")
    if refused:
        print(f"left out: {len(refused):,} of {len(chosen):,} photographs; the same command asks for them again")
    print(f"{folder} holds photographs: {', '.join(f'{count:,} of {name}' for name, count in there.items())}")


def make_whole(folder: Path) -> None:
    """The annotations of all photographs back into their place, before all of COCO is fetched into the folder."""
    if (folder / NOTE).exists():
        with files.explained(folder / "annotations"):
            shutil.rmtree(folder / "annotations", ignore_errors=True)
            (folder / NOTE).unlink()
    if (folder / "whole/annotations").exists() and not (folder / "annotations").exists():
        (folder / "whole/annotations").replace(folder / "annotations")


def _check_place(folder: Path, year: str) -> None:
    check_year(folder, "annotations", year)
    for name in (f"train{year}", f"val{year}", "dataset_coco.json"):
        if (folder / name).exists():
            raise ValueError(
                f"{folder / name} is there, and goes with all photographs: fetch them with python -m scripts.download "
                "coco, or set DATA to another folder"
            )


def _listed(folder: Path, name: str) -> list[dict[str, Any]]:
    """The photographs of a split, as the annotations of all list them; ValueError if one has no usable name."""
    file = folder / "whole/annotations" / f"captions_{name}.json"
    entries = get_list(read_json(file, lambda entry: None if "image_id" in entry else entry), "images", file)
    for entry in entries:
        inside(folder, get_field(entry, "file_name", file), file)
    return entries


def _ranked(entries: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """In a random order that is the same on every machine, so that fewer are always among more."""
    return sorted(entries, key=lambda entry: sha256(entry["file_name"].encode()).digest())


def _fetch_all(chosen: list[tuple[str, Path, dict[str, Any]]], folder: Path) -> list[str]:
    """Fetch those that are not there, some at once; returns why some could not be had."""
    missing = [(address, file, entry) for address, file, entry in chosen if not file.exists()]
    if missing:
        files.check_room(folder, len(missing) * BYTES, f"{len(missing):,} photographs")
    for place in {file.parent for _, file, _ in missing} | {folder / "images/.part"}:
        place.mkdir(parents=True, exist_ok=True)
    refused: list[str] = []
    bar = shown(None, "photographs", "photograph", total=len(chosen), initial=len(chosen) - len(missing))
    with bar, ThreadPoolExecutor(CONNECTIONS) as pool:
        tasks = [pool.submit(_fetch_picture, *one, folder / "images/.part") for one in missing]
        try:
            in_a_row = 0
            for task in as_completed(tasks):
                reason = task.result()
                refused += [reason] if reason else []
                in_a_row = in_a_row + 1 if reason else 0
                if in_a_row == CONNECTIONS or len(refused) == len(chosen):
                    raise OSError(f"{in_a_row} photographs in a row cannot be had, the last one: {reason}")
                bar.update()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    shutil.rmtree(folder / "images/.part")
    return refused


def _fetch_picture(address: str, file: Path, entry: dict[str, Any], part: Path) -> str | None:
    """Fetch one photograph into the folder `part`, look whether it is one, move it to its place; or say why not."""
    half = part / file.name
    for _ in range(TRIES):
        try:
            fetch(address, half, progress=False)
            size = open_image(half).size
            if sorted(size) != sorted((entry["width"], entry["height"])):
                raise ValueError(f"{half} is {size[0]} x {size[1]} pixels, not {entry['width']} x {entry['height']}")
        except Unavailable as error:
            return str(error)
        except ValueError as error:
            reason = f"{address}: {error}"
        else:
            with files.explained(file):
                os.replace(half, file)
            return None
    return reason


def _annotate(folder: Path, listed: dict[str, list[dict[str, Any]]], year: str) -> dict[str, int]:
    """Write the annotations of the photographs that are there; returns how many each split has."""
    contents: dict[str | Path, str | bytes] = {}
    there = {}
    for name, entries in listed.items():
        names = set(os.listdir(folder / "images" / name))
        ids = {entry["id"] for entry in entries if entry["file_name"] in names}
        there[name] = len(ids)
        for kind in ("captions", "instances"):
            source = folder / "whole/annotations" / f"{kind}_{name}.json"
            if source.exists():
                content = read_json(source, partial(_if_of, ids))
                for key in ("images", "annotations"):
                    content[key] = [entry for entry in content[key] if entry is not None]
                contents[folder / "annotations" / source.name] = json.dumps(content)
    files.write(folder / NOTE, json.dumps({"year": year} | there))
    files.write_all(contents)
    return there


def _if_of(ids: Container[int | str], entry: dict[str, Any]) -> dict[str, Any] | None:
    """Any object of an annotation file but images, and annotations of images, that are not among these."""
    image_id = entry.get("image_id", entry["id"] if "file_name" in entry else None)
    return entry if image_id is None or image_id in ids else None
