"""What a user relies on in `scripts.download`: whatever a server does, the files are whole and right, or a sentence
says why not. The server is a real one, on loopback; what it does wrong is drawn from seeds."""

import contextlib
import hashlib
import http.server
import io
import itertools
import json
import random
import re
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
import zipfile
from pathlib import Path

import pytest
from conftest import LONG

from dataset import archives, download, fetching, files, paths
from dataset.loading import load_records
from scripts.download import main

ROOT = Path(__file__).parents[2]
NAME = "annotations_trainval2017.zip"


class Server(http.server.ThreadingHTTPServer):
    """Serves `content` by name, with Range and ETag as COCO's server does, but for what `faults` says.

    A fault is a word for each request, in their order; when they are used up, all is well.
    """

    daemon_threads = True

    def __init__(self, content: dict[str, bytes]):
        super().__init__(("127.0.0.1", 0), Handler)
        self.content, self.faults, self.asked, self.sent, self.draw = content, iter(()), [], 0, random.Random(0)
        self.address = f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, *_):
        pass  # clients that go away


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        server, given = self.server, self.headers["Range"]
        fault = next(server.faults, "none")
        server.asked.append(given)
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


FAULTS = ["cuts", "resets", "stalls", "503", "500", "429", "416", "ignores Range", "another piece", "no tag"]
LIES = ["says too much", "says too little", "wrong bytes", "no length"]


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
def server(monkeypatch):
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
    with Server(content) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch) -> Path:
    """Where COCO goes; the waits are short."""
    monkeypatch.setattr(paths, "DATA", tmp_path / "data")
    monkeypatch.setattr(fetching, "PAUSES", (0.01,) * 7)
    return tmp_path / "data/coco"


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


# --- when all goes well


def test_coco_is_fetched_into_the_folder_that_the_notebooks_read(server, place, capsys):
    fetch(server)
    assert [record.captions for record in load_records("coco")] == [("a red square",)] * 2
    wanted = (NAME, "train2017.zip", "val2017.zip")
    assert tree(place) == {path: data for name in wanted for path, data in unzipped(server.content[name]).items()}
    asked = len(server.asked)
    fetch(server)
    assert capsys.readouterr().out.count("is there") == 3 and len(server.asked) == asked  # nobody is asked again


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        (("annotations", 2017), ("annotations", 2014), "captions_train2017.json is of 2017, annotations of 2014: one "),
        (("annotations", 2014), ("val", 2017), "captions_train2014.json is of 2014, val of 2017: one folder holds one"),
        (
            ("val", 2017),
            ("karpathy", 2017),
            "val2017 is of 2017, karpathy of 2014: one folder holds one year, set DATA",
        ),
        (("karpathy", 2017), ("train", 2017), "dataset_coco.json is of 2014, train of 2017: one folder holds one year"),
    ],
)
def test_what_is_of_another_year_is_refused_before_it_is_asked_for(server, place, first, second, message):
    fetch(server, first[0], year=first[1])
    before, asked = tree(place), len(server.asked)
    with pytest.raises(ValueError, match=message):
        fetch(server, second[0], year=second[1])
    assert tree(place) == before and len(server.asked) == asked


def test_the_splits_of_papers_lie_beside_the_year_they_are_of(server, place):
    fetch(server, "karpathy", "annotations", "val", year=2014)
    fetch(server, "karpathy")
    assert {"dataset_coco.json", "annotations", "val2014"} <= {path.name for path in place.iterdir()}


def test_the_real_addresses_and_sums_are_cocos():
    addresses = {
        part: address.format(COCO=download.COCO, KARPATHY=download.KARPATHY, year="2014")
        for part, (address, _) in download.PARTS.items()
    }
    assert addresses["train"] == "http://images.cocodataset.org/zips/train2014.zip"
    assert addresses["annotations"] == "http://images.cocodataset.org/annotations/annotations_trainval2014.zip"
    fetched = {
        address.format(COCO=download.COCO, KARPATHY="", year=year).rsplit("/", 1)[-1]
        for address, _ in download.PARTS.values()
        for year in (2014, 2017)
    }
    assert set(download.MD5) == fetched - {""} and all(re.fullmatch("[0-9a-f]{32}", x) for x in download.MD5.values())


# --- a server that fails


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_of_the_server_is_survived(server, place, fault, request):
    if fault == "stalls":
        request.getfixturevalue("impatient")
    server.faults = iter(["cuts", fault, "cuts", fault])  # cut first, so that there is something to go on from
    fetch(server, "annotations")
    assert tree(place) == unzipped(server.content[NAME])


def test_a_piece_that_nobody_asked_for_is_not_taken(server, place):
    server.faults = iter(["unasked piece"])
    fetch(server, "annotations")
    assert tree(place) == unzipped(server.content[NAME])


def test_a_stopped_download_goes_on_where_it_ended(server, place):
    server.faults = itertools.chain(["cuts", "cuts"], itertools.repeat("503"))
    with pytest.raises(
        OSError, match=r"503 .*, after 7 more tries; [\d,]+ bytes are there, and the same command goes on"
    ):
        fetch(server, "annotations")
    there = (place / f"{NAME}.part").stat().st_size
    server.faults, server.sent, server.asked = iter(()), 0, []
    fetch(server, "annotations")
    assert server.asked == [f"bytes={there}-"] and server.sent == len(server.content[NAME]) - there > 0
    assert tree(place) == unzipped(server.content[NAME])


def test_a_file_that_changed_meanwhile_is_begun_anew(server, place, monkeypatch):
    server.faults = itertools.chain(["cuts"], itertools.repeat("503"))
    with pytest.raises(OSError):
        fetch(server, "annotations")
    server.content[NAME], server.faults = server.content["annotations_trainval2014.zip"], iter(())
    monkeypatch.delitem(download.MD5, NAME)
    with pytest.raises(ValueError, match=r"does not hold annotations/captions_train2017\.json"):  # whole, but of 2014
        fetch(server, "annotations")


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("404", "server answers 404"),
        ("403", "server answers 403"),
        ("503", "server answers 503 Service Unavailable, after 7 more tries"),
        ("stalls", "timed out, after 7 more tries"),
        ("says too much", r"after [\d,]+ of [\d,]+ bytes, after 7 more|416"),
    ],
)
def test_what_cannot_be_had_is_said_in_one_sentence(server, place, fault, message, request):
    if fault == "stalls":
        request.getfixturevalue("impatient")
    server.draw.randrange = lambda _: 0  # it stalls at the first byte
    server.faults = itertools.repeat(fault)
    with pytest.raises(OSError, match=message) as caught:
        fetch(server, "annotations")
    assert f"{server.address}/{NAME}" in str(caught.value) and "\n" not in str(caught.value)
    assert not (place / "annotations").exists()
    assert len(server.asked) == (1 if fault in ("404", "403") else 8)


def test_nobody_listens(place, monkeypatch):
    with pytest.raises(OSError, match=r"refused, after 7 more tries"):
        main(["coco", "--mirror", "http://127.0.0.1:9"])


@pytest.mark.parametrize("fault", ["wrong bytes", "says too little"])
def test_wrong_bytes_are_found_and_thrown_away(server, place, fault):
    server.faults = iter([fault])
    with pytest.raises(ValueError, match=rf"{NAME} is not the file it should be: its md5 is .*It was deleted"):
        fetch(server, "annotations")
    assert tree(place) == {}
    fetch(server, "annotations")
    assert tree(place) == unzipped(server.content[NAME])


@pytest.mark.parametrize("seed", range(400 if LONG else 12))
def test_faults_at_random_end_in_the_right_files_or_in_a_sentence(server, place, impatient, seed):
    server.draw = draw = random.Random(seed)
    server.faults = iter(draw.choices([*FAULTS, *LIES], k=draw.randrange(1, 15)))
    for _ in range(30):
        try:
            fetch(server, "annotations", "val")
            break
        except (OSError, ValueError) as error:
            assert "\n" not in str(error) and (server.address in str(error) or str(place) in str(error))
    wanted = unzipped(server.content[NAME]) | unzipped(server.content["val2017.zip"])
    assert tree(place) == wanted


# --- checksums


def test_a_file_without_a_published_sum_gets_ours_at_its_first_download(server, place, capsys):
    fetch(server, "karpathy")
    own = hashlib.sha256(server.content["caption_datasets.zip"]).hexdigest()
    assert (
        f"nobody publishes a checksum of it; the CRCs inside were right. Its SHA-256, {own}" in capsys.readouterr().out
    )
    assert json.loads((place / "checksums.json").read_text()) == {"caption_datasets.zip": own}
    assert set(tree(place)) == {"checksums.json", "dataset_coco.json"}  # a second dataset*.json would not be loadable
    (place / "dataset_coco.json").unlink()
    fetch(server, "karpathy")
    (place / "dataset_coco.json").unlink()
    server.content["caption_datasets.zip"] = zipped({"dataset_coco.json": "{}"})
    with pytest.raises(ValueError, match=r"its sha256 is .*noted in .*checksums\.json at its first download"):
        fetch(server, "karpathy")
    assert not (place / "dataset_coco.json").exists()


def test_a_wrong_crc_is_found_where_there_is_no_sum(server, place):
    whole = bytearray(server.content["caption_datasets.zip"])
    whole[whole.index(b"dataset_coco.json") + len("dataset_coco.json") + 3] ^= 1
    server.content["caption_datasets.zip"] = bytes(whole)
    with pytest.raises(ValueError, match="is not a whole zip file"):
        fetch(server, "karpathy")
    assert tree(place) == {}


@pytest.mark.parametrize("seed", range(1000 if LONG else 60))
def test_a_damaged_archive_is_refused_or_right(server, place, seed):
    draw, name = random.Random(seed), "caption_datasets.zip"
    right, damaged = unzipped(server.content[name]), bytearray(server.content[name])
    for _ in range(draw.choice([1, 1, 3])):
        damaged[draw.randrange(len(damaged))] = draw.randrange(256)
    place.mkdir(parents=True)
    (place / name).write_bytes(damaged[: draw.choice([None, None, draw.randrange(len(damaged))])])
    try:
        archives.unpack(place / name, place / "new", "dataset_coco.json")
        assert (place / "new/dataset_coco.json").read_bytes() == right["dataset_coco.json"]
    except ValueError as error:
        assert str(place / name) in str(error) and "\n" not in str(error)
        assert not (place / "new").exists()


# --- archives that want out, or all of the disk


def entry(name: str, kind: int = 0, method: int = zipfile.ZIP_STORED) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.external_attr, info.compress_type = kind << 16, method
    return info


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"../owned": b"x"}, "leads out of"),
        ({"dataset_coco.json/../../owned": b"x"}, "leads out of"),
        ({"/tmp/owned": b"x"}, "leads out of"),
        ({"C:\\owned": b"x"}, "leads out of"),
        ({"a\\..\\..\\owned": b"x"}, "leads out of"),
        ({entry("owned", stat.S_IFLNK | 0o777): b"/etc"}, "'owned' is a link"),
        ({entry("owned", stat.S_IFIFO): b""}, "'owned' is a link, a device"),
        ({"dataset_coco.json": b"0" * 10_000_000}, "would unpack to 1 files of 0.01 GB"),
        (
            {entry("x.jpg", method=zipfile.ZIP_LZMA): b"x"},
            r"is not a whole zip file \('x.jpg' is compressed by method 14",
        ),
        ({entry("dataset_coco.json"): b"[]"}, "holds two files of one name"),
        ({"DATASET_coco.json": b"", "dataset_coco.json": b""}, None),
        ({"other.json": b"{}"}, "does not hold dataset_coco.json"),
    ],
)
def test_archives_that_want_out_or_all_of_the_disk_are_refused(server, place, entries, message):
    content = entries if message is None else {"dataset_coco.json": b"{}"} | entries
    if "does not hold" in (message or ""):
        content = entries
    server.content["caption_datasets.zip"] = zipped(content)
    if message is None:  # another file of nearly the same name is none of ours
        return fetch(server, "karpathy")
    with pytest.raises(ValueError, match=f"{message}.*It was deleted"):
        fetch(server, "karpathy")
    assert tree(place) == {} and not list(place.parent.parent.rglob("*owned*"))


def encrypted(content: bytes) -> bytes:
    """The archive with its first file marked so in the directory."""
    at = content.index(b"PK\x01\x02") + 8
    return content[:at] + b"\x01" + content[at + 1 :]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (encrypted, "'dataset_coco.json' is a link, a device or encrypted"),
        (lambda content: content.replace("café".encode(), b"caf\xff\xff"), "is not a whole zip file .*can't decode"),
    ],
)
def test_encrypted_files_and_names_that_are_no_text_are_refused(server, place, change, message):
    server.content["caption_datasets.zip"] = change(zipped({"dataset_coco.json": b"{}", "café": b""}))
    with pytest.raises(ValueError, match=rf"caption_datasets\.zip.*{message}.*It was deleted"):
        fetch(server, "karpathy")
    assert tree(place) == {}


def test_an_archive_that_lies_about_its_size_fills_no_disk(server, place):
    """A zip's directory may say that a bomb is small: no more than that is written."""
    bomb = bytearray(zipped({"dataset_coco.json": b"0" * 50_000_000}))
    size = (50_000_000).to_bytes(4, "little")
    for _ in range(bomb.count(size)):
        at = bomb.index(size)
        bomb[at : at + 4] = (5000).to_bytes(4, "little")
    server.content["caption_datasets.zip"] = bytes(bomb)
    with pytest.raises(ValueError, match="is not a whole zip file"):
        fetch(server, "karpathy")
    assert tree(place) == {}


# --- disks, processes, kills


def test_too_small_a_disk_is_found_before_anything_is_fetched(server, place):
    server.faults = iter(["says a million GB"])
    with pytest.raises(
        OSError, match=r"need 2,000,0\d\d\.\d\d GB, and the disk has .* GB free: make room, or set DATA"
    ):
        fetch(server, "annotations")
    assert not (place / f"{NAME}.part").exists()


def test_a_disk_that_fills_meanwhile_is_said(server, small_disk, monkeypatch):
    monkeypatch.setattr(paths, "DATA", small_disk)
    server.content[NAME], server.faults = bytes(20_000_000), iter(["no length"])
    with pytest.raises(OSError, match=rf"{NAME}\.part could not be written: the disk is full\. To go on, make room"):
        fetch(server, "annotations")


CHILD = """
import sys
from pathlib import Path
from dataset import download, paths
from scripts.download import main
paths.DATA = Path(sys.argv[1])
download.MD5.clear()
main(["coco", "--mirror", sys.argv[2], "--part", "annotations", "--part", "val"])
"""


def child(server: Server, place: Path) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", CHILD, str(place.parent), server.address],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )


def wanted(server: Server) -> dict[str, bytes]:
    return unzipped(server.content[NAME]) | unzipped(server.content["val2017.zip"])


def test_two_at_once_fetch_once(server, place):
    with files.locked(place / ".download.lock", ""):  # both start while a third is at work
        both = [child(server, place) for _ in range(2)]
        for process in both:
            assert "another download into" in (line := process.stdout.readline()) and "this one waits for it" in line
    assert [process.wait(timeout=120) for process in both] == [0, 0] and len(server.asked) == 2
    there = tree(place)
    there.pop("checksums.json")
    assert there == wanted(server)


def test_a_lock_does_not_outlive_its_holder(tmp_path):
    lock = str(tmp_path / "lock")
    code = "import time\nfrom dataset import files\n"
    code += f"with files.locked({lock!r}, ''):\n print('in', flush=True)\n time.sleep(99)"
    holder = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert holder.stdout.readline() == "in\n"
    threading.Timer(0.5, holder.kill).start()
    waiting = io.StringIO()
    with contextlib.redirect_stdout(waiting), files.locked(tmp_path / "lock", "waits"):
        assert holder.wait() == -signal.SIGKILL and waiting.getvalue() == "waits\n"


@pytest.mark.parametrize("seed", range(50 if LONG else 3))
def test_killed_at_any_moment_it_goes_on(server, place, seed):
    server.faults, draw = itertools.repeat("slow"), random.Random(seed)
    process = child(server, place)
    while not server.asked:  # Python and its modules are there
        time.sleep(0.01)
    time.sleep(draw.uniform(0, 0.5))
    process.kill()
    process.communicate()
    server.faults = iter(())
    assert child(server, place).wait(timeout=120) == 0
    there = tree(place)
    there.pop("checksums.json")
    assert there == wanted(server)
