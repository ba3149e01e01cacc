"""Flickr8k and Flickr30k as they are passed on: each layout is read as it lies on the disk."""

from collections import Counter
from pathlib import Path

import pytest
from PIL import Image

from dataset.loading import load_records
from dataset.pictures import open_image

NAMES = [f"{i}_a.jpg" for i in range(1, 11)]
TOKENS = "".join(f"{name}#{k}\tA dog , number {k} .\n" for name in NAMES for k in range(5))
LISTS = {"train": NAMES[:6], "dev": NAMES[6:7], "test": NAMES[7:9]}


def pictures(folder: Path, names: list[str] = NAMES) -> None:
    folder.mkdir(parents=True)
    for name in names:
        Image.new("RGB", (8, 8), "red").save(folder / name)


def write(folder: Path, files: dict[str, str], newline: str = "\n") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name).write_bytes(text.replace("\n", newline).encode())
    return folder


def flickr8k_text(folder: Path, tokens: str = TOKENS, newline: str = "\n") -> Path:
    """What is in Flickr8k_text.zip."""
    lists = {f"Flickr_8k.{part}Images.txt": "".join(f"{name}\n" for name in names) for part, names in LISTS.items()}
    others = {
        "CrowdFlowerAnnotations.txt": f"{NAMES[0]}\t{NAMES[1]}#2\t0.5\t1\t2\n",
        "ExpertAnnotations.txt": f"{NAMES[0]}\t{NAMES[1]}#2\t1\t1\t1\n",
        "Flickr8k.lemma.token.txt": TOKENS.lower(),
        "readme.txt": "If you publish work based on the data …",
    }
    return write(folder, {"Flickr8k.token.txt": tokens} | lists | others, newline)


@pytest.mark.parametrize("text", [".", "Flickr8k_text"])
@pytest.mark.parametrize("images", ["Flicker8k_Dataset", "images", "Flicker8k_Dataset/Flicker8k_Dataset"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_the_original_flickr8k_with_its_own_splits(tmp_path, capsys, text, images, newline):
    pictures(tmp_path / images)
    flickr8k_text(tmp_path / text, newline=newline)
    records = load_records(tmp_path)
    assert Counter(record.split for record in records) == {"train": 6, "val": 1, "test": 2}
    assert {record.image_id for record in records if record.split == "test"} == set(LISTS["test"])
    assert all(record.captions == tuple(f"A dog , number {k} ." for k in range(5)) for record in records)
    assert all(open_image(record.path).size == (8, 8) for record in records)
    assert load_records(tmp_path, "val") == [record for record in records if record.split == "val"]
    told = capsys.readouterr().out
    assert "Flickr8k.token.txt: 50 captions of 10 images; broken rows: 0" in told
    assert "1 of 10 images left out, they are in no list of a split" in told


def test_the_picture_that_flickr8k_names_and_has_not(tmp_path, capsys):
    """As in the real file: `….jpg.1`, five times."""
    pictures(tmp_path / "Flicker8k_Dataset")
    broken = "".join(f"2258277193_586949ec62.jpg.1#{k}\tpeople on horses\n" for k in range(5))
    flickr8k_text(tmp_path, TOKENS[:200].rsplit("\n", 1)[0] + "\n" + broken + TOKENS)
    for list_ in LISTS:
        (tmp_path / f"Flickr_8k.{list_}Images.txt").unlink()
    records = load_records(tmp_path)  # without the lists
    assert {record.image_id for record in records} == set(NAMES)
    assert Counter(record.split for record in records) == {"train": 8, "val": 1, "test": 1}
    told = capsys.readouterr().out
    for line in range(7, 12):
        assert f"Flickr8k.token.txt, line {line}: '2258277193_586949ec62.jpg.1#" in told
    assert "56 captions of 10 images; broken rows: 5" in told


def test_a_picture_in_two_lists_is_refused(tmp_path):
    pictures(tmp_path / "Flicker8k_Dataset")
    flickr8k_text(tmp_path)
    with (tmp_path / "Flickr_8k.testImages.txt").open("a") as file:
        file.write(NAMES[0])
    with pytest.raises(ValueError, match=r"testImages\.txt: '1_a\.jpg' is in the list of train, too"):
        load_records(tmp_path)


@pytest.mark.parametrize("tokens", [TOKENS.replace("\t", " "), TOKENS.replace("#", " "), TOKENS.replace("A dog", "")])
def test_a_token_file_that_is_none_is_refused(tmp_path, tokens):
    pictures(tmp_path / "Flicker8k_Dataset")
    flickr8k_text(tmp_path, "".join(line.split(",")[0] + "\n" for line in tokens.splitlines()))
    with pytest.raises(
        ValueError, match=r"Flickr8k\.token\.txt, line \d+(: '.* is not a picture's name|.* has an empty)"
    ):
        load_records(tmp_path)


def test_flickr30ks_own_token_file(tmp_path):
    pictures(tmp_path / "flickr30k-images")
    write(tmp_path, {"results_20130124.token": TOKENS})
    assert len(load_records(tmp_path)) == 10


def test_kaggles_flickr8k(tmp_path):
    pictures(tmp_path / "Images")
    rows = "".join(f'{name},"A dog , {k} ."\n{name},A cat .\n' for name in NAMES for k in range(2))
    write(tmp_path, {"captions.txt": f"image,caption\n{rows}"})
    records = load_records(tmp_path)
    assert Counter(record.split for record in records) == {"train": 8, "val": 1, "test": 1}
    assert all(record.captions == ("A dog , 0 .", "A cat .", "A dog , 1 .", "A cat .") for record in records)


ROWS = "".join(f"{name}| {k}| A dog , number {k} .\n" for name in NAMES for k in range(5))
BROKEN = "3_a.jpg| 4   A dog runs across the grass .\n"  # as 2199200615.jpg in the real file


@pytest.mark.parametrize("given", [".", "flickr30k_images"])
@pytest.mark.parametrize("quoted", [False, True])
def test_kaggles_flickr30k_twice_nested_with_its_broken_row(tmp_path, capsys, given, quoted):
    pictures(tmp_path / "flickr30k_images/flickr30k_images")
    rows = ROWS.replace("1_a.jpg| 0| A dog", '1_a.jpg| 0| "Dog" , a') if quoted else ROWS
    table = f"image_name| comment_number| comment\n{rows[: len(rows) // 2].rsplit(chr(10), 1)[0]}\n{BROKEN}{ROWS}"
    write(tmp_path / "flickr30k_images", {"results.csv": table})
    line = table[: table.index(BROKEN)].count("\n") + 1
    records = load_records(tmp_path / given)
    assert {record.image_id for record in records} == set(NAMES)
    assert all(open_image(record.path).size == (8, 8) for record in records)
    captions = {caption for record in records for caption in record.captions}
    assert captions == {f"A dog , number {k} ." for k in range(5)} | ({'"Dog" , a , number 0 .'} if quoted else set())
    told = capsys.readouterr().out
    assert f"results.csv, line {line}: 2 cells, not 3: one is missing in '3_a.jpg| 4   A dog runs across" in told
    assert f"{table.count(chr(10)) - 2} captions of 10 images; broken rows: 1" in told


@pytest.mark.parametrize(
    ("row", "caption"),
    [
        ("1_a.jpg,0, Two young guys with shaggy hair .", "Two young guys with shaggy hair ."),
        ('1_a.jpg,0," Two young , White males ."', "Two young , White males ."),
        ("1_a.jpg,0, Two young , White males .", "Two young , White males ."),
        ('1_a.jpg,0," A ""stop"" sign ."', 'A "stop" sign .'),
        ('1_a.jpg,0, A "stop" sign , red .', 'A "stop" sign , red .'),
        ('1_a.jpg,0,"stop" , it says', '"stop" , it says'),
        ("1_a.jpg, 4   A dog runs across the grass .,", None),  # the broken row, once pandas has written it
        ("1_a.jpg,4   A dog runs across the grass .", None),
        ("1_a.jpg,4,", None),
    ],
)
def test_the_newer_flickr30k_with_commas(tmp_path, capsys, row, caption):
    pictures(tmp_path / "flickr30k_images")
    others = "".join(f"{name},0, a cat\n" for name in NAMES)
    write(tmp_path, {"captions.txt": f"image_name,comment_number,comment\n{row}\n{others}"})
    first = next(record for record in load_records(tmp_path) if record.image_id == "1_a.jpg")
    assert first.captions == ((caption, "a cat") if caption else ("a cat",))
    assert (f"left out: {tmp_path}/captions.txt, line 2" in capsys.readouterr().out) == (caption is None)


def test_a_published_table_with_many_broken_rows_is_refused(tmp_path):
    pictures(tmp_path / "flickr30k_images")
    write(tmp_path, {"results.csv": "image_name| comment_number| comment\n" + ROWS + 6 * BROKEN})
    with pytest.raises(ValueError, match=r"results\.csv, line 57: 2 cells, not 3: one is missing"):
        load_records(tmp_path)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
@pytest.mark.parametrize("suffix", [".jpg", ".JPG", ""])
def test_lists_may_be_in_utf_16_and_without_suffixes(tmp_path, encoding, suffix):
    pictures(tmp_path / "images")
    flickr8k_text(tmp_path)
    for list_ in tmp_path.glob("Flickr_8k.*"):
        list_.write_text(list_.read_text().replace(".jpg", suffix), encoding=encoding)
    records = load_records(tmp_path)
    assert {record.image_id for record in records if record.split == "test"} == set(LISTS["test"])
    assert Counter(record.split for record in records) == {"train": 6, "val": 1, "test": 2}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            "1_a.jpg\né.jpg".encode("latin-1"),
            r"Flickr_8k\.devImages\.txt, line 2 is not UTF-8 text .*: save it as UTF-8",
        ),
        (b"other.jpg\n", r"none of its 10 images is in the lists of splits beside it: it has '1_a\.jpg', they have 'o"),
    ],
)
def test_lists_that_say_nothing_are_refused(tmp_path, content, message):
    pictures(tmp_path / "images")
    flickr8k_text(tmp_path)
    for split in ("train", "test"):
        (tmp_path / f"Flickr_8k.{split}Images.txt").unlink()
    (tmp_path / "Flickr_8k.devImages.txt").write_bytes(content)
    for split in (None, "val"):
        with pytest.raises(ValueError, match=message):
            load_records(tmp_path, split)
