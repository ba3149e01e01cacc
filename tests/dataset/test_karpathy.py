"""What a user relies on when Karpathy's splits become records."""

import json
import shutil
from pathlib import Path

import pytest

from dataset.loading import load_records


def karpathy(folder: Path, images: list[dict], name: str = "dataset_flickr8k.json") -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "images").mkdir(exist_ok=True)
    for image in images:
        if "cocoid" not in image and "/" not in image["filename"]:
            (folder / "images" / image["filename"]).touch()
    (folder / name).write_text(json.dumps({"images": images, "dataset": "flickr8k"}), encoding="utf-8")
    return folder


def sentences(*texts: str) -> list[dict]:
    return [{"raw": text} for text in texts]


def test_karpathy_decides_the_splits_of_flickr(tmp_path):
    splits = ("test", "restval", "val", "train")
    images = [
        {"filename": f"{i}.jpg", "imgid": i, "split": split, "sentences": sentences("A dog .", "Dogs")}
        for i, split in enumerate(splits)
    ]
    folder = karpathy(tmp_path / "flickr8k", images)
    records = load_records(folder)
    assert [(r.image_id, r.split) for r in records] == [(1, "train"), (3, "train"), (2, "val"), (0, "test")]
    assert records[0].captions == ("A dog .", "Dogs") and records[0].path == folder / "images" / "1.jpg"
    karpathy(folder, images[1:])
    with pytest.raises(ValueError, match="has no split 'test'; it has train, val"):
        load_records(folder, "test")
    karpathy(folder, [images[0] | {"filename": "../x.jpg"}])
    with pytest.raises(ValueError, match="leads out of"):
        load_records(folder)
    karpathy(folder, [images[0] | {"sentences": sentences(" ")}])
    with pytest.raises(ValueError, match=r"dataset_flickr8k\.json: image 0 has an empty caption"):
        load_records(folder)
    karpathy(folder, images)
    shutil.rmtree(folder / "images")
    with pytest.raises(FileNotFoundError, match="No folder of images at"):
        load_records(folder)


def test_karpathy_decides_the_splits_of_coco_and_keeps_its_instances(tiny_coco):
    images = [
        {"filepath": "train", "filename": "000001.png", "imgid": 0, "cocoid": 1, "split": "test"},
        {"filepath": "val", "filename": "000007.png", "imgid": 1, "cocoid": 7, "split": "restval"},
    ]
    karpathy(tiny_coco, [image | {"sentences": sentences("A red square")} for image in images], "dataset_coco.json")
    train, test = load_records(tiny_coco)
    assert (train.image_id, train.split, train.path) == (7, "train", tiny_coco / "val" / "000007.png")
    assert (test.image_id, test.split, test.width) == (1, "test", 64)
    assert test.categories == ("square", "triangle")
    assert load_records(tiny_coco, "test", instances=False)[0].instances == ()


@pytest.mark.parametrize("split", [None, "train", "test"])
@pytest.mark.parametrize(
    ("second", "message"),
    [
        ({"imgid": 1, "filename": "2.jpg"}, "image 1 is listed twice, in train and test"),
        ({"imgid": 2, "filename": "1.jpg"}, "json: 1 and 2 are one file, '1.jpg', in train and test"),
        ({"imgid": 2, "filename": ".\\1.jpg"}, "json: 1 and 2 are one file, '1.jpg', in train and test"),
        ({"imgid": 2, "filename": "1.JPG"}, "json: 1 and 2 are one file, '1.JPG', in train and test"),
    ],
)
def test_an_image_in_two_splits_is_refused_whichever_is_asked_for(tmp_path, split, second, message):
    first = {"filename": "1.jpg", "imgid": 1, "split": "train", "sentences": sentences("A dog .")}
    folder = karpathy(tmp_path / "flickr8k", [first, first | {"split": "test"} | second])
    for name in {second["filename"]} - {"1.jpg", "2.jpg"}:
        (folder / "images" / name).unlink(missing_ok=True)
    with pytest.raises(ValueError, match=message):
        load_records(folder, split)
