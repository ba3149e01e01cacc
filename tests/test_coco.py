"""What a user relies on when files become records and pictures."""

import json
import pickle
import random
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image, ImageOps
from pycocotools import mask as rle

from dataset import coco
from dataset.coco import Instance, fingerprint, load, open_image


def edit(file: Path, change) -> None:
    content = json.loads(file.read_text(encoding="utf-8"))
    change(content)
    file.write_text(json.dumps(content), encoding="utf-8")


def karpathy(folder: Path, images: list[dict], name: str = "dataset_flickr8k.json") -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "images").mkdir(exist_ok=True)
    (folder / name).write_text(json.dumps({"images": images, "dataset": "flickr8k"}), encoding="utf-8")
    return folder


def table(folder: Path, text: str, name: str = "captions.txt") -> Path:
    (folder / "Images").mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text, encoding="utf-8")
    return folder


# --- COCO's layout


def test_coco_layout_becomes_records(tiny_coco, capsys):
    records = load(tiny_coco)
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
    assert load(tiny_coco, "val") == [r for r in load(tiny_coco) if r.split == "val"]
    assert load(tiny_coco, "val", instances=False)[0].instances == ()
    with pytest.raises(ValueError, match=r"tiny has no split 'minival'; it has train, val, test\."):
        load(tiny_coco, "minival")


def test_years_in_file_names_and_no_instances_no_sizes(tiny_coco):
    for split in ("val", "test"):
        (tiny_coco / "annotations" / f"captions_{split}.json").unlink()
    (tiny_coco / "annotations/captions_train.json").rename(tiny_coco / "annotations/captions_train2014.json")
    (tiny_coco / "train").rename(tiny_coco / "train2014")
    edit(
        tiny_coco / "annotations/captions_train2014.json",
        lambda c: [(image.pop("width"), image.pop("height")) for image in c["images"]],
    )
    record = load(tiny_coco, "train")[0]
    assert record.path == tiny_coco / "train2014" / "000001.png"
    assert (record.split, record.width, record.height, record.instances) == ("train", 0, 0, ())
    (tiny_coco / "annotations/captions_train2017.json").write_text("{}")
    with pytest.raises(ValueError, match="same split twice, as train2014 and train2017"):
        load(tiny_coco)


def test_order_does_not_depend_on_the_file(tiny_coco):
    expected = load(tiny_coco)
    edit(tiny_coco / "annotations/captions_train.json", lambda c: random.Random(1).shuffle(c["images"]))
    assert load(tiny_coco) == expected
    assert fingerprint(load(tiny_coco)) == fingerprint(expected)


def test_the_fingerprint_tells_datasets_apart_not_places(tiny_coco):
    records = load(tiny_coco, "train")
    known = {fingerprint(records), fingerprint(records[1:]), fingerprint(load(tiny_coco, "val"))}
    edit(tiny_coco / "annotations/captions_train.json", lambda c: c["annotations"][3].update(caption="another"))
    known.add(fingerprint(load(tiny_coco, "train")))
    assert len(known) == 4 and all(len(one) == 16 for one in known)
    moved = tiny_coco.rename(tiny_coco.with_name("moved"))
    assert fingerprint(load(moved, "train")) in known


def test_an_image_without_captions_is_left_out(tiny_coco):
    edit(
        tiny_coco / "annotations/captions_train.json",
        lambda c: c.update(annotations=[a for a in c["annotations"] if a["image_id"] != 3]),
    )
    assert [r.image_id for r in load(tiny_coco, "train")] == [1, 2, 4, 5, 6]
    edit(tiny_coco / "annotations/captions_val.json", lambda c: c.update(annotations=[]))
    with pytest.raises(ValueError, match="no image with a caption in the split 'val'"):
        load(tiny_coco, "val")


def test_records_travel_to_worker_processes(tiny_coco):
    records = load(tiny_coco)
    assert pickle.loads(pickle.dumps(records)) == records
    with pytest.raises(AttributeError):
        records[0].captions = ()


def test_a_name_is_looked_up_under_DATA(tiny_coco, monkeypatch):
    monkeypatch.setattr(coco, "DATA", tiny_coco.parent)
    assert load("tiny", "val") == load(tiny_coco, "val")
    with pytest.raises(FileNotFoundError, match=r"No dataset at .*nowhere: draw .*scripts\.sample.*DATA="):
        load("nowhere")


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
        load(tiny_coco)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c["annotations"][1].update(category_id=77), "annotation 2 is of category 77, which is not listed"),
        (lambda c: c["annotations"][1].pop("bbox"), "instances_train.json: there is no field 'bbox'"),
        (lambda c: c["annotations"][1].update(bbox=[1, 2]), "annotation 2 has no box of four numbers"),
    ],
)
def test_damaged_instances_are_refused_in_one_sentence(tiny_coco, change, message):
    edit(tiny_coco / "annotations/instances_train.json", change)
    with pytest.raises(ValueError, match=message):
        load(tiny_coco)


def test_an_image_in_two_splits_is_refused(tiny_coco):
    for kind in ("captions", "instances"):
        text = (tiny_coco / f"annotations/{kind}_train.json").read_text()
        (tiny_coco / f"annotations/{kind}_val.json").write_text(text)
    with pytest.raises(ValueError, match="image 1 is listed twice, in train and val"):
        load(tiny_coco)


def test_broken_json_names_file_and_line(tiny_coco):
    file = tiny_coco / "annotations/captions_val.json"
    file.write_text('{"images": [],\n "annotations": [\n')
    with pytest.raises(ValueError, match=r"captions_val\.json, line 3: broken JSON"):
        load(tiny_coco)
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match=r"captions_val\.json is not UTF-8"):
        load(tiny_coco)


def test_a_missing_image_folder_is_refused_at_load_a_missing_image_when_opened(tiny_coco):
    (tiny_coco / "val" / "000007.png").unlink()
    record = load(tiny_coco, "val")[0]
    with pytest.raises(FileNotFoundError, match=r"No image at .*000007\.png"):
        open_image(record.path)
    (tiny_coco / "val").rename(tiny_coco / "elsewhere")
    with pytest.raises(FileNotFoundError, match=r"No folder of images at .*val"):
        load(tiny_coco)


def test_a_folder_of_another_kind_is_refused(tmp_path):
    with pytest.raises(ValueError, match="not a dataset this course knows"):
        load(tmp_path)


# --- Karpathy's splits


def sentences(*texts: str) -> list[dict]:
    return [{"raw": text} for text in texts]


def test_karpathy_decides_the_splits_of_flickr(tmp_path):
    splits = ("test", "restval", "val", "train")
    images = [
        {"filename": f"{i}.jpg", "imgid": i, "split": split, "sentences": sentences("A dog .", "Dogs")}
        for i, split in enumerate(splits)
    ]
    folder = karpathy(tmp_path / "flickr8k", images)
    records = load(folder)
    assert [(r.image_id, r.split) for r in records] == [(1, "train"), (3, "train"), (2, "val"), (0, "test")]
    assert records[0].captions == ("A dog .", "Dogs") and records[0].path == folder / "images" / "1.jpg"
    karpathy(folder, images[1:])
    with pytest.raises(ValueError, match="has no split 'test'; it has train, val"):
        load(folder, "test")
    karpathy(folder, [images[0] | {"filename": "../x.jpg"}])
    with pytest.raises(ValueError, match="leads out of"):
        load(folder)
    karpathy(folder, [images[0] | {"sentences": sentences(" ")}])
    with pytest.raises(ValueError, match=r"dataset_flickr8k\.json: image 0 has an empty caption"):
        load(folder)
    (folder / "images").rmdir()
    with pytest.raises(FileNotFoundError, match="No folder of images at"):
        load(folder)


def test_karpathy_decides_the_splits_of_coco_and_keeps_its_instances(tiny_coco):
    images = [
        {"filepath": "train", "filename": "000001.png", "imgid": 0, "cocoid": 1, "split": "test"},
        {"filepath": "val", "filename": "000007.png", "imgid": 1, "cocoid": 7, "split": "restval"},
    ]
    karpathy(tiny_coco, [image | {"sentences": sentences("A red square")} for image in images], "dataset_coco.json")
    train, test = load(tiny_coco)
    assert (train.image_id, train.split, train.path) == (7, "train", tiny_coco / "val" / "000007.png")
    assert (test.image_id, test.split, test.width) == (1, "test", 64)
    assert test.categories == ("square", "triangle")
    assert load(tiny_coco, "test", instances=False)[0].instances == ()


# --- a table of captions


def test_a_table_is_split_by_image_not_by_caption(tmp_path):
    lines = [f'{i}.jpg,"A dog, number {i}, version {k}"' for i in range(50) for k in range(5)]
    folder = table(tmp_path / "a", "image,caption\n" + "\n".join(lines))
    records = load(folder)
    assert Counter(r.split for r in records) == {"train": 40, "val": 5, "test": 5}
    assert all(len(r.captions) == 5 for r in records)
    assert len({r.image_id for r in records}) == 50
    assert records[0].path.parent == folder / "Images"
    random.Random(0).shuffle(lines)
    shuffled = load(table(tmp_path / "b", "\ufeffimage,caption\n" + "\n".join(lines), "captions.csv"))
    assert [(r.image_id, r.split) for r in shuffled] == [(r.image_id, r.split) for r in records]
    assert load(folder, "test") == [r for r in records if r.split == "test"]
    assert [r.image_id for r in load(folder, "test", seed=1)] != [r.image_id for r in load(folder, "test")]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("image_name| comment_number| comment\n1.jpg| 0| A dog\n", "first line must be the header image,caption"),
        ("", "first line must be the header image,caption"),
        ("image,caption\n1.jpg,A dog, running\n", r"captions\.txt, line 2: 3 cells, not 2; a caption with a comma"),
        ("image,caption\n1.jpg,A dog\n1.jpg,  \n", r"captions\.txt, line 3 has an empty caption"),
        ("image,caption\n../1.jpg,A dog\n", "leads out of"),
        ("image,caption\n", "holds no image with a caption"),
    ],
)
def test_a_damaged_table_is_refused_in_one_sentence(tmp_path, text, message):
    with pytest.raises(ValueError, match=message):
        load(table(tmp_path / "flickr", text))


# --- masks


def test_masks_from_polygons_and_both_run_length_encodings(tiny_coco):
    record = load(tiny_coco, "train")[0]
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


# --- pictures


def test_every_kind_of_picture_becomes_rgb(tmp_path):
    grey = Image.new("L", (8, 6), 100)
    red = Image.new("RGB", (8, 6), (255, 0, 0))
    half = Image.new("RGBA", (8, 6), (255, 0, 0, 0))
    half.paste((255, 0, 0, 255), (0, 0, 4, 6))
    pictures = {
        "grey.jpg": (grey, (100, 100, 100)),
        "bits.png": (Image.new("1", (8, 6), 1), (255, 255, 255)),
        "grey_alpha.png": (Image.new("LA", (8, 6), (100, 255)), (100, 100, 100)),
        "cmyk.jpg": (Image.new("CMYK", (8, 6), (0, 255, 255, 0)), (255, 0, 0)),
        "palette.png": (red.convert("P"), (255, 0, 0)),
        "alpha.png": (half, (255, 0, 0)),
        "deep.png": (Image.fromarray(np.full((6, 8), 25700, dtype=np.uint16)), (100, 100, 100)),
    }
    for name, (picture, expected) in pictures.items():
        picture.save(tmp_path / name)
        image = open_image(tmp_path / name)
        assert (image.mode, image.size) == ("RGB", (8, 6)), name
        assert np.allclose(image.getpixel((1, 3)), expected, atol=3), name
    assert open_image(tmp_path / "alpha.png").getpixel((6, 3)) == (255, 255, 255)  # not the red, or black, below


def test_transparent_palette_is_laid_over_white(tmp_path):
    picture = Image.new("P", (4, 4), 0)
    picture.putpalette([0, 0, 0, 255, 0, 0])
    picture.putpixel((0, 0), 1)
    picture.save(tmp_path / "p.png", transparency=0)
    image = open_image(tmp_path / "p.png")
    assert image.getpixel((0, 0)) == (255, 0, 0) and image.getpixel((2, 2)) == (255, 255, 255)


def test_sixteen_bits_are_scaled_not_clipped(tmp_path):
    ramp = np.linspace(0, 65535, 64).astype(np.uint16).reshape(8, 8)
    Image.fromarray(ramp).save(tmp_path / "ramp.png")
    levels = np.asarray(open_image(tmp_path / "ramp.png"))[..., 0]
    assert np.array_equal(levels, ramp // 257)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_rotation_is_carried_out(tmp_path, orientation):
    pixels = np.random.default_rng(0).integers(0, 255, (6, 8, 3), dtype=np.uint8)
    picture, exif = Image.fromarray(pixels), Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    picture.save(tmp_path / "turned.png", exif=exif)
    expected = ImageOps.exif_transpose(Image.open(tmp_path / "turned.png"))
    assert np.array_equal(open_image(tmp_path / "turned.png"), expected)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("entries", "size"),
    [
        (b"\x01\x00\x12\x01\x03\x00\x01\x00\x00\x00\x06\x00\x00\x00" + b"\x00" * 4, (8, 16)),
        # a pointer to GPS data that is a byte string: ImageOps.exif_transpose stumbles over it
        (
            b"\x02\x00\x12\x01\x03\x00\x01\x00\x00\x00\x06\x00\x00\x00"
            b"%\x88\x06\x00\x06\x00\x00\x004\x00\x00\x00" + b"\x00" * 24,
            (8, 16),
        ),
        (b"\xff\xff\x12", (16, 8)),  # cut short
    ],
)
def test_damaged_exif_does_not_cost_the_picture(tmp_path, entries, size):
    exif = b"Exif\x00\x00II*\x00\x08\x00\x00\x00" + entries
    Image.new("RGB", (16, 8), "white").save(tmp_path / "damaged.jpg", exif=exif)
    assert open_image(tmp_path / "damaged.jpg").size == size


def test_what_is_not_a_whole_picture_is_refused(tmp_path, monkeypatch):
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    for name in ("cut.jpg", "cut.png"):
        Image.fromarray(noise).save(tmp_path / name)
        content = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(content[: len(content) // 2])
        with pytest.raises(ValueError, match=rf"{name} cannot be read as an image"):
            open_image(tmp_path / name)
    (tmp_path / "page.jpg").write_text("<html>404</html>")
    with pytest.raises(ValueError, match=r"page\.jpg cannot be read as an image"):
        open_image(tmp_path / "page.jpg")
    with pytest.raises(ValueError, match="cannot be read as an image"):
        open_image(tmp_path)
    Image.fromarray(noise).save(tmp_path / "bomb.png")
    for limit in (3000, 1000):  # Pillow warns above its limit, and stops above twice that: both are refused here
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
        with pytest.raises(ValueError, match=r"bomb\.png is refused, it is too large"):
            open_image(tmp_path / "bomb.png")
