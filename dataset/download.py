"""COCO, Flickr8k and Karpathy's splits: from their servers into a dataset's folder, in stages that can be gone on with.

Comes in: a folder, a dataset, a part of it ("annotations", "train", …) and a year. Goes out: that part, whole and
compared with its checksum. fetching.py brings one file, archives.py unpacks it, photographs.py brings some of COCO's
pictures alone; here stands what is where, and in which order.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

from dataset import files
from dataset.archives import unpack
from dataset.fetching import BLOCK, fetch
from dataset.progress import shown

COCO = "http://images.cocodataset.org"
KARPATHY = "https://cs.stanford.edu/people/karpathy/deepimagesent/caption_datasets.zip"
FLICKR8K = "https://github.com/jbrownlee/Datasets/releases/download/Flickr8k"  # its authors' own server is gone
YEARS = ("2014", "2017")
# dataset: part: its address, and what is there once it is unpacked; the last of that comes last
PARTS: dict[str, dict[str, tuple[str, ...]]] = {
    "coco": {
        "annotations": (COCO + "/annotations/annotations_trainval{year}.zip", "annotations/captions_train{year}.json"),
        "train": (COCO + "/zips/train{year}.zip", "train{year}"),
        "val": (COCO + "/zips/val{year}.zip", "val{year}"),
        "karpathy": (KARPATHY, "dataset_coco.json"),  # splits of the pictures of 2014, for comparing with papers
    },
    "flickr8k": {
        "captions": (
            FLICKR8K + "/Flickr8k_text.zip",
            *(f"Flickr_8k.{part}Images.txt" for part in ("train", "dev", "test")),
            "Flickr8k.token.txt",
        ),
        "images": (FLICKR8K + "/Flickr8k_Dataset.zip", "Flicker8k_Dataset"),
        "karpathy": (KARPATHY, "dataset_flickr8k.json"),
    },
}
MD5 = {  # as widely recorded; nobody publishes them with the files
    "train2014.zip": "0da8c0bd3d6becc4dcb32757491aca88",
    "val2014.zip": "a3d79f5ed8d289b7a7554ce06a5782b3",
    "annotations_trainval2014.zip": "0a379cfc70b0e71301e0f377548639bd",
    "train2017.zip": "cced6f7f71b7629ddf16f17bbcfab6b2",
    "val2017.zip": "442b8da7639aecaf257c1dceb8ba8c80",
    "annotations_trainval2017.zip": "f4bbac642086de4f52a3fdda2de5fa2c",
    "Flickr8k_Dataset.zip": "f18a1e2920de5bd84dae7cf08ec78978",
    "Flickr8k_text.zip": "bf6c1abcb8e4a833b7f922104de18627",
}
CHECKSUMS = "checksums.json"  # in the dataset's folder: SHA-256 of what has no sum above, from its first download


def download_part(folder: Path, dataset: str, part: str, year: str = "2017", mirror: str | None = None) -> None:
    """Fetch one of `PARTS` into the folder unless it is there; of several processes one works and the others wait.

    `mirror` is an address from which to fetch instead of the real one. Raises ValueError if the folder holds the other
    year, or if what came is not what it should be; OSError if it cannot be fetched or written.
    """
    check_year(folder, part, year)
    address, *results = (text.format(year=year) for text in PARTS[dataset][part])
    if mirror:
        address = f"{mirror.rstrip('/')}/{address.rsplit('/', 1)[1]}"
    if (folder / results[-1]).exists():
        print(f"{part}: is there")
        return
    waiting = f"{part}: another download into {folder} is at work; this one waits for it"
    with files.locked(folder / ".download.lock", waiting):
        if not (folder / results[-1]).exists():
            _install(address, folder, results)
    print(f"{part}: is in {folder}")


def check_year(folder: Path, part: str, year: str) -> None:
    """ValueError where something of COCO's other year is there: together they would be no dataset."""
    year = "2014" if part == "karpathy" else year
    other = {"2014": "2017", "2017": "2014"}[year]
    for name, (_, result) in PARTS["coco"].items():
        found = folder / result.format(year=other)
        if found.exists() and (name != "karpathy" or other == "2014"):
            raise ValueError(f"{found} is of {other}, {part} of {year}: one folder holds one year, set DATA to another")


def _install(address: str, folder: Path, results: list[str]) -> None:
    """Fetch an archive, check it, unpack it beside its place, move it there; the last result is there when all is.

    Each stage leaves something of another name, whole or not there, so that a process killed between two goes on.
    """
    archive = folder / address.rsplit("/", 1)[1]
    unpacking, unpacked = Path(f"{archive}.unpacking"), Path(f"{archive}.unpacked")
    if not unpacked.exists():
        if not archive.exists():
            fetch(address, archive)
        try:
            checksum = check(archive)
            unpack(archive, unpacking, *results)
        except ValueError as error:
            archive.unlink()
            raise ValueError(
                f"{error}. It was deleted: run the same again, or fetch from elsewhere with --mirror"
            ) from None
        if checksum is not None:
            _note_checksum(archive, checksum)
        with files.explained(unpacked):
            unpacking.rename(unpacked)
    archive.unlink(missing_ok=True)
    for result in results:
        _move_into_place(unpacked, folder, result)
    shutil.rmtree(unpacked)


def _move_into_place(unpacked: Path, folder: Path, result: str) -> None:
    """Move a result, with what was unpacked beside it, into the dataset's folder, itself last."""
    top = result.split("/")[0]
    with files.explained(folder / top):
        if not (unpacked / top).exists():  # a process that was killed had moved it
            return
        if (folder / top).is_dir():  # with something else in it
            for file in sorted((unpacked / top).iterdir(), key=lambda file: file == unpacked / result):
                file.replace(folder / top / file.name)
        else:
            (unpacked / top).replace(folder / top)


def check(archive: Path) -> str | None:
    """Compare the archive's checksum with the recorded one; ValueError if it is another.

    Returns None, or the SHA-256 if none is recorded yet: then the CRCs inside, which `unpack` checks, must do.
    """
    known = MD5.get(archive.name) or files.read_dict(archive.parent / CHECKSUMS).get(archive.name)
    digest = hashlib.md5(usedforsecurity=False) if archive.name in MD5 else hashlib.sha256()
    bar = shown(None, f"checking {archive.name}", "B", unit_scale=True, total=archive.stat().st_size)
    with bar, open(archive, "rb") as file:
        while block := file.read(BLOCK):
            digest.update(block)
            bar.update(len(block))
    if known is None:
        return digest.hexdigest()
    if digest.hexdigest() != known:
        where = "" if archive.name in MD5 else f", noted in {archive.parent / CHECKSUMS} at its first download"
        raise ValueError(
            f"{archive} is not the file it should be: its {digest.name} is {digest.hexdigest()}, not {known}{where}"
        )
    return None


def _note_checksum(archive: Path, checksum: str) -> None:
    """Keep the checksum of a first download, for the next one to be compared with, and say so."""
    notes = archive.parent / CHECKSUMS
    files.write(notes, json.dumps(files.read_dict(notes) | {archive.name: checksum}, indent=1))
    print(
        f"{archive.name}: nobody publishes a checksum of it; the CRCs inside were right. Its SHA-256, {checksum}, "
        f"is now noted in {notes}, and a later download must have the same"
    )
