"""Zip files from strangers -> folders, if they are whole and harmless.

Comes in: an archive and the names of what is wanted of it. Goes out: a folder with that, every file's CRC checked, or
one sentence that says what is wrong. It knows no datasets.
"""

from __future__ import annotations

import os
import shutil
import stat
import zipfile
import zlib
from pathlib import Path

from dataset import files
from dataset.paths import inside
from dataset.progress import shown

MAX_FILES, MAX_RATIO = 1_000_000, 100  # in an archive: files, and bytes unpacked for each byte of it
SMALL = 1 << 18  # bytes that may be unpacked whatever the ratio


def unpack(archive: Path, folder: Path, *results: str) -> None:
    """Files or folders of a zip, each with all that lies beside it in its folder there, into a fresh `folder`.

    Raises ValueError if the archive is damaged or holds what no archive of pictures has any business to hold; then, and
    after any other fault, the folder is not there.
    """
    shutil.rmtree(folder, ignore_errors=True)  # an earlier process may have been killed
    try:
        with zipfile.ZipFile(archive) as content:
            for entry in shown(_entries(content, archive, results), f"unpacking {archive.name}", "file"):
                with files.explained(folder):
                    content.extract(entry, folder)  # checks its CRC
        for result in results:
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


def _entries(content: zipfile.ZipFile, archive: Path, results: tuple[str, ...]) -> list[zipfile.ZipInfo]:
    """What is to be unpacked, if all of the archive is harmless."""
    for entry in content.infolist():
        inside(archive.parent, entry.filename, archive)
        kind = stat.S_IFMT(entry.external_attr >> 16)  # 0 where the archive was not made on Unix
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR) or entry.flag_bits & 1:
            raise ValueError(f"{archive}: {entry.filename!r} is a link, a device or encrypted")
        if entry.header_offset < 0:
            raise zipfile.BadZipFile("an entry before its beginning")
        if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise zipfile.BadZipFile(f"{entry.filename!r} is compressed by method {entry.compress_type}")
    tops = {result.split("/")[0] for result in results}
    entries = [entry for entry in content.infolist() if entry.filename.split("/")[0] in tops]
    size = sum(entry.file_size for entry in entries)
    if len(entries) > MAX_FILES or size > MAX_RATIO * archive.stat().st_size + SMALL:
        raise ValueError(f"{archive} would unpack to {len(entries):,} files of {size / 1e9:,.2f} GB together")
    if len({entry.filename.casefold() for entry in entries}) < len(entries):
        raise ValueError(f"{archive} holds two files of one name")
    files.check_room(archive.parent, size, f"the files in {archive.name}")
    return entries
