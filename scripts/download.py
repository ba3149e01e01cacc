"""Fetches COCO: python -m scripts.download coco [--year 2017] [--part annotations] [--part train] …

The files go where the notebooks look, `data/coco` (or the folder named by the environment variable DATA). A stopped
download goes on where it ended, and what is there already is not fetched again. All of a year is about 20 GB.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import urllib.error
import urllib.request
import zipfile
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

import coco

COCO = "http://images.cocodataset.org"
KARPATHY = "https://cs.stanford.edu/people/karpathy/deepimagesent/caption_datasets.zip"
PARTS = {  # part: its address, and what is there once it is unpacked
    "annotations": ("{COCO}/annotations/annotations_trainval{year}.zip", "annotations/captions_train{year}.json"),
    "train": ("{COCO}/zips/train{year}.zip", "train{year}"),
    "val": ("{COCO}/zips/val{year}.zip", "val{year}"),
    "karpathy": ("{KARPATHY}", "dataset_coco.json"),  # splits of the pictures of 2014, for comparing with papers
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Reads the command line and fetches."""
    parser = argparse.ArgumentParser(prog="python -m scripts.download", description=__doc__.split("\n\n")[0])
    parser.add_argument("dataset", choices=["coco"])
    parser.add_argument("--year", default="2017", choices=["2014", "2017"], help="default: 2017")
    parser.add_argument("--part", action="append", choices=PARTS, help="may be given again (default: all but karpathy)")
    parser.add_argument("--mirror", help="another address than the real one to fetch all from, as http://host/path")
    options = parser.parse_args(arguments)
    folder = coco.DATA / options.dataset
    for part in options.part or ("annotations", "train", "val"):
        address, result = PARTS[part]
        address = address.format(COCO=COCO, KARPATHY=KARPATHY, year=options.year)
        if options.mirror:
            address = f"{options.mirror.rstrip('/')}/{address.rsplit('/', 1)[1]}"
        if (folder / result.format(year=options.year)).exists():
            print(f"{part}: is there")
            continue
        folder.mkdir(parents=True, exist_ok=True)
        archive = fetch(address, folder / address.rsplit("/", 1)[1])
        unpack(archive, folder)
        archive.unlink()
        print(f"{part}: unpacked into {folder}")


def fetch(address: str, file: Path) -> Path:
    """The file at an address, going on where an earlier call was stopped. OSError says why it could not be had."""
    half = file.with_name(file.name + ".part")
    have = half.stat().st_size if half.exists() else 0
    request = urllib.request.Request(address, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            if have and answer.status != 206:  # the server begins again
                have = 0
            rest = int(answer.headers["Content-Length"]) if answer.headers["Content-Length"] else None
            total = have + rest if rest is not None else None
            bar = tqdm(total=total, initial=have, unit="B", unit_scale=True, desc=file.name)
            with bar, open(half, "ab" if have else "wb") as target:
                while block := answer.read(1 << 20):
                    target.write(block)
                    bar.update(len(block))
    except urllib.error.HTTPError as error:
        raise OSError(f"{address}: the server answers {error.code} {error.reason}") from None
    except OSError as error:
        raise OSError(f"{address}: {error}; the same command goes on from here") from None
    if total is not None and half.stat().st_size != total:
        raise OSError(f"{address}: the connection ended after {half.stat().st_size:,} of {total:,} bytes; try again")
    half.replace(file)
    return file


def unpack(archive: Path, folder: Path) -> None:
    """A zip into the folder: first beside it, then each piece put in place by one move."""
    beside = archive.with_suffix(".unpacking")
    shutil.rmtree(beside, ignore_errors=True)
    try:
        with zipfile.ZipFile(archive) as content:
            for name in tqdm(content.namelist(), unit="file", desc=f"unpacking {archive.name}"):
                content.extract(name, beside)
    except zipfile.BadZipFile:
        raise ValueError(f"{archive} is not a whole zip file: delete it and fetch it again") from None
    for piece in beside.iterdir():
        target = folder / piece.name
        if piece.is_dir() and target.is_dir():  # annotations of two years share a folder
            for inner in piece.iterdir():
                inner.replace(target / inner.name)
        else:
            piece.replace(target)
    shutil.rmtree(beside)


if __name__ == "__main__":
    try:
        main()
    except (ValueError, OSError) as error:
        sys.exit(str(error))
