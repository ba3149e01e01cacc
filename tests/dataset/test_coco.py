"""What a user relies on when COCO's files become records."""

import json
from pathlib import Path

import pytest

from dataset.loading import load_records


def edit(file: Path, change) -> None:
    content = json.loads(file.read_text(encoding="utf-8"))
    change(content)
    file.write_text(json.dumps(content), encoding="utf-8")


def test_coco_layout_becomes_records(tiny_coco, capsys):
    records = load_records(tiny_coco)
    assert [r.split for r in records] == ["train"] * 6 + ["val"] * 3 + ["test"] * 3
    assert [r.image_id for r in records] == list(range(1, 13))
    first = records[0]
    assert first.path == tiny_coco / "train" / "000001.png" and first.path.is_file()
    assert len(first.captions) == 5 and first.captions[2] == "A green square and a blue triangle."
    assert (first.width, first.height) == (64, 64)
    assert first.categories == ("square", "triangle")
    assert first.instances[0].attributes == {"color": "green"}
    assert capsys.readouterr().out == ""  # pycocotools' chatter is silenced


def test_one_split_and_without_instances(tiny_coco):
    assert load_records(tiny_coco, "val") == [r for r in load_records(tiny_coco) if r.split == "val"]
    assert load_records(tiny_coco, "val", instances=False)[0].instances == ()
    with pytest.raises(ValueError, match=r"tiny has no split 'minival'; it has train, val, test\."):
        load_records(tiny_coco, "minival")


def test_years_in_file_names_and_no_instances_no_sizes(tiny_coco):
    for split in ("val", "test"):
        (tiny_coco / "annotations" / f"captions_{split}.json").unlink()
    (tiny_coco / "annotations/captions_train.json").rename(tiny_coco / "annotations/captions_train2014.json")
    (tiny_coco / "train").rename(tiny_coco / "train2014")
    edit(
        tiny_coco / "annotations/captions_train2014.json",
        lambda c: [(image.pop("width"), image.pop("height")) for image in c["images"]],
    )
    record = load_records(tiny_coco, "train")[0]
    assert record.path == tiny_coco / "train2014" / "000001.png"
    assert (record.split, record.width, record.height, record.instances) == ("train", 0, 0, ())
    (tiny_coco / "annotations/captions_train2017.json").write_text("{}")
    with pytest.raises(ValueError, match="same split twice, as train2014 and train2017"):
        load_records(tiny_coco)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c["annotations"][7].update(caption=" \n"), "captions_train.json: annotation 8 has an empty caption"),
        (lambda c: c["annotations"][7].update(caption=None), "captions_train.json: annotation 8 has an empty caption"),
        (lambda c: c["annotations"][7].update(image_id=999), "annotation 8 is of image 999, which is not listed"),
        (lambda c: c["annotations"][7].pop("caption"), "captions_train.json: there is no field 'caption' in"),
        (lambda c: c["images"][0].pop("file_name"), "captions_train.json: there is no field 'file_name' in"),
        (lambda c: c["images"].__setitem__(0, 5), "captions_train.json: there is no field 'id' in 5"),
        (lambda c: c.pop("annotations"), "captions_train.json: there is no field 'annotations'"),
        (lambda c: c.update(images={}), "the field 'images' must be a list"),
        (lambda c: c["images"].append(c["images"][0]), "image 1 is listed twice, in train and train"),
        (lambda c: c["images"][0].update(file_name="../../etc/passwd"), "'../../etc/passwd' leads out of"),
        (lambda c: c["images"][0].update(file_name="/etc/passwd"), "'/etc/passwd' leads out of"),
        (lambda c: c["images"][0].update(file_name="a\\..\\..\\b.jpg"), "leads out of"),
        (lambda c: c["images"][0].update(file_name="C:b.jpg"), "leads out of"),
        (lambda c: c["images"][0].update(file_name=7), "train.json: the file name 7 is not"),
    ],
)
def test_damaged_captions_are_refused_in_one_sentence(tiny_coco, change, message):
    edit(tiny_coco / "annotations/captions_train.json", change)
    with pytest.raises(ValueError, match=message):
        load_records(tiny_coco)


IDS = (("images", "id"), ("annotations", "image_id"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c["annotations"][1].update(category_id=77), "annotation 2 is of category 77, which is not listed"),
        (lambda c: c["annotations"][1].pop("bbox"), "instances_train.json: there is no field 'bbox'"),
        (lambda c: c["annotations"][1].update(bbox=[1, 2]), "annotation 2 has no box of four numbers"),
        (
            lambda c: c["annotations"][1].update(bbox=[9, 9, -4, 4]),
            r"annotation 2 has the box \[9, 9, -4, 4\], of wh",
        ),
        (lambda c: c["annotations"][1].update(iscrowd="0"), "annotation 2 has '0' for iscrowd, which is 0 or 1"),
        (
            lambda c: c["annotations"][1].update(attributes={"color": ["red"]}),
            r"annotation 2 has \['red'\] for a color, which is a word",
        ),
        (lambda c: c["categories"].append(c["categories"][0]), "train.json: two categories have the id 1: give each"),
        (
            lambda c: [entry.update({key: str(entry[key])}) for part, key in IDS for entry in c[part]],
            "train.json: the image that has the id 1 where its caption is has '1' here: write ids alike in both",
        ),
        (
            lambda c: [entry.update({key: entry[key] + 900}) for part, key in IDS for entry in c[part]],
            "train.json lists none of the captioned images: it belongs to others, remove it",
        ),
    ],
)
def test_damaged_instances_are_refused_in_one_sentence(tiny_coco, change, message):
    edit(tiny_coco / "annotations/instances_train.json", change)
    with pytest.raises(ValueError, match=message):
        load_records(tiny_coco)


def test_broken_json_names_file_and_line(tiny_coco):
    file = tiny_coco / "annotations/captions_val.json"
    file.write_text('{"images": [],\n "annotations": [\n')
    with pytest.raises(ValueError, match=r"captions_val\.json, line 3: broken JSON"):
        load_records(tiny_coco)
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match=r"captions_val\.json is not UTF-8"):
        load_records(tiny_coco)


def test_a_missing_image_folder_is_refused(tiny_coco):
    (tiny_coco / "val").rename(tiny_coco / "elsewhere")
    with pytest.raises(FileNotFoundError, match=r"No folder of images at .*val"):
        load_records(tiny_coco)


def first_of_train(content: dict) -> dict:
    """The image of another split listed as train's first, caption and all."""
    content["images"].append({"id": 1, "file_name": "000001.png", "width": 64, "height": 64})
    content["annotations"].append({"id": 900, "image_id": 1, "caption": "a dog"})
    return content


@pytest.mark.parametrize("split", [None, "train", "val", "test"])
@pytest.mark.parametrize("indent", [None, 1])
def test_an_image_in_two_splits_is_refused_whichever_is_asked_for(tiny_coco, split, indent):
    file = tiny_coco / "annotations/captions_val.json"
    file.write_text(json.dumps(first_of_train(json.loads(file.read_text())), indent=indent))
    message = (
        r"image 1 is listed twice, in \w+ and \w+: an image belongs to one split, and each image needs an id of its"
    )
    with pytest.raises(ValueError, match=message):
        load_records(tiny_coco, split)
    edit(file, lambda c: c["annotations"].pop())  # nor is one used that has no caption there
    assert len(load_records(tiny_coco, split)) == {None: 12, "train": 6}.get(split, 3)


@pytest.mark.parametrize("split", [None, "train", "val", "test"])
@pytest.mark.parametrize("name", ["000001.png", "000001.PNG", "000001"])
def test_a_picture_under_two_ids_is_refused_whichever_split_is_asked_for(tiny_coco, split, name):
    (tiny_coco / "val").rename(tiny_coco / "elsewhere")
    (tiny_coco / "val").symlink_to("train")  # as where both splits name one folder
    file = tiny_coco / "annotations/captions_val.json"
    edit(file, lambda c: c["images"][0].update(file_name=name))
    with pytest.raises(ValueError, match=r"(1 and 7|7 and 1) are one file, '000001\S*, in \w+ and \w+: list it once"):
        load_records(tiny_coco, split)
