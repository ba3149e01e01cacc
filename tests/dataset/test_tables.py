"""What a user relies on when a table of captions becomes records."""

import random
from collections import Counter
from pathlib import Path

import pytest

from dataset.loading import load_records


def table(folder: Path, text: str, name: str = "captions.txt") -> Path:
    (folder / "Images").mkdir(parents=True, exist_ok=True)
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
        load_records(table(tmp_path / "flickr", text))
