"""What a user relies on when captions are a file: COCO's own tools read it, and a wrong one is refused."""

import json

import numpy as np
import pytest
import torch
from pycocotools.coco import COCO

from dataset.loading import load_records
from evaluation import results
from evaluation.metrics import statistics, tokenized, tokenized_references


def test_results_are_read_by_cocos_own_tools(tiny_coco, tmp_path):
    captions = {record.image_id: f"a caf\u00e9 & number {record.image_id}" for record in load_records(tiny_coco, "val")}
    results.save(tmp_path / "results.json", captions)
    theirs = COCO(str(tiny_coco / "annotations/captions_val.json")).loadRes(str(tmp_path / "results.json"))
    assert {a["image_id"]: a["caption"] for a in theirs.dataset["annotations"]} == captions
    assert results.load(tmp_path / "results.json", captions) == captions


@pytest.mark.parametrize("kind", [np.int64, torch.tensor, np.int32])
def test_ids_of_numpy_and_torch_are_written_as_numbers(tmp_path, kind):
    results.save(tmp_path / "results.json", {kind(7): "a dog"})
    assert results.load(tmp_path / "results.json", [7]) == {7: "a dog"}


GOOD = [{"image_id": 1, "caption": "a dog"}, {"image_id": 2, "caption": "a cat"}]


@pytest.mark.parametrize(
    "rows, complaint",
    [
        ([*GOOD, {"image_id": 7, "caption": "a cow"}], "entry 3 captions image 7, which is not in this split"),
        (GOOD[:1], "1 of 2 images have no caption, such as 2; --partial scores the others"),
        ([*GOOD, GOOD[0]], "image 1 has two captions, the second is entry 3"),
        ([*GOOD, {"image_id": "1", "caption": "a cow"}], "image 1 has two captions, the second is entry 3"),
        ([GOOD[0], {"image_id": 2, "caption": None}], "entry 2 is not an object with image_id and caption"),
        ([GOOD[0], {"image_id": 1.5, "caption": "a"}], "entry 2 is not an object with image_id and caption"),
        ([GOOD[0], {"image_id": 2}], "entry 2 is not an object with image_id and caption"),
        ([GOOD[0], {"image_id": 2, "caption": "a \ud83d cat"}], "caption of image 2, entry 2, has half a character"),
        ([GOOD[0], "a cat"], "entry 2 is not an object"),
        ({"captions": GOOD}, "should be a list"),
    ],
)
def test_wrong_results_are_refused_in_a_sentence(rows, complaint, tmp_path):
    (tmp_path / "results.json").write_text(json.dumps(rows))
    with pytest.raises(ValueError, match=complaint):
        results.load(tmp_path / "results.json", [1, 2])


def test_a_name_that_may_be_of_several_images_is_of_none(tmp_path):
    results.save(tmp_path / "r.json", {"1.jpg": "a dog", "b/1.jpg": "a cat"})
    with pytest.raises(ValueError, match=r"entry 1 captions image 1\.jpg, which is not in this split"):
        results.load(tmp_path / "r.json", ["a/1.jpg", "b/1.jpg"])
    results.save(tmp_path / "r.json", {"1.png": "a dog"})
    with pytest.raises(ValueError, match=r"entry 1 captions image 1\.png, which is not in this split"):
        results.load(tmp_path / "r.json", ["1.jpg"])


def test_a_folder_is_no_file_of_results(tmp_path):
    with pytest.raises(ValueError, match="is a folder: name the file of results in it"):
        results.read(tmp_path)


def test_a_file_may_caption_more_images_than_are_asked_for(tmp_path):
    results.save(tmp_path / "results.json", {1: "a dog", 2: "a cat", 3: "a cow"})
    assert results.load(tmp_path / "results.json", [1, 3], more=True) == {1: "a dog", 3: "a cow"}
    with pytest.raises(ValueError, match="1 of 2 images have no caption, such as 4"):
        results.load(tmp_path / "results.json", [1, 4], more=True)


@pytest.mark.parametrize(
    ("ids", "given"),
    [
        ((42, 7), ("42", "7")),
        ((42, 7), (42.0, 7.0)),
        ((42, 7), ("000000000042.jpg", "7")),
        ((42, 7), ("COCO_val2014_000000000042.jpg", "val2014/COCO_val2014_000000000007.jpg")),
        (("42", "b.jpg"), (42, " b.jpg ")),
        (("1_0042.jpg", "0042.jpg"), ("1_0042.jpg", "0042.jpg")),
        (("100_693b.jpg", "7"), ("100_693b", "7.jpg")),
        (("100_693b.jpg", "Images/2_b.jpg"), ("Images/100_693b.jpg", "2_b.jpg")),
        (("100_693b.jpg", "2_b.jpg"), ("Images\\100_693B.JPG", "./2_b")),
        (("caf\u00e9.jpg", "cafe\u0301 2.jpg"), ("cafe\u0301.jpg", "caf\u00e9 2")),
    ],
)
def test_an_image_may_be_named_by_text_or_by_its_file(ids, given, tmp_path):
    rows = [{"image_id": name, "caption": f"picture {i}"} for i, name in enumerate(given)]
    (tmp_path / "theirs.json").write_text(json.dumps(rows))
    assert results.load(tmp_path / "theirs.json", ids) == dict(zip(ids, ("picture 0", "picture 1"), strict=True))


@pytest.mark.parametrize("nothing", ["", " . ", "。", "..."])
def test_a_caption_without_words_scores_zero_and_is_named_the_others_count(nothing, tmp_path, capsys):
    results.save(tmp_path / "r.json", {1: "a dog runs home", 2: nothing})
    captions = results.load(tmp_path / "r.json", [1, 2])
    assert "1 of 2 captions have no words and score 0, such as that of 2" in capsys.readouterr().out
    references = tokenized_references({1: ["a dog runs home"], 2: ["a cat sits there"]})
    whole = statistics(tokenized(captions), references)
    assert whole.cider[1] == 0 < whole.cider[0] and whole.rouge.tolist() == [1, 0]


def test_a_file_of_part_of_a_split_is_scored_on_what_it_covers_when_asked_and_says_so(tmp_path, capsys):
    results.save(tmp_path / "r.json", {1: "a dog", 2: "a cat", 9: "a cow"})
    assert results.load(tmp_path / "r.json", [1, 2, 3], partial=True) == {1: "a dog", 2: "a cat"}
    told = "scored on the 2 of 3 images that it captions; 1 captions of other images are left out"
    assert told in capsys.readouterr().out
    assert len(results.load(tmp_path / "r.json", [1, 2, 9], partial=True)) == 3 and not capsys.readouterr().out
    with pytest.raises(ValueError, match="2 of 2 images have no caption, such as 4, 5; none is left to score"):
        results.load(tmp_path / "r.json", [4, 5], partial=True)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le"])
def test_results_in_any_unicode_are_read(encoding, tmp_path):
    rows = [{"image_id": 1, "caption": "一只狗"}]
    (tmp_path / "r.json").write_text(json.dumps(rows, ensure_ascii=False), encoding=encoding)
    assert results.load(tmp_path / "r.json", [1]) == {1: "一只狗"}


def test_what_is_no_results_file_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="no results at"):
        results.load(tmp_path / "none.json", [1])
    (tmp_path / "broken.json").write_text("[{")
    with pytest.raises(ValueError, match="is not a results file"):
        results.load(tmp_path / "broken.json", [1])
