"""Real photographs by one command: some of COCO's, each fetched by itself, and Flickr8k.

Whatever the server does, they are whole, are pictures, and make a dataset, or a sentence says why not.
"""

import hashlib
import io
import itertools
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from coco_server import Server, serving, tree, unzipped, zipped
from PIL import Image

from dataset import download, fetching, paths
from dataset.loading import load_records
from dataset.pictures import open_image
from scripts.download import main

ROOT = Path(__file__).parents[2]
ARCHIVE = "annotations_trainval2017.zip"
ONE = "000000000055.jpg"  # among the first to be chosen
SIZES = {"train2017": 60, "val2017": 12}


def jpeg(number: int) -> bytes:
    out = io.BytesIO()
    noise = Image.frombytes("RGB", (24, 16), random.Random(number).randbytes(24 * 16 * 3))
    noise.resize((96, 64)).save(out, "JPEG", quality=95)
    return out.getvalue()


@pytest.fixture
def coco(place, monkeypatch):
    """A server with the annotations of 72 photographs, and each of these."""
    content, entries, number = {}, {}, 0
    for name, size in SIZES.items():
        images, captions, objects = [], [], []
        for _ in range(size):
            number += 1
            images.append({"id": number, "file_name": f"{number:012d}.jpg", "width": 96, "height": 64})
            captions += [{"id": 10 * number + k, "image_id": number, "caption": f"photo {number}"} for k in range(2)]
            mask = {"counts": [96 * 64], "size": [64, 96]}
            objects.append({"id": number, "image_id": number, "category_id": 1, "bbox": [1, 2, 3, 4], "area": 12})
            objects[-1] |= {"segmentation": mask, "iscrowd": 1}
            content[f"{number:012d}.jpg"] = jpeg(number)
        entries[f"annotations/captions_{name}.json"] = json.dumps({"images": images, "annotations": captions})
        categories = [{"id": 1, "name": "dog"}, {"id": 90, "name": "cat"}]
        instances = {"images": images, "annotations": objects, "categories": categories}
        entries[f"annotations/instances_{name}.json"] = json.dumps(instances)
        content[f"{name}.zip"] = zipped({f"{name}/{i['file_name']}": content[i["file_name"]] for i in images})
    content[ARCHIVE] = zipped(entries)
    for name in (ARCHIVE, "train2017.zip", "val2017.zip"):
        monkeypatch.setitem(download.MD5, name, hashlib.md5(content[name]).hexdigest())
    with serving(content) as server:
        yield server


def fetch(server: Server, number: int | None = None, *options: str) -> None:
    some = [] if number is None else ["--images", str(number)]
    main(["coco", "--mirror", server.address, *some, *options])


def names() -> set[str]:
    """The photographs that `DATASET = "coco"` has; each is read."""
    records = load_records("coco")
    assert all(open_image(record.path).size == (96, 64) for record in records)
    return {record.path.name for record in records}


def test_so_many_photographs_are_a_dataset_and_more_are_only_the_difference(coco, place, capsys):
    fetch(coco, 20)
    records = load_records("coco")
    assert Counter(record.split for record in records) == {"train": 18, "val": 2}
    assert all(record.captions == (f"photo {record.image_id}",) * 2 for record in records)
    assert all(record.categories == ("dog",) for record in records)
    assert f"{place} holds photographs: 18 of train2017, 2 of val2017" in capsys.readouterr().out
    first, coco.addresses = names(), []
    fetch(coco, 30)
    more = names()
    assert len(more) == 30 and first < more
    assert {address.rsplit("/", 1)[1] for address in coco.addresses} == more - first  # nothing twice, no annotations
    assert {address.split("/")[1] for address in coco.addresses} == {"train2017", "val2017"}
    coco.addresses = []
    fetch(coco, 10)  # fewer than there are: they stay
    assert names() == more and coco.addresses == []


def test_more_than_there_are_is_all(coco):
    fetch(coco, 10_000)
    assert Counter(record.split for record in load_records("coco")) == {"train": 60, "val": 12}


def test_the_choice_is_the_same_on_every_machine(coco):
    fetch(coco, 4)
    assert sorted(names()) == [f"{number:012d}.jpg" for number in (22, 28, 42, 65)]


@pytest.mark.parametrize("before", [[], ["--part", "annotations"]])
def test_all_of_coco_may_follow_some_of_it(coco, place, before):
    if before:
        fetch(coco, None, *before)
    fetch(coco, 5)
    assert len(names()) == 5
    coco.addresses = []
    fetch(coco)
    assert len(names()) == 72 and coco.addresses == ["/train2017.zip", "/val2017.zip"]
    with pytest.raises(ValueError, match=r"train2017 is there, and goes with all photographs: fetch them with"):
        fetch(coco, 5)


FAULTS = ["cuts", "resets", "503", "429", "416", "another piece", "says too little", "no length", "ignores Range"]


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_of_the_server_is_survived(coco, fault):
    fetch(coco, 2)
    coco.addresses, coco.at_first = [], fault  # at every photograph
    fetch(coco, 20)
    assert len(names()) == 20


def test_a_server_that_stalls_is_asked_again(coco, impatient):
    fetch(coco, 2)
    coco.faults = iter(["stalls"] * 5)
    fetch(coco, 20)
    assert len(names()) == 20


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "the server answers 404"),
        (b"<html>Please log in</html>", "cannot be read as an image"),
        (jpeg(1)[:700], "cannot be read as an image"),
        (b"", "after 7 more tries"),  # the server has a file of no length
        ("small", "is 8 x 8 pixels, not 96 x 64"),
    ],
)
def test_one_photograph_that_is_none_is_named_left_out_and_asked_for_again(coco, capsys, content, reason):
    fetch(coco, 2)
    right = coco.content[ONE]
    if content is None:
        del coco.content[ONE]
    elif content == "small":
        out = io.BytesIO()
        Image.new("RGB", (8, 8)).save(out, "JPEG")
        coco.content[ONE] = out.getvalue()
    else:
        coco.content[ONE] = content
    fetch(coco, 20)
    told = capsys.readouterr().out
    assert f"left out: {coco.address}/train2017/{ONE}: " in told and reason in told
    assert "left out: 1 of 20 photographs; the same command asks for them again" in told
    assert len(names()) == 19 and ONE not in names()
    coco.content[ONE] = right
    fetch(coco, 20)
    assert len(names()) == 20


def test_a_server_without_photographs_is_one_sentence(coco, place):
    fetch(coco, 2)
    known, coco.content = coco.content, {}
    with pytest.raises(OSError, match=r"8 photographs in a row cannot be had, the last one: http.*404"):
        fetch(coco, 60)
    coco.content, coco.faults = known, itertools.repeat("503")
    with pytest.raises(OSError, match="server answers 503 Service Unavailable, after 7 more tries"):
        fetch(coco, 60)
    assert len(names()) == 2  # a dataset as before


def test_a_disk_that_fills_meanwhile_is_said(coco, small_disk, monkeypatch):
    monkeypatch.setattr(paths, "DATA", small_disk)
    fetch(coco, 2)
    with open(small_disk / "other", "wb") as other:
        other.write(bytes(os.statvfs(small_disk).f_bavail * 4096 - 40_000))
    monkeypatch.setattr("dataset.photographs.BYTES", 1000)
    with pytest.raises(OSError, match=r"the disk (is full|has 0\.00 GB free).* make room"):
        fetch(coco, 30)
    (small_disk / "other").unlink()
    fetch(coco, 30)
    assert len(names()) == 30


def test_too_small_a_disk_is_found_before(coco, small_disk, monkeypatch):
    monkeypatch.setattr(paths, "DATA", small_disk)
    monkeypatch.setattr("dataset.photographs.BYTES", 10**9)
    with pytest.raises(OSError, match=r"20 photographs need 20\.00 GB, and the disk has 0\.0\d GB free: make room"):
        fetch(coco, 20)


CHILD = """
import sys
from pathlib import Path
from dataset import download, paths
from scripts.download import main
paths.DATA = Path(sys.argv[1])
download.MD5.clear()
main(["coco", "--mirror", sys.argv[2], "--images", "40"])
"""


@pytest.mark.parametrize("seed", range(2))
def test_killed_at_any_moment_it_goes_on(coco, place, seed):
    command = [sys.executable, "-c", CHILD, str(place.parent), coco.address]
    coco.faults = itertools.repeat("slow")
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while len(coco.addresses) < 2 + 12 * seed:
        time.sleep(0.005)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    coco.faults = iter(())
    fetch(coco, 40)
    assert len(names()) == 40 and not list(place.rglob("*.part"))


def test_other_years_and_karpathys_splits_are_not_mixed_in(coco, place):
    fetch(coco, 2)
    with pytest.raises(ValueError, match=r"captions_train2017\.json is of 2017, annotations of 2014: one folder holds"):
        fetch(coco, 2, "--year", "2014")
    before = tree(place)
    with pytest.raises(ValueError, match=r"captions_train2017\.json is of 2017, annotations of 2014: one folder holds"):
        fetch(coco, None, "--year", "2014")
    assert tree(place) == before  # the annotations of some are still there
    shutil.rmtree(place)
    place.mkdir()
    (place / "dataset_coco.json").write_text("{}")
    with pytest.raises(ValueError, match=r"dataset_coco\.json is there, and goes with all photographs"):
        fetch(coco, 3, "--year", "2014")
    assert set(tree(place)) == {"dataset_coco.json"}


@pytest.mark.parametrize("wrong", [["flickr8k", "--images", "5"], ["coco", "--images", "5", "--part", "val"]])
def test_what_does_not_go_together_is_said(wrong, capsys):
    with pytest.raises(SystemExit):
        main(wrong)
    assert "--images goes with coco alone, and without --part" in capsys.readouterr().err


# --- Flickr8k


LISTS = {"train": [1, 2, 3], "dev": [4], "test": [5]}


@pytest.fixture
def flickr8k(place, monkeypatch):
    """A server with the archives of a tiny Flickr8k, in the structure of the real ones."""
    tokens = "".join(f"{i}_a.jpg#{k}\tA dog , number {i} .\n" for i in range(1, 7) for k in range(5))
    text = {"Flickr8k.token.txt": tokens, "CrowdFlowerAnnotations.txt": "1_a.jpg\t2\n", "readme.txt": "Flickr8k"}
    text |= {f"Flickr_8k.{name}Images.txt": "".join(f"{i}_a.jpg\n" for i in list_) for name, list_ in LISTS.items()}
    images = {f"Flicker8k_Dataset/{i}_a.jpg": jpeg(i) for i in range(1, 7)} | {"__MACOSX/._x": ""}
    splits = [(i, {"dev": "val"}.get(name, name)) for name, list_ in LISTS.items() for i in list_]
    entries = [
        {"filename": f"{i}_a.jpg", "imgid": i, "split": split, "sentences": [{"raw": "A dog ."}]} for i, split in splits
    ]
    karpathy = {f"dataset_{name}.json": json.dumps({"images": entries}) for name in ("coco", "flickr8k", "flickr30k")}
    archives = {"Flickr8k_text.zip": text, "Flickr8k_Dataset.zip": images, "caption_datasets.zip": karpathy}
    content = {name: zipped(files) for name, files in archives.items()}
    for name in ("Flickr8k_text.zip", "Flickr8k_Dataset.zip"):
        monkeypatch.setitem(download.MD5, name, hashlib.md5(content[name]).hexdigest())
    with serving(content) as server:
        yield server


def test_flickr8k_is_fetched_into_the_folder_that_the_notebooks_read(flickr8k, place, capsys):
    main(["flickr8k", "--mirror", flickr8k.address])
    assert "for research and teaching only" in capsys.readouterr().out
    assert Counter(record.split for record in load_records("flickr8k")) == {"train": 3, "val": 1, "test": 1}
    assert all(open_image(record.path).size == (96, 64) for record in load_records("flickr8k"))
    there = set(tree(place.with_name("flickr8k"))) - {"checksums.json"}
    lists = {f"Flickr_8k.{name}Images.txt" for name in LISTS}
    pictures = {name for name in unzipped(flickr8k.content["Flickr8k_Dataset.zip"]) if name.endswith("jpg")}
    assert there == lists | pictures | {"Flickr8k.token.txt", "dataset_flickr8k.json"}
    asked = len(flickr8k.asked)
    main(["flickr8k", "--mirror", flickr8k.address])
    assert len(flickr8k.asked) == asked


@pytest.mark.parametrize("fault", ["cuts", "503", "wrong bytes", "says too little"])
def test_flickr8k_survives_faults_or_says_so_and_goes_on(flickr8k, fault):
    flickr8k.faults = iter([fault] * 3)
    for _ in range(4):
        try:
            main(["flickr8k", "--mirror", flickr8k.address])
            break
        except ValueError as error:
            assert "is not the file it should be" in str(error) and "It was deleted" in str(error)
    assert len(load_records("flickr8k")) == 5


def test_what_coco_has_flickr8k_has_not(capsys):
    with pytest.raises(SystemExit):
        main(["flickr8k", "--part", "val"])
    assert "flickr8k has no part 'val': it has captions, images, karpathy" in capsys.readouterr().err


# --- no data


@pytest.mark.parametrize(
    ("dataset", "way"),
    [
        ("coco", r"`python -m scripts\.download coco --images 5000` \(1\.1 GB\), or all of it with .* \(20 GB\)"),
        ("flickr8k", r"fetch it with `python -m scripts\.download flickr8k` \(1\.1 GB\), or say where"),
        ("sample", r"draw the sample with `python -m scripts\.sample`"),
        ("elsewhere", r"draw the sample with `python -m scripts\.sample`"),
    ],
)
def test_a_dataset_that_is_not_there_says_how_it_is_had(place, dataset, way):
    with pytest.raises(FileNotFoundError, match=way) as caught:
        load_records(dataset)
    assert "\n" not in str(caught.value) and fetching.TIMEOUT
