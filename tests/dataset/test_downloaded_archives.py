"""What is unpacked from a downloaded archive is what its checksum or its CRCs say, and nothing leaves the folder."""

import hashlib
import json
import random
import stat
import zipfile

import pytest
from coco_server import fetch, tree, unzipped, zipped
from conftest import LONG

from dataset import archives

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
