"""A tiny COCO on a real HTTP server, on loopback, that may do everything wrong: what the tests of downloads share."""

import contextlib
import hashlib
import http.server
import io
import json
import random
import socket
import threading
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from dataset import download, fetching, paths
from scripts.download import main

NAME = "annotations_trainval2017.zip"


class Server(http.server.ThreadingHTTPServer):
    """Serves `content` by name, with Range and ETag as COCO's server does, but for what `faults` says.

    A fault is a word for each request, in their order; when they are used up, all is well. `at_first` is the fault of
    each address when it is asked for the first time.
    """

    daemon_threads = True

    def __init__(self, content: dict[str, bytes]):
        super().__init__(("127.0.0.1", 0), Handler)
        self.content, self.faults, self.asked, self.sent, self.draw = content, iter(()), [], 0, random.Random(0)
        self.addresses: list[str] = []
        self.at_first: str | None = None
        self.address = f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, *_):
        pass  # clients that go away


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        server, given = self.server, self.headers["Range"]
        fault = next(server.faults, "none")
        if server.at_first and self.path not in server.addresses:
            fault = server.at_first
        server.asked.append(given)
        server.addresses.append(self.path)
        content = server.content.get(self.path.rsplit("/", 1)[1])
        if content is None:
            return self.send_error(404)
        if fault.isdecimal():
            return self.send_error(int(fault))
        tag = f'"{hashlib.md5(content).hexdigest()}"'
        start = int(given.removeprefix("bytes=").rstrip("-")) if given and fault != "ignores Range" else 0
        if self.headers["If-Range"] not in (None, tag):
            start = 0
        if start >= len(content):
            return self.send_error(416)
        piece = bytearray(content[start:])
        length, claimed = len(piece), start
        if fault == "says too much":
            length += 1000
        if fault == "says a million GB":
            length = 10**15
        if fault == "says too little":
            length -= length // 3
        if fault == "another piece":
            claimed += 1
        if fault == "wrong bytes":
            piece[server.draw.randrange(len(piece))] ^= 0x55
        self.send_response(206 if start or fault == "unasked piece" else 200)
        if fault != "no length":
            self.send_header("Content-Length", str(length))
        if fault != "no tag":
            self.send_header("ETag", tag)
        if start:
            self.send_header("Content-Range", f"bytes {claimed}-{len(content) - 1}/{len(content)}")
        self.send_header("Connection", "close")
        self.end_headers()
        most = server.draw.randrange(len(piece)) if fault in ("cuts", "stalls", "resets") else len(piece)
        server.sent += most
        for i in range(0, most, 4096):
            self.wfile.write(piece[i : min(most, i + 4096)])
            if fault == "slow":
                time.sleep(0.005)
        if fault == "stalls":
            time.sleep(2 * fetching.TIMEOUT)
        if fault == "resets":
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        self.close_connection = True

    def log_message(self, *_):
        pass


def zipped(entries: dict[str | zipfile.ZipInfo, str | bytes]) -> bytes:
    """A zip file of these, as bytes."""
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return whole.getvalue()


def annotations(year: int, split: str, number: int) -> dict[str, str]:
    image = {"id": number, "file_name": f"{number:012d}.jpg", "width": 8, "height": 8}
    caption = {"id": number, "image_id": number, "caption": "a red square"}
    content = json.dumps({"images": [image], "annotations": [caption]})
    noise = random.Random(number).randbytes(40_000).hex()  # so that there is something to cut
    return {
        f"annotations/captions_{split}{year}.json": content,
        f"annotations/person_keypoints_{split}{year}.json": json.dumps({"noise": noise}),
    }


@pytest.fixture
def place(tmp_path, monkeypatch) -> Path:
    """Where COCO goes; the waits are short."""
    monkeypatch.setattr(paths, "DATA", tmp_path / "data")
    monkeypatch.setattr(fetching, "PAUSES", (0.01,) * 7)
    return tmp_path / "data/coco"


@pytest.fixture
def server(place, monkeypatch):
    """A server with the archives of a tiny COCO, whose checksums are the recorded ones."""
    content = {}
    for year in (2014, 2017):
        content[f"annotations_trainval{year}.zip"] = zipped(annotations(year, "train", 1) | annotations(year, "val", 2))
        for split, number in (("train", 1), ("val", 2)):
            name = f"{split}{year}"
            content[f"{name}.zip"] = zipped(
                {f"{name}/{number:012d}.jpg": random.Random(year + number).randbytes(99_000)}
            )
    for name, data in content.items():
        monkeypatch.setitem(download.MD5, name, hashlib.md5(data).hexdigest())
    karpathy = {f"dataset_{name}.json": json.dumps({"dataset": name}) for name in ("coco", "flickr8k")}
    content["caption_datasets.zip"] = zipped(karpathy | {"__MACOSX/x": ""})
    with serving(content) as server:
        yield server


@contextlib.contextmanager
def serving(content: dict[str, bytes]) -> Iterator[Server]:
    """A server with this content, for a while."""
    with Server(content) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def impatient(monkeypatch):
    """A client that waits a third of a second for the next byte: for servers that stall."""
    monkeypatch.setattr(fetching, "TIMEOUT", 0.3)


def fetch(server: Server, *parts: str, year: int = 2017) -> None:
    chosen = [word for part in parts for word in ("--part", part)]
    main(["coco", "--year", str(year), "--mirror", server.address, *chosen])


def tree(folder: Path) -> dict[str, bytes]:
    """Every file in a folder but the lock."""
    there = {file.relative_to(folder).as_posix(): file.read_bytes() for file in folder.rglob("*") if file.is_file()}
    there.pop(".download.lock", None)
    return there


def unzipped(content: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}
