"""What a user relies on when captions are a file: COCO's own tools read it, and a wrong one is refused."""

import json

import pytest
from pycocotools.coco import COCO

from dataset.loading import load_records
from evaluation import results


def test_results_are_read_by_cocos_own_tools(tiny_coco, tmp_path):
    captions = {record.image_id: f"a caf\u00e9 & number {record.image_id}" for record in load_records(tiny_coco, "val")}
    results.save(tmp_path / "results.json", captions)
    theirs = COCO(str(tiny_coco / "annotations/captions_val.json")).loadRes(str(tmp_path / "results.json"))
    assert {a["image_id"]: a["caption"] for a in theirs.dataset["annotations"]} == captions
    assert results.load(tmp_path / "results.json", captions) == captions


GOOD = [{"image_id": 1, "caption": "a dog"}, {"image_id": 2, "caption": "a cat"}]


@pytest.mark.parametrize(
    "rows, complaint",
    [
        ([*GOOD, {"image_id": 7, "caption": "a cow"}], "entry 3 captions image 7, which is not in this split"),
        (GOOD[:1], "1 of 2 images have no caption, such as 2"),
        ([*GOOD, GOOD[0]], "image 1 has two captions, the second is entry 3"),
        ([GOOD[0], {"image_id": 2, "caption": " . "}], r"the caption of image 2 \(entry 2\) has no words"),
        ([GOOD[0], {"image_id": 2}], "entry 2 is not an object with image_id and caption"),
        ([GOOD[0], "a cat"], "entry 2 is not an object"),
        ({"captions": GOOD}, "should be a list"),
    ],
)
def test_wrong_results_are_refused_in_a_sentence(rows, complaint, tmp_path):
    (tmp_path / "results.json").write_text(json.dumps(rows))
    with pytest.raises(ValueError, match=complaint):
        results.load(tmp_path / "results.json", [1, 2])


def test_a_file_may_caption_more_images_than_are_asked_for(tmp_path):
    results.save(tmp_path / "results.json", {1: "a dog", 2: "a cat", 3: "a cow"})
    assert results.load(tmp_path / "results.json", [1, 3], more=True) == {1: "a dog", 3: "a cow"}
    with pytest.raises(ValueError, match="1 of 2 images have no caption, such as 4"):
        results.load(tmp_path / "results.json", [1, 4], more=True)


def test_what_is_no_results_file_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="no results at"):
        results.load(tmp_path / "none.json", [1])
    (tmp_path / "broken.json").write_text("[{")
    with pytest.raises(ValueError, match="is not a results file"):
        results.load(tmp_path / "broken.json", [1])
