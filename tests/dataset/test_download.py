"""What a user relies on in `scripts.download`: whatever a server does, the files are whole and right, or a sentence
says why not. The server is a real one, on loopback; what it does wrong is drawn from seeds."""

import itertools
import random
import re

import pytest
from coco_server import NAME, fetch, tree, unzipped
from conftest import LONG

from dataset import download
from dataset.loading import load_records
from scripts.download import main

FAULTS = ["cuts", "resets", "stalls", "503", "500", "429", "416", "ignores Range", "another piece", "no tag"]
LIES = ["says too much", "says too little", "wrong bytes", "no length"]


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


def test_the_real_addresses_and_sums_are_those_of_the_public_archives():
    addresses = {
        address.format(year=year)
        for parts in download.PARTS.values()
        for address, *_ in parts.values()
        for year in download.YEARS
    }
    flickr8k = "https://github.com/jbrownlee/Datasets/releases/download/Flickr8k/Flickr8k"
    assert {f"{flickr8k}_Dataset.zip", f"{flickr8k}_text.zip"} < addresses
    assert "http://images.cocodataset.org/zips/train2014.zip" in addresses
    assert "http://images.cocodataset.org/annotations/annotations_trainval2014.zip" in addresses
    archives = {address.rsplit("/", 1)[-1] for address in addresses}
    assert set(download.MD5) == archives - {"caption_datasets.zip"}
    assert all(re.fullmatch("[0-9a-f]{32}", x) for x in download.MD5.values())


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


def test_nobody_listens(place):
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
