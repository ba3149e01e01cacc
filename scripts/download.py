"""Fetches COCO: python -m scripts.download coco [--year 2017] [--part annotations] [--part train] …

The files go where the notebooks look, `data/coco` (or the folder named by the environment variable DATA). A stopped
download goes on where it ended, and what is there already is not fetched again. All of a year is about 20 GB, and as
much again while the largest archive is unpacked.
"""

from __future__ import annotations

import argparse
import hashlib
import http.client
import json
import os
import shutil
import stat
import sys
import time
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from dataset import files, paths

COCO = "http://images.cocodataset.org"
KARPATHY = "https://cs.stanford.edu/people/karpathy/deepimagesent/caption_datasets.zip"
PARTS = {  # part: its address, and what is there once it is unpacked
    "annotations": ("{COCO}/annotations/annotations_trainval{year}.zip", "annotations/captions_train{year}.json"),
    "train": ("{COCO}/zips/train{year}.zip", "train{year}"),
    "val": ("{COCO}/zips/val{year}.zip", "val{year}"),
    "karpathy": ("{KARPATHY}", "dataset_coco.json"),  # splits of the pictures of 2014, for comparing with papers
}
MD5 = {  # as widely recorded; COCO itself publishes none
    "train2014.zip": "0da8c0bd3d6becc4dcb32757491aca88",
    "val2014.zip": "a3d79f5ed8d289b7a7554ce06a5782b3",
    "annotations_trainval2014.zip": "0a379cfc70b0e71301e0f377548639bd",
    "train2017.zip": "cced6f7f71b7629ddf16f17bbcfab6b2",
    "val2017.zip": "442b8da7639aecaf257c1dceb8ba8c80",
    "annotations_trainval2017.zip": "f4bbac642086de4f52a3fdda2de5fa2c",
}
OURS = "checksums.json"  # in the dataset's folder: SHA-256 of what has no sum above, from its first download
BLOCK = 1 << 18  # bytes read at once
TIMEOUT = 60.0  # seconds without a byte
PAUSES = (1, 2, 4, 8, 16, 32, 64)  # seconds before the next try; from the first again whenever something came
MOST_FILES, MOST_TIMES = 1_000_000, 100  # in an archive: files, and bytes for each byte of it


def main(arguments: Sequence[str] | None = None) -> None:
    """Reads the command line and fetches."""
    parser = argparse.ArgumentParser(prog="python -m scripts.download", description=__doc__.split("\n\n")[0])
    parser.add_argument("dataset", choices=["coco"])
    parser.add_argument("--year", default="2017", choices=["2014", "2017"], help="default: 2017")
    parser.add_argument("--part", action="append", choices=PARTS, help="may be given again (default: all but karpathy)")
    parser.add_argument("--mirror", help="another address than the real one to fetch all from, as http://host/path")
    options = parser.parse_args(arguments)
    folder = paths.DATA / options.dataset
    for part in options.part or ("annotations", "train", "val"):
        _check_year(folder, part, options.year)
        address, result = (text.format(COCO=COCO, KARPATHY=KARPATHY, year=options.year) for text in PARTS[part])
        if options.mirror:
            address = f"{options.mirror.rstrip('/')}/{address.rsplit('/', 1)[1]}"
        if (folder / result).exists():
            print(f"{part}: is there")
            continue
        waiting = f"{part}: another download into {folder} is at work; this one waits for it"
        with files.locked(folder / ".download.lock", waiting):
            if not (folder / result).exists():
                bring(address, folder, result)
        print(f"{part}: is in {folder}")


def _check_year(folder: Path, part: str, year: str) -> None:
    """ValueError where something of the other year is there: together they would be no dataset."""
    year = "2014" if part == "karpathy" else year
    other = {"2014": "2017", "2017": "2014"}[year]
    for name, (_, result) in PARTS.items():
        there = folder / result.format(year=other)
        if there.exists() and (name != "karpathy" or other == "2014"):
            raise ValueError(f"{there} is of {other}, {part} of {year}: one folder holds one year, set DATA to another")


def bring(address: str, folder: Path, result: str) -> None:
    """Fetch an archive, check it, unpack it beside its place, move it there; `result` is there when everything is.

    Each stage leaves something of another name, whole or not there, so that a process killed between two goes on.
    """
    archive = folder / address.rsplit("/", 1)[1]
    unpacking, unpacked = Path(f"{archive}.unpacking"), Path(f"{archive}.unpacked")
    if not unpacked.exists():
        if not archive.exists():
            fetch(address, archive)
        try:
            own = check(archive)
            unpack(archive, unpacking, result)
        except ValueError as error:
            archive.unlink()
            raise ValueError(
                f"{error}. It was deleted: run the same again, or fetch from elsewhere with --mirror"
            ) from None
        if own is not None:
            files.write(folder / OURS, json.dumps(_read_json(folder / OURS) | {archive.name: own}, indent=1))
            print(
                f"{archive.name}: nobody publishes a checksum of it; the CRCs inside were right. Its SHA-256, {own}, "
                f"is now noted in {folder / OURS}, and a later download must have the same"
            )
        with files.explained(unpacked):
            unpacking.rename(unpacked)
    archive.unlink(missing_ok=True)
    top = result.split("/")[0]
    with files.explained(folder / top):
        if (folder / top).exists():  # with something else in it; the result comes last
            for file in sorted((unpacked / top).iterdir(), key=lambda file: file == unpacked / result):
                file.replace(folder / top / file.name)
        else:
            (unpacked / top).replace(folder / top)
    shutil.rmtree(unpacked)


# ------------------------------------------------------------------------------------------------------------ fetching


class Interrupted(Exception):
    """Less came than was to come; to ask again may help."""


def fetch(address: str, file: Path) -> None:
    """The file at an address, going on where an earlier call was stopped, and asking again as long as it may help.

    What is there so far is `file` + ".part"; ".part.json" beside it tells of which version of the file it is. Raises
    OSError if the server does not give the file, or the disk does not take it.
    """
    half, tries, most = Path(f"{file}.part"), 0, 0
    while True:
        try:
            _ask(address, half)
            break
        except Interrupted as problem:
            have = _size(half)
            tries, most = (1, have) if have > most else (tries + 1, most)
            if tries > len(PAUSES):
                raise OSError(
                    f"{address}: {problem}, after {len(PAUSES)} more tries; {have:,} bytes are there, and the same "
                    "command goes on from them"
                ) from None
            pause = PAUSES[tries - 1]
            tqdm.write(f"{file.name}: {problem}; again in {pause} s", file=sys.stderr)
            time.sleep(pause)
    with files.explained(file):
        half.replace(file)
        _about(half).unlink(missing_ok=True)


def _ask(address: str, half: Path) -> None:
    """Ask the server once for what is missing and append it. Raises Interrupted if the file is not whole then."""
    about, have = _read_json(_about(half)), _size(half)
    total, version = about.get("total"), about.get("version")
    if have and have == total:
        return
    headers = {"Accept-Encoding": "identity"}
    if have and total:
        headers |= {"Range": f"bytes={have}-"} | ({"If-Range": version} if version else {})
    with _open(urllib.request.Request(address, headers=headers), half) as answer:
        if answer.status == 206:
            if answer.headers["Content-Range"] != f"bytes {have}-{total - 1}/{total}":
                _forget(half)
                raise Interrupted("the server sent another piece than was asked for")
        else:  # the whole file: the first time, or because it is another one now, or the server knows no pieces
            _forget(half)
            have, length, tag = 0, answer.headers["Content-Length"] or "", answer.headers["ETag"] or ""
            total = int(length) if length.isdecimal() else None
            version = (
                tag if tag.startswith('"') else answer.headers["Last-Modified"]
            )  # a weak tag says nothing of bytes
            files.write(_about(half), json.dumps({"total": total, "version": version}))
        # pictures hardly shrink in an archive: it needs its own size once more when it is unpacked
        _check_room(half.parent, 2 * (total or 0) - have, f"{address} and what is in it")
        bar = tqdm(total=total, initial=have, unit="B", unit_scale=True, desc=half.stem)
        with bar, files.explained(half), open(half, "ab") as target:
            while (total is None or have < total) and (block := _read(answer)):
                block = block[: None if total is None else total - have]
                target.write(block)
                have += len(block)
                bar.update(len(block))
    if total is not None and have < total:
        raise Interrupted(f"the connection ended after {have:,} of {total:,} bytes")


def _open(request: urllib.request.Request, half: Path) -> http.client.HTTPResponse:
    try:
        return urllib.request.urlopen(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        error.close()
        said = f"the server answers {error.code} {error.reason}"
        if error.code == 416:  # it has no such bytes, so these are not the beginning of its file
            _forget(half)
        elif error.code < 500 and error.code not in (408, 425, 429):
            raise OSError(f"{request.full_url}: {said}") from None
        raise Interrupted(said) from None
    except (OSError, http.client.HTTPException) as error:
        raise Interrupted(_said(error)) from None


def _read(answer: http.client.HTTPResponse) -> bytes:
    """Some more bytes, as many as are there; none at the end."""
    try:
        return answer.read1(BLOCK)
    except (
        OSError,
        http.client.HTTPException,
        ValueError,
    ) as error:  # ValueError: lengths of chunks that are no numbers
        raise Interrupted(_said(error)) from None


def _said(error: Exception) -> str:
    return str(getattr(error, "reason", error)) or type(error).__name__


def _about(half: Path) -> Path:
    return Path(f"{half}.json")


def _forget(half: Path) -> None:
    with files.explained(half):
        half.unlink(missing_ok=True)


def _size(file: Path) -> int:
    return file.stat().st_size if file.exists() else 0


def _read_json(file: Path) -> dict:
    """A small JSON file of this script's; {} if it is not there or not whole."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


# ------------------------------------------------------------------------------------------------------------ checking


def check(archive: Path) -> str | None:
    """Compare the checksum with the recorded one, ours or the world's; ValueError if it is another.

    Returns None, or the SHA-256 if there is none recorded yet: then the CRCs inside (`unpack` checks them) must do.
    """
    ours = _read_json(archive.parent / OURS).get(archive.name)
    known = MD5.get(archive.name, ours)
    digest = hashlib.md5(usedforsecurity=False) if archive.name in MD5 else hashlib.sha256()
    bar = tqdm(total=_size(archive), unit="B", unit_scale=True, desc=f"checking {archive.name}")
    with bar, open(archive, "rb") as file:
        while block := file.read(BLOCK):
            digest.update(block)
            bar.update(len(block))
    if known is None:
        return digest.hexdigest()
    if digest.hexdigest() != known:
        where = "" if archive.name in MD5 else f", noted in {archive.parent / OURS} at its first download"
        raise ValueError(
            f"{archive} is not the file it should be: its {digest.name} is {digest.hexdigest()}, not {known}{where}"
        )
    return None


def _check_room(folder: Path, need: int, what: str) -> None:
    free = shutil.disk_usage(folder).free
    if need > free:
        raise OSError(
            f"{folder}: {what} need {need / 1e9:,.2f} GB, and the disk has {free / 1e9:,.2f} GB free: make room, or "
            "set DATA to a folder on another disk"
        )


# ----------------------------------------------------------------------------------------------------------- unpacking


def unpack(archive: Path, folder: Path, result: str) -> None:
    """The file or folder `result` of a zip, with all that lies beside it in its folder there, into a fresh `folder`.

    Raises ValueError if the archive is damaged or holds what no archive of pictures has any business to hold; then, and
    after any other fault, the folder is not there.
    """
    shutil.rmtree(folder, ignore_errors=True)  # an earlier process may have been killed
    try:
        with zipfile.ZipFile(archive) as content:
            for entry in tqdm(_entries(content, archive, result), unit="file", desc=f"unpacking {archive.name}"):
                with files.explained(folder):
                    content.extract(entry, folder)  # checks its CRC
        if not (folder / result).exists():
            raise ValueError(f"{archive} does not hold {result}")
        if hasattr(os, "sync"):
            os.sync()  # what is moved into place later must be on the disk
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, EOFError, UnicodeDecodeError) as error:
        shutil.rmtree(folder, ignore_errors=True)
        raise ValueError(f"{archive} is not a whole zip file ({error})") from None
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _entries(content: zipfile.ZipFile, archive: Path, result: str) -> list[zipfile.ZipInfo]:
    """What is to be unpacked, if all of the archive is harmless."""
    for entry in content.infolist():
        paths.inside(archive.parent, entry.filename, archive)
        kind = stat.S_IFMT(entry.external_attr >> 16)  # 0 where the archive was not made on Unix
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR) or entry.flag_bits & 1:
            raise ValueError(f"{archive}: {entry.filename!r} is a link, a device or encrypted")
        if entry.header_offset < 0:
            raise zipfile.BadZipFile("an entry before its beginning")
        if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise zipfile.BadZipFile(f"{entry.filename!r} is compressed by method {entry.compress_type}")
    entries = [e for e in content.infolist() if e.filename.split("/")[0] == result.split("/")[0]]
    size = sum(entry.file_size for entry in entries)
    if len(entries) > MOST_FILES or size > MOST_TIMES * _size(archive) + BLOCK:
        raise ValueError(f"{archive} would unpack to {len(entries):,} files of {size / 1e9:,.2f} GB together")
    if len({entry.filename.casefold() for entry in entries}) < len(entries):
        raise ValueError(f"{archive} holds two files of one name")
    _check_room(archive.parent, size, f"the files in {archive.name}")
    return entries


if __name__ == "__main__":
    try:
        main()
    except (ValueError, OSError) as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit("stopped; the same command goes on from here")
