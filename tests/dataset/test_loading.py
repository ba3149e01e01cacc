"""What a user relies on whichever layout a dataset has."""

import json
import random
from pathlib import Path
from unicodedata import normalize

import pytest
from PIL import Image

from dataset import paths
from dataset.loading import load_records
from dataset.pictures import open_image
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


@pytest.mark.parametrize(
    ("given", "meant"), [("Flickr8k", "flickr8k"), ("COCO", "coco"), ("Sampel", "sample"), ("TINY", "tiny")]
)
def test_a_misspelt_name_is_answered_with_the_nearest(tiny_coco, monkeypatch, given, meant):
    monkeypatch.setattr(paths, "DATA", tiny_coco.parent)
    way = paths.WAYS.get(meant, "draw the sample")[:15]
    with pytest.raises(FileNotFoundError, match=rf"No dataset at .*{given}: did you mean '{meant}'\? Or {way}"):
        load_records(given)


def test_a_file_or_a_folder_too_high_or_too_deep_is_answered_with_the_right_one(tiny_coco):
    (tiny_coco / "archive.zip").write_bytes(b"PK")
    with pytest.raises(FileNotFoundError, match=r"archive\.zip is a file, a dataset is a folder: unpack it first"):
        load_records(tiny_coco / "archive.zip")
    with pytest.raises(FileNotFoundError, match=rf"is a file, a dataset is a folder: name {tiny_coco / 'annotations'}"):
        load_records(tiny_coco / "annotations/captions_val.json")
    for wrong in (tiny_coco.parent, tiny_coco / "annotations", tiny_coco / "train"):
        with pytest.raises(ValueError, match=rf"not a dataset this course knows: .* Did you mean {tiny_coco}\?"):
            load_records(wrong)


def test_pictures_without_a_table_are_answered_with_what_is_missing(tmp_path):
    for name in ("dog.jpg", "cat.PNG"):
        (tmp_path / name).write_bytes(b"")
    with pytest.raises(ValueError, match=r"It holds pictures alone: a captions\.csv must say what they show"):
        load_records(tmp_path)


def test_a_spreadsheet_is_answered_with_how_to_save_it(tmp_path):
    (tmp_path / "captions.xlsx").write_bytes(b"PK")
    with pytest.raises(ValueError, match=r'Save captions\.xlsx as captions\.csv \("CSV UTF-8"\), with the header'):
        load_records(tmp_path)


@pytest.mark.parametrize("name", ["captions.tsv", "Captions_mine.csv"])
def test_a_table_of_another_name_is_answered_with_its_name(tmp_path, name):
    (tmp_path / name).write_text("image,caption\n1.jpg,a dog\n")
    with pytest.raises(ValueError, match=rf"If {name} is its table, call it captions\.csv"):
        load_records(tmp_path)


@pytest.mark.parametrize("name", ["dataset-metadata.json", "dataset_infos.json", "dataset.json"])
@pytest.mark.parametrize("content", ['{"title": "Flickr 8k"}', '{"images": 8091}', "[]"])
def test_a_file_about_a_dataset_is_not_its_splits(tmp_path, name, content):
    folder = three_layouts(tmp_path, ["1.png", "2.png"])[2]
    add_files(folder, ["1.png", "2.png"])
    (folder / name).write_text(content)
    assert {record.image_id for record in load_records(folder)} == {"1.png", "2.png"}


@pytest.mark.parametrize("name", ["~nobodyxyz/flickr", "x" * 300, "~" + "x" * 300, "a\0b"])
def test_a_name_that_no_folder_can_have_is_answered_like_others(name):
    with pytest.raises(FileNotFoundError, match=r"No dataset at .*DATA="):
        load_records(name)


def test_an_image_in_two_splits_is_refused(tiny_coco):
    for kind in ("captions", "instances"):
        text = (tiny_coco / f"annotations/{kind}_train.json").read_text()
        (tiny_coco / f"annotations/{kind}_val.json").write_text(text)
    with pytest.raises(ValueError, match="image 1 is listed twice, in train and val"):
        load_records(tiny_coco)


def test_a_folder_of_another_kind_is_refused(tmp_path):
    with pytest.raises(ValueError, match="not a dataset this course knows"):
        load_records(tmp_path)


# --- images that are missing, and names that are written in another way


def three_layouts(folder: Path, names: list[str]) -> list[Path]:
    """The same images under these names in COCO's layout, in Karpathy's, and in a table, without the files."""
    coco, karpathy, table = (folder / name for name in ("coco", "karpathy", "table"))
    for images in (coco / "train", coco / "annotations", karpathy / "images", table / "images"):
        images.mkdir(parents=True)
    numbers = range(1, len(names) + 1)
    content = {
        "images": [{"id": i, "file_name": name} for i, name in zip(numbers, names, strict=True)],
        "annotations": [{"id": i, "image_id": i, "caption": "a shape"} for i in numbers],
    }
    (coco / "annotations/captions_train.json").write_text(json.dumps(content))
    entries = [
        {"filename": name, "imgid": i, "split": "train", "sentences": [{"raw": "a shape"}]}
        for i, name in zip(numbers, names, strict=True)
    ]
    (karpathy / "dataset_flickr8k.json").write_text(json.dumps({"images": entries}))
    lines = ["image,caption", *(f"{name},a shape" for name in names)]
    (table / "captions.csv").write_text("\n".join(lines), encoding="utf-8")
    return [coco, karpathy, table]


def add_files(folder: Path, names: list[str]) -> None:
    images = folder / ("train" if folder.name == "coco" else "images")
    for name in names:
        (images / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (4, 4)).save(images / name)


@pytest.mark.parametrize(
    ("there", "message"),
    [
        (
            9,
            r"1 of 10 images are missing from .*(train|images): '9\.png'; complete the dataset, or leave them out",
        ),
        (7, r"3 of 10 images are missing from .*: '7\.png', '8\.png', '9\.png'; complete"),
        (2, r"8 of 10 images are missing from .*: '2\.png', '3\.png', '4\.png', …; complete"),
    ],
)
def test_missing_images_are_counted_before_any_work_or_left_out(tmp_path, capsys, there, message):
    names = [f"{i}.png" for i in range(10)]
    for folder in three_layouts(tmp_path, names):
        add_files(folder, names[:there])
        with pytest.raises(FileNotFoundError, match=message):
            load_records(folder)
        records = load_records(folder, missing="skip")
        assert {record.path.name for record in records} == set(names[:there])
        assert f"left out: {10 - there} of 10 images are missing from" in capsys.readouterr().out


def test_where_no_image_is_there_none_is_skipped(tmp_path):
    for folder in three_layouts(tmp_path, ["1.png", "2.png"]):
        with pytest.raises(FileNotFoundError, match="2 of 2 images are missing"):
            load_records(folder, missing="skip")
        with pytest.raises(ValueError, match='"stop", "skip" or "keep", not \'ignore\''):
            load_records(folder, missing="ignore")
        kept = {record.path.name for record in load_records(folder, missing="keep")}
        assert kept == {"1.png", "2.png"}


@pytest.mark.parametrize("name", ["café.png", "Ένας σκύλος.png", "が.png", "Ångström ñandú.png"])
@pytest.mark.parametrize(("listed", "on_disk"), [("NFC", "NFD"), ("NFD", "NFC"), ("NFC", "NFC")])
def test_a_name_may_be_composed_in_another_way_than_on_disk(tmp_path, name, listed, on_disk):
    for folder in three_layouts(tmp_path, [normalize(listed, name), "1.png"]):
        add_files(folder, [normalize(on_disk, name), "1.png"])
        assert all(open_image(record.path).size == (4, 4) for record in load_records(folder))


@pytest.mark.parametrize("name", ["part\\1.png", "part\\two words.png", "part/1.png", ".\\1.png"])
def test_backslashes_in_names_are_read_as_slashes(tmp_path, name):
    for folder in three_layouts(tmp_path, [name]):
        add_files(folder, [name.replace("\\", "/")])
        assert [open_image(record.path).size for record in load_records(folder)] == [(4, 4)]


def test_captions_are_read_without_a_folder_of_images(tmp_path):
    """As for scores; whoever wants the pictures is told where they were looked for."""
    for folder in three_layouts(tmp_path, ["1.png", "2.png"]):
        images = folder / ("train" if folder.name == "coco" else "images")
        images.rmdir()
        assert [record.captions for record in load_records(folder, missing="keep")] == [("a shape",)] * 2
        told = "2 of 2 images are missing" if folder.name == "table" else f"No folder of images at .*{images.name}: put"
        for missing in ("stop", "skip"):
            with pytest.raises(FileNotFoundError, match=told):
                load_records(folder, missing=missing)


@pytest.mark.parametrize(
    ("listed", "on_disk"),
    [
        ("DOG.JPG", "dog.jpg"),
        ("dog", "dog.jpg"),
        ("Dog", "dog.PNG"),
        ("dog.jpg", "dog.jpg.jpg"),
        ("ÄRGER.png", "ärger.PNG"),
    ],
)
def test_a_name_may_have_other_capitals_or_no_suffix(tmp_path, listed, on_disk):
    for folder in three_layouts(tmp_path, [listed, "cat.png"]):
        add_files(folder, [on_disk, "cat.png"])
        assert {record.path.name for record in load_records(folder)} == {on_disk, "cat.png"}


def test_capitals_that_tell_files_apart_are_not_guessed(tmp_path):
    for folder in three_layouts(tmp_path, ["DOG.png", "cat.png"]):
        add_files(folder, ["Dog.png", "dog.png", "cat.png"])
        if len(list((folder / ("train" if folder.name == "coco" else "images")).iterdir())) == 3:  # the disk can
            with pytest.raises(FileNotFoundError, match=r"1 of 2 images are missing from .*: 'DOG\.png'"):
                load_records(folder)


def test_what_two_files_could_be_is_not_guessed_and_a_folder_is_none(tmp_path):
    for folder in three_layouts(tmp_path, ["1", "cat.png"]):
        add_files(folder, ["1.png", "cat.png"])
        images = folder / ("train" if folder.name == "coco" else "images")
        (images / "1").mkdir()
        assert images / "1.png" in {record.path for record in load_records(folder)}
        add_files(folder, ["1.jpg"])
        with pytest.raises(FileNotFoundError, match=r"1 of 2 images are missing from .*: '1'"):
            load_records(folder)


def test_a_folder_of_images_may_be_nested_once_more(tmp_path):
    """As Windows unpacks train2014.zip."""
    for folder in three_layouts(tmp_path, ["1.png"]):
        add_files(folder, ["1.png"])
        images = folder / ("train" if folder.name == "coco" else "images")
        images.rename(folder / "away")
        images.mkdir()
        (folder / "away").rename(images / images.name)
        assert load_records(folder)[0].path == images / images.name / "1.png"
