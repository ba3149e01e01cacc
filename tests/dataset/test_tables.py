"""What a user relies on when a table of captions becomes records."""

import random
from collections import Counter
from pathlib import Path

import pytest

from dataset.loading import load_records


def table(folder: Path, text: str, name: str = "captions.txt") -> Path:
    (folder / "Images").mkdir(parents=True, exist_ok=True)
    for i in range(50):
        (folder / "Images" / f"{i}.jpg").touch()
    (folder / name).write_text(text, encoding="utf-8")
    return folder


def test_a_table_is_split_by_image_not_by_caption(tmp_path):
    lines = [f'{i}.jpg,"A dog, number {i}, version {k}"' for i in range(50) for k in range(5)]
    folder = table(tmp_path / "a", "image,caption\n" + "\n".join(lines))
    records = load_records(folder)
    assert Counter(r.split for r in records) == {"train": 40, "val": 5, "test": 5}
    assert all(len(r.captions) == 5 for r in records)
    assert len({r.image_id for r in records}) == 50
    assert records[0].path.parent == folder / "Images"
    random.Random(0).shuffle(lines)
    shuffled = load_records(table(tmp_path / "b", "\ufeffimage,caption\n" + "\n".join(lines), "captions.csv"))
    assert [(r.image_id, r.split) for r in shuffled] == [(r.image_id, r.split) for r in records]
    assert load_records(folder, "test") == [r for r in records if r.split == "test"]
    assert [r.image_id for r in load_records(folder, "test", seed=1)] != [
        r.image_id for r in load_records(folder, "test")
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("image_name| comment_number\n1.jpg| 0| A dog\n", "first line must be the header image,caption"),
        ("", "first line must be the header image,caption"),
        ("image,caption\n1.jpg,A dog, running\n", r"captions\.txt, line 2: 3 cells, not 2; a caption with a comma"),
        ("image,caption\n1.jpg,A dog\n1.jpg,  \n", r"captions\.txt, line 3 has an empty caption"),
        ("image,caption\n../1.jpg,A dog\n", "leads out of"),
        ("image,caption\n", r"captions\.txt holds no captions"),
        ("image,caption\n1.jpg,A dog\n1.JPG,A dog\n", r"captions\.txt: '1\.jpg' and '1\.JPG' are one file"),
        ("image,caption\n1.jpg,A dog\n1,A dog\n", r"captions\.txt: '1\.jpg' and '1' are one file"),
        (
            "image,caption\n1.jpg,A dog\n,A cat\n",
            r"captions\.txt, line 3: the file name '' is not a name: that is one to",
        ),
        (
            f"image,caption\n{'é' * 128}.jpg,A cat\n",
            r"captions\.txt, line 2: the file name 'é+\.\.\. is not a name: that",
        ),
        ("image,caption\n1.jpg,\"['a dog', 'a cat']\"\n", r"captions\.txt, line 2: .* is a list: write a row for each"),
        ('image;caption\n1.jpg;["a dog"]\n', r"captions\.txt, line 2: .* is a list: write a row for each"),
        (
            "image,caption,split\n1.jpg,A dog,train\n2.jpg,A cat,learn\n",
            r"line 3: 'learn' is no split: write train, val",
        ),
        ("image,caption,split\n1.jpg,A dog,train\n2.jpg,A cat,\n", r"line 3: '' is no split: write train, val or test"),
        (
            "image,caption,split\n1.jpg,A dog,train\n1.jpg,A cat,test\n",
            r"line 3: '1\.jpg' is in test, above in train: an",
        ),
        ("split,image,caption,split\ntest,1.jpg,A dog,train\n", r"two columns that are called split"),
        ("1.jpg#0\tA dog\n", r"header image,caption, not .*; a file of lines as that one is called Flickr8k\.token"),
        ("file,path,caption\n1.jpg,a,A dog\n", "first line must be the header image,caption"),
    ],
)
def test_a_damaged_table_is_refused_in_one_sentence(tmp_path, text, message):
    for split in (None, "test"):
        with pytest.raises(ValueError, match=message):
            load_records(table(tmp_path / "flickr", text), split)


def bytes_table(folder: Path, content: bytes) -> Path:
    table(folder, "", "captions.csv").joinpath("captions.csv").write_bytes(content)
    return folder


LINES = [f"{i}.jpg,a shape number {i}" for i in range(1, 11)]


@pytest.mark.parametrize(
    ("line", "below"),
    [
        ('2.jpg,"Keep out says the sign by the shape', []),  # the quote goes on to the end of the file
        ('2.jpg,"Keep out says the sign by the shape', ['9.jpg,"a shape, red"']),  # or to another caption's quote
        ('2.jpg,"Keep out', ['9.jpg,a "']),  # which closes it, so that all between would be one caption
        ('"2.jpg,a shape', ['"9.jpg",a shape']),
        ('2.jpg,"Keep out" says the sign', []),
        ('2.jpg,"a shape\r\non two lines"', []),
    ],
)
def test_a_quote_that_is_not_closed_is_refused_with_its_line_and_swallows_nothing(tmp_path, line, below):
    text = "\r\n".join(["image,caption", *LINES[:4], line, *LINES[4:], *below, ""])
    with pytest.raises(
        ValueError, match=r"captions\.csv, line 6: .*; a cell that begins with a quote ends with one on"
    ):
        load_records(bytes_table(tmp_path / "d", text.encode()))


def test_quotes_inside_are_doubled_or_stand_alone(tmp_path):
    text = 'image,caption\n1.jpg,"a ""stop"" sign, red"\n2.jpg,a 5" disk\n3.jpg, "a dog"\n'
    records = load_records(bytes_table(tmp_path / "d", text.encode()))
    assert {r.image_id: r.captions[0] for r in records} == {
        "1.jpg": 'a "stop" sign, red',
        "2.jpg": 'a 5" disk',
        "3.jpg": "a dog",
    }


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t", "| "])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_what_spreadsheets_save_is_read_alike(tmp_path, newline, delimiter, encoding):
    lines = ["image,caption", *LINES, "11.jpg,un café"]
    content = newline.join(line.replace(",", delimiter) for line in lines).encode(encoding)
    records = load_records(bytes_table(tmp_path / "d", content))
    assert {r.image_id: r.captions[0] for r in records} == dict(line.split(",") for line in lines[1:])


@pytest.mark.parametrize(
    "header",
    [",image,caption", "image,caption,comment", "Caption,who,IMAGE", '"image","caption","n"', "image,n,caption"],
)
def test_columns_are_found_by_name_and_others_not_read(tmp_path, header):
    names = header.lower().replace('"', "").split(",")
    rows = [{"image": f"{i}.jpg", "caption": f"a shape {i}"} for i in range(5)]
    lines = [header, *(",".join(row.get(name, "7") for name in names) for row in rows)]
    records = load_records(bytes_table(tmp_path / "d", "\n".join(lines).encode()))
    assert {r.image_id: r.captions[0] for r in records} == {row["image"]: row["caption"] for row in rows}


@pytest.mark.parametrize("line", [1, 2, 7, 3000])
@pytest.mark.parametrize("encoding", ["cp1252", "latin-1", "mac-roman"])
def test_text_in_another_encoding_is_refused_with_its_line(tmp_path, line, encoding):
    lines = ["image,caption", *(f"{i}.jpg,a shape" for i in range(4000))]
    lines[line - 1] += " é"
    with pytest.raises(ValueError, match=rf"captions\.csv, line {line} is not UTF-8 text .*: save .* as \"CSV UTF-8\""):
        load_records(bytes_table(tmp_path / "d", "\r\n".join(lines).encode(encoding)))


@pytest.mark.parametrize(
    "header", ["image_id\tcaptions", "filename,caption", "text,file_name", "img;comment;n", "n,image_path,description"]
)
def test_columns_have_the_names_that_people_give_them(tmp_path, header):
    delimiter = next(sign for sign in "\t;," if sign in header)
    cells = [{"n": "7"}.get(name, "{0}.jpg" if name[0] in "if" else "a shape {0}") for name in header.split(delimiter)]
    lines = [header, *(delimiter.join(cells).format(i) for i in range(5))]
    records = load_records(bytes_table(tmp_path / "d", "\n".join(lines).encode()))
    assert {r.image_id: r.captions[0] for r in records} == {f"{i}.jpg": f"a shape {i}" for i in range(5)}


NAMES = ("train", "Training", "VAL", "valid", " validation", "dev", "test", "restval", "testing")


@pytest.mark.parametrize("header", ["image,caption,split", "Split,caption,image"])
def test_a_column_says_the_splits(tmp_path, header):
    cells = [{"split": split, "image": f"{i}.jpg", "caption": "a shape"} for i, split in enumerate(NAMES * 3)]
    lines = [header, *(",".join(row[name] for name in header.lower().split(",")) for row in cells)]
    folder = table(tmp_path / "d", "\n".join([*lines, lines[1]]))
    kinds = dict(zip(NAMES, ["train"] * 2 + ["val"] * 4 + ["test", "train", "test"], strict=True))
    assert {r.image_id: r.split for r in load_records(folder)} == {c["image"]: kinds[c["split"]] for c in cells}
    assert len(load_records(folder, "test")) == 6


@pytest.mark.parametrize("pictures", [1, 2])
def test_a_table_too_small_to_be_split_says_so(tmp_path, pictures):
    folder = table(tmp_path / "d", "\n".join(["image,caption", *LINES[:pictures]]))
    with pytest.raises(ValueError, match=rf"too small to be split: it has captions of {pictures} images, not of 3"):
        load_records(folder, "train")
    assert len(load_records(folder)) == pictures


@pytest.mark.parametrize("on_disk", ["Images", "images", "Flicker8k_Dataset", "images -> Images"])
@pytest.mark.parametrize("written", ["Images/", "images/", "./Images/", "Images\\", ".\\images\\", "Flickr8k_Dataset/"])
@pytest.mark.parametrize("some", [False, True])
def test_names_may_have_the_folder_of_images_in_front(tmp_path, on_disk, written, some):
    lines = ["image,caption", *(f"{'' if some and i % 2 else written}{i}.jpg,a shape" for i in range(1, 11))]
    folder = table(tmp_path / "d", "\n".join(lines))
    if "->" in on_disk:  # as on a disk where upper and lower case are the same
        (folder / "images").symlink_to("Images")
    else:
        (folder / "Images").rename(folder / on_disk)
    records = load_records(folder)
    assert {record.path.name for record in records} == {f"{i}.jpg" for i in range(1, 11)}
    assert all(record.path.is_file() for record in records)


def test_a_folder_of_that_name_among_the_images_is_meant_if_it_is_there(tmp_path):
    folder = table(tmp_path / "d", "\n".join(["image,caption", *(f"images/{i}.jpg,a shape" for i in range(1, 11))]))
    (folder / "Images").rename(folder / "away")
    (folder / "Images").mkdir()
    (folder / "away").rename(folder / "Images/images")
    assert all(record.path.parent == folder / "Images/images" for record in load_records(folder))
