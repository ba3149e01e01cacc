"""One file from a web server, however often the connection breaks.

Comes in: an address and a path. Goes out: the file, whole as far as the server says how long it is, or one sentence
with the address. What came so far is kept, and a later call asks only for the rest (HTTP's Range, with If-Range against
a file that has changed). It does not know what the file holds.
"""

from __future__ import annotations

import http.client
import json
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

from tqdm import tqdm

from dataset import files
from dataset.progress import shown

BLOCK = 1 << 18  # bytes read at once
TIMEOUT = 60.0  # seconds without a byte
PAUSES = (1, 2, 4, 8, 16, 32, 64)  # seconds before the next try; from the first again whenever something came


class Interrupted(Exception):
    """Less came than was to come; to ask again may help."""


class Unavailable(OSError):
    """The server does not give this file, however often it is asked; it may give others."""


def fetch(address: str, file: Path, progress: bool = True) -> None:
    """The file at an address, going on where an earlier call was stopped, and asking again as long as it may help.

    What is there so far is `file` + ".part"; ".part.json" beside it says of which version of the file it is. Raises
    Unavailable if the server does not give the file, another OSError if the disk does not take it.
    """
    part, tries, most = Path(f"{file}.part"), 0, 0
    while True:
        try:
            _request_rest(address, part, progress)
            break
        except Interrupted as problem:
            have = _size(part)
            tries, most = (1, have) if have > most else (tries + 1, most)
            if tries > len(PAUSES):
                raise Unavailable(
                    f"{address}: {problem}, after {len(PAUSES)} more tries; {have:,} bytes are there, and the same "
                    "command goes on from them"
                ) from None
            pause = PAUSES[tries - 1]
            tqdm.write(f"{file.name}: {problem}; again in {pause} s", file=sys.stderr)
            time.sleep(pause)
    with files.explained(file):
        part.replace(file)
        _version_file(part).unlink(missing_ok=True)


def _request_rest(address: str, part: Path, progress: bool) -> None:
    """Ask the server once for what is missing and append it. Raises Interrupted if the file is not whole then."""
    about, have = files.read_dict(_version_file(part)), _size(part)
    total, version = about.get("total"), about.get("version")
    if have and have == total:
        return
    headers = {"Accept-Encoding": "identity"}
    if have and total:
        headers |= {"Range": f"bytes={have}-"} | ({"If-Range": version} if version else {})
    with _open(urllib.request.Request(address, headers=headers), part) as answer:
        if answer.status == 206:
            if total is None or answer.headers["Content-Range"] != f"bytes {have}-{total - 1}/{total}":
                _discard(part)
                raise Interrupted("the server sent another piece than was asked for")
        else:  # the whole file: the first time, or because it is another one now, or the server knows no pieces
            have, total = 0, _begin(answer, part)
        # pictures hardly shrink in an archive: it needs its own size once more when it is unpacked
        files.check_room(part.parent, 2 * (total or 0) - have, f"{address} and what is in it")
        have = _append(answer, part, have, total, progress)
    if total is not None and have < total:
        raise Interrupted(f"the connection ended after {have:,} of {total:,} bytes")


def _begin(answer: http.client.HTTPResponse, part: Path) -> int | None:
    """Note which version of the file this is, for a later call to go on with; returns its length if it is known."""
    _discard(part)
    length, tag = answer.headers["Content-Length"] or "", answer.headers["ETag"] or ""
    total = int(length) if length.isdecimal() else None
    version = tag if tag.startswith('"') else answer.headers["Last-Modified"]  # a weak tag says nothing of bytes
    files.write(_version_file(part), json.dumps({"total": total, "version": version}))
    return total


def _append(answer: http.client.HTTPResponse, part: Path, have: int, total: int | None, progress: bool) -> int:
    """Write what comes behind the `have` bytes that are there; returns how many there are then."""
    bar = shown(None, part.stem, "B", not progress, unit_scale=True, total=total, initial=have)
    with bar, files.explained(part), open(part, "ab") as target:
        while (total is None or have < total) and (block := _read(answer)):
            block = block[: None if total is None else total - have]
            target.write(block)
            have += len(block)
            bar.update(len(block))
    return have


def _open(request: urllib.request.Request, part: Path) -> http.client.HTTPResponse:
    """Send a request. Raises OSError if to ask again does not help, Interrupted if it may."""
    try:
        return urllib.request.urlopen(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        error.close()
        reason = f"the server answers {error.code} {error.reason}"
        if error.code == 416:  # it has no such bytes, so these are not the beginning of its file
            _discard(part)
        elif error.code < 500 and error.code not in (408, 425, 429):
            raise Unavailable(f"{request.full_url}: {reason}") from None
        raise Interrupted(reason) from None
    except (OSError, http.client.HTTPException) as error:
        raise Interrupted(_reason(error)) from None


def _read(answer: http.client.HTTPResponse) -> bytes:
    """Some more bytes, as many as are there; none at the end."""
    try:
        return answer.read1(BLOCK)
    except (OSError, http.client.HTTPException, ValueError) as error:  # ValueError: a chunk's length is no number
        raise Interrupted(_reason(error)) from None


def _reason(error: Exception) -> str:
    return str(getattr(error, "reason", error)) or type(error).__name__


def _version_file(part: Path) -> Path:
    return Path(f"{part}.json")


def _discard(part: Path) -> None:
    with files.explained(part):
        part.unlink(missing_ok=True)


def _size(file: Path) -> int:
    return file.stat().st_size if file.exists() else 0
