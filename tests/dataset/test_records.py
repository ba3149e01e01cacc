"""What a user relies on in records: they are told apart, travel, and their objects have masks."""

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
from pycocotools import mask as rle

from dataset.loading import load_records
from dataset.records import Instance, fingerprint


def edit(file: Path, change) -> None:
    content = json.loads(file.read_text(encoding="utf-8"))
    change(content)
    file.write_text(json.dumps(content), encoding="utf-8")


def test_the_fingerprint_tells_datasets_apart_not_places(tiny_coco):
    records = load_records(tiny_coco, "train")
    known = {fingerprint(records), fingerprint(records[1:]), fingerprint(load_records(tiny_coco, "val"))}
    edit(tiny_coco / "annotations/captions_train.json", lambda c: c["annotations"][3].update(caption="another"))
    known.add(fingerprint(load_records(tiny_coco, "train")))
    assert len(known) == 4 and all(len(one) == 16 for one in known)
    moved = tiny_coco.rename(tiny_coco.with_name("moved"))
    assert fingerprint(load_records(moved, "train")) in known


def test_records_travel_to_worker_processes(tiny_coco):
    records = load_records(tiny_coco)
    assert pickle.loads(pickle.dumps(records)) == records
    with pytest.raises(AttributeError):
        records[0].captions = ()


def test_masks_from_polygons_and_both_run_length_encodings(tiny_coco):
    record = load_records(tiny_coco, "train")[0]
    square, triangle = (instance.mask(record.height, record.width) for instance in record.instances)
    assert square.dtype == bool and square.shape == (64, 64)
    assert square.sum() == 576 and square[20:44, 4:28].all()
    assert abs(triangle.sum() - 288) < 20 and not (square & triangle).any()

    expected = np.zeros((4, 6), dtype=bool)
    expected[1:3, 2] = True  # run lengths go down the columns
    plain = Instance("dog", (2, 1, 1, 2), 2, {"size": [4, 6], "counts": [9, 2, 13]}, crowd=True)
    packed = rle.encode(np.asfortranarray(expected.astype(np.uint8)))
    for counts in (packed["counts"], packed["counts"].decode()):
        instance = Instance("dog", (2, 1, 1, 2), 2, {"size": [4, 6], "counts": counts})
        assert np.array_equal(instance.mask(4, 6), expected)
    assert np.array_equal(plain.mask(4, 6), expected)
    with pytest.raises(ValueError, match="mask of this dog was encoded for an image of height x width"):
        plain.mask(6, 4)


def test_several_polygons_are_one_object_and_none_is_an_empty_mask():
    parts = [[0, 0, 2, 0, 2, 2, 0, 2], [4, 4, 6, 4, 6, 6, 4, 6]]
    assert Instance("dog", (0, 0, 6, 6), 8, parts).mask(8, 8).sum() == 8
    for nothing in ([], [[1, 2, 3, 4]]):
        mask = Instance("dog", (0, 0, 0, 0), 0, nothing).mask(5, 7)
        assert mask.shape == (5, 7) and mask.dtype == bool and not mask.any()


@pytest.mark.parametrize("share", [0, 0.01, 0.5, 1])
def test_runs_are_read_as_pycocotools_writes_them(share):
    """Long and short ones, from the first pixel on, none, all."""
    pixels = np.random.default_rng(0).random((50, 3000)) < share
    pixels[:, 40:2000] = share > 0.1
    packed = rle.encode(np.asfortranarray(pixels.astype(np.uint8)))
    assert np.array_equal(Instance("dog", (0, 0, 1, 1), 1, packed).mask(50, 3000), pixels)
