"""What a user relies on whichever layout a dataset has."""

import json
import random
from pathlib import Path

import pytest

from dataset import paths
from dataset.loading import load_records
from dataset.records import fingerprint


def edit(file: Path, change) -> None:
    content = json.loads(file.read_text(encoding="utf-8"))
    change(content)
    file.write_text(json.dumps(content), encoding="utf-8")


def test_order_does_not_depend_on_the_file(tiny_coco):
    expected = load_records(tiny_coco)
    edit(tiny_coco / "annotations/captions_train.json", lambda c: random.Random(1).shuffle(c["images"]))
    assert load_records(tiny_coco) == expected
    assert fingerprint(load_records(tiny_coco)) == fingerprint(expected)


def test_an_image_without_captions_is_left_out(tiny_coco):
    edit(
        tiny_coco / "annotations/captions_train.json",
        lambda c: c.update(annotations=[a for a in c["annotations"] if a["image_id"] != 3]),
    )
    assert [r.image_id for r in load_records(tiny_coco, "train")] == [1, 2, 4, 5, 6]
    edit(tiny_coco / "annotations/captions_val.json", lambda c: c.update(annotations=[]))
    with pytest.raises(ValueError, match="no image with a caption in the split 'val'"):
        load_records(tiny_coco, "val")


def test_a_name_is_looked_up_under_DATA(tiny_coco, monkeypatch):
    monkeypatch.setattr(paths, "DATA", tiny_coco.parent)
    assert load_records("tiny", "val") == load_records(tiny_coco, "val")
    with pytest.raises(FileNotFoundError, match=r"No dataset at .*nowhere: draw .*scripts\.sample.*DATA="):
        load_records("nowhere")


def test_an_image_in_two_splits_is_refused(tiny_coco):
    for kind in ("captions", "instances"):
        text = (tiny_coco / f"annotations/{kind}_train.json").read_text()
        (tiny_coco / f"annotations/{kind}_val.json").write_text(text)
    with pytest.raises(ValueError, match="image 1 is listed twice, in train and val"):
        load_records(tiny_coco)


def test_a_folder_of_another_kind_is_refused(tmp_path):
    with pytest.raises(ValueError, match="not a dataset this course knows"):
        load_records(tmp_path)
