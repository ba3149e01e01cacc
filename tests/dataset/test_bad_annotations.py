"""Whatever stands in an annotation file: it is read as it says, or refused in one sentence with file and place.

LONG=1 tries 1,000 mutated files of each layout instead of 150.
"""

import copy
import json
import math
import random
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import LONG
from pycocotools import mask as rle

from data_loader import Transform, get_loader
from dataset.loading import load_records
from dataset.records import Instance, Record
from model import AttentionDecoder, Captioner, EncoderCNN
from training.loop import fit
from training.optimization import TrainingConfig
from vocabulary import Vocabulary

FILES = 1000 if LONG else 150

CAPTIONS = {
    "scripts": "Ένας σκύλος, 一只狗在沙发上, كلب على الأريكة, कुत्ता, כלב על הספה, собака",
    "emoji": "a 🐶 on a 🛋️ 👩‍👩‍👧‍👦 🇬🇷",
    "long": "dog " * 10_000,
    "control": "a\x00dog\x07on\x1b[31m a\u200bsofa\u202e\ufeff\u2028here\x85there",
    "combining": "e\u0301" * 50 + "\u0300" * 500,
    "lines": "a dog\r\n\ton a sofa\v\fthere",
    "signs": "<start> a <b>dog</b> & 50 % $x^2$ {0} %s \\n </end> <end> <pad> \"'`",
}


# --- datasets as they should be, one of each layout


def copy_images(tiny: Path, folder: Path) -> None:
    folder.mkdir()
    for record in load_records(tiny):
        shutil.copy(record.path, folder)


def karpathy(tiny: Path, folder: Path) -> Path:
    images = [
        {
            "filename": r.path.name,
            "imgid": i,
            "split": r.split,
            "sentences": [{"raw": c, "tokens": []} for c in r.captions],
        }
        for i, r in enumerate(load_records(tiny))
    ]
    folder.mkdir()
    copy_images(tiny, folder / "images")
    (folder / "dataset_flickr8k.json").write_text(json.dumps({"images": images, "dataset": "flickr8k"}))
    return folder


def table(tiny: Path, folder: Path) -> Path:
    lines = [f'{r.path.name},"{c}"' for r in load_records(tiny) for c in r.captions]
    folder.mkdir()
    copy_images(tiny, folder / "images")
    (folder / "captions.csv").write_text("\n".join(["image,caption", *lines]))
    return folder


@pytest.fixture
def layouts(tiny_coco, tmp_path) -> dict[str, tuple[Path, str]]:
    """Layout -> its folder, and the pattern of the files that are to be spoilt."""
    return {
        "coco": (tiny_coco, "annotations/*_train.json"),
        "karpathy": (karpathy(tiny_coco, tmp_path / "karpathy"), "*.json"),
        "table": (table(tiny_coco, tmp_path / "table"), "*.csv"),
    }


# --- and as they should not be

ODD = (
    None, True, False, 0, -1, 1, 2.5, 10**30, -(10**400), 1e308, math.nan, math.inf, "", " ", "\n", "1", "a dog",
    "../x",
    "/etc/passwd", "C:\\x", "a\x00b", "x" * 5000, [], {}, [[]], {"id": 1}, [1, 2, 3], ["a"], [None], {"size": [2, 2]},
    {"size": [64, 64], "counts": [5, 5]}, {"size": [64, 64], "counts": "abc"}, [[1, 2, 3]], [[1, "a", 3, 4, 5, 6]],
    [[math.nan] * 6], [[1e308] * 8], [[10**30] * 6], "train", "restval", "\ud800",
)  # fmt: skip


def nodes(content, path=()):
    """The places of everything in a JSON, as paths."""
    yield path
    if isinstance(content, (list, dict)):
        for key in content if isinstance(content, dict) else range(len(content)):
            yield from nodes(content[key], (*path, key))


def spoil_json(content, rng: random.Random):
    """One to three of its values replaced, lost, doubled or moved."""
    for _ in range(rng.choice((1, 1, 3))):
        deepest = rng.choice((1, 2, 3, 4, 9))  # else nearly all places would be captions and corners
        *above, key = rng.choice([p for p in nodes(content) if 0 < len(p) <= deepest])
        parent = content
        for step in above:
            parent = parent[step]
        change = rng.choice(("replace", "replace", "lose", "double", "swap", "wrap", "rename"))
        if change == "replace":
            parent[key] = copy.deepcopy(rng.choice(ODD))
        elif change == "lose":
            del parent[key]
        elif change == "double" and isinstance(parent, list):
            parent.append(copy.deepcopy(parent[key]))
        elif change == "swap":
            other = rng.choice(list(parent) if isinstance(parent, dict) else range(len(parent)))
            parent[key], parent[other] = parent[other], parent[key]
        elif change == "wrap":
            parent[key] = [parent[key]]
        elif change == "rename" and isinstance(parent, dict):
            parent[rng.choice(("", "id", "image_id", "caption", "é"))] = parent.pop(key)
        if not isinstance(content, (dict, list)) or not content:
            break
    return content


def spoil_text(data: bytes, rng: random.Random) -> bytes:
    """Cut, flipped, in another encoding, nested deep, with lines lost or doubled."""
    way = rng.randrange(9)
    where = rng.randrange(len(data))
    if way == 0:
        return data[:where]
    if way == 1:
        spoilt = bytearray(data)
        for _ in range(rng.choice((1, 20))):
            spoilt[rng.randrange(len(data))] = rng.randrange(256)
        return bytes(spoilt)
    if way == 2:
        return data.decode().encode(rng.choice(("utf-16", "utf-32", "utf-8-sig", "cp037")))
    if way == 3:
        return b"[" * rng.choice((10, 100_000)) + data
    if way == 4:
        return (
            data[:where]
            + rng.choice((b"\0", b"\xff", b"NaN", b"1e999", b'"', b"\n", b",", b"\r", b"9" * 5000))
            + data[where:]
        )
    if way == 5:
        return data[:where] + data[where + rng.randrange(500) :]
    if way == 6:
        return data[:where] + data[where : where + 300] * 2 + data[where:]
    if way == 7:
        return rng.choice((b"", b"null", b"[]", b"{}", b'""', b"7", b"\xef\xbb\xbf", rng.randbytes(300)))
    lines = data.splitlines(keepends=True)
    rng.shuffle(lines)
    return b"".join(lines)


def spoil(file: Path, rng: random.Random) -> None:
    data = file.read_bytes()
    if file.suffix == ".json" and rng.random() < 0.7:
        data = json.dumps(spoil_json(json.loads(data), rng)).encode()
    else:
        data = spoil_text(data, rng)
    file.write_bytes(data)


# --- reading them


def check(record: Record, folder: Path) -> None:
    """A record is what it says it is: nobody behind it needs to look again."""
    assert isinstance(record.image_id, (int, str)) and not isinstance(record.image_id, bool)
    assert isinstance(record.split, str) and record.split
    assert folder in record.path.parents and ".." not in record.path.parts and "\0" not in str(record.path)
    record.path.is_file()
    assert record.captions and all(isinstance(c, str) and c.strip() for c in record.captions)
    json.dumps(record.captions, ensure_ascii=False).encode()
    assert all(isinstance(n, int) and 0 <= n < 10**6 for n in (record.width, record.height))
    for instance in record.instances:
        assert isinstance(instance.category, str) and isinstance(instance.attributes, dict)
        assert len(instance.box) == 4 and all(math.isfinite(value) for value in (*instance.box, instance.area))
        try:
            assert instance.mask(64, 64).shape == (64, 64)
        except ValueError as error:
            assert "\n" not in str(error)


@pytest.mark.parametrize("layout", ["coco", "karpathy", "table"])
def test_mutated_annotations_are_read_or_refused(layouts, layout, tmp_path):
    folder, pattern = layouts[layout]
    count, wrong, fresh = Counter(), [], tmp_path / "fresh"
    shutil.copytree(folder, fresh)
    for i in range(FILES):
        rng = random.Random(f"{layout} {i}")
        file = rng.choice(sorted(folder.glob(pattern)))
        spoil(file, rng)
        try:
            for record in load_records(folder):
                check(record, folder)
            count["read"] += 1
        except (ValueError, FileNotFoundError) as error:
            text = str(error)
            count["refused"] += 1
            if str(folder) not in text or "\n" in text or len(text) > 100 + 300:
                wrong.append((i, f"{type(error).__name__}: {text[:300]!r}"))
        except Exception as error:
            wrong.append((i, f"{type(error).__name__}: {str(error)[:200]}"))
        shutil.copy(fresh / file.relative_to(folder), file)
    print(f"{layout}: {FILES} files, {dict(count)}")
    assert not wrong, (len(wrong), *wrong[:40])
    assert min(count["read"], count["refused"]) > FILES / 20


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda c: c["annotations"][7].update(image_id=[1]),
            r"train\.json: \[1\] is no id: that is a whole number or a",
        ),
        (lambda c: c["annotations"][7].update(image_id=1.0), r"train\.json: 1\.0 is no id"),
        (lambda c: c["images"][0].update(id=None), r"train\.json: None is no id"),
        (lambda c: c["images"][0].update(width="64"), r"width and height of an image are pixels, not '64' and 64"),
        (lambda c: c["images"][0].update(height=math.nan), "are pixels, not 64 and nan"),
        (lambda c: c["images"][0].update(file_name="x" * 300), r"the file name 'x+\.\.\. is not a name"),
        (lambda c: c["images"][0].update(file_name="a\x00.png"), r"the file name 'a\\x00\.png' is not a name"),
        (
            lambda c: c["annotations"][7].update(caption="half \ud83d"),
            r"annotation 8 has half a character in its caption",
        ),
        (lambda c: c["annotations"][7].update(caption=["a dog"]), "annotation 8 has an empty caption"),
    ],
)
def test_what_is_wrong_is_named_and_shown(tiny_coco, change, message):
    file = tiny_coco / "annotations/captions_train.json"
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=message) as caught:
        load_records(tiny_coco)
    assert str(file) in str(caught.value) and len(str(caught.value)) < 300


@pytest.mark.parametrize(
    "text", [b"[" * 200_000, b'{"images": ' + b"9" * 5000 + b"}", '{"images": "é"}'.encode("utf-16"), b"{'images': []}"]
)
def test_what_is_no_json_is_refused_with_its_place(tiny_coco, text):
    (tiny_coco / "annotations/captions_val.json").write_bytes(text)
    with pytest.raises(
        ValueError, match=r"captions_val\.json.*(broken JSON|not UTF-8).*; fetch or draw the file again\."
    ):
        load_records(tiny_coco)


@pytest.mark.parametrize("kind", ["json", "csv"])
def test_a_byte_order_mark_is_no_fault(layouts, kind):
    folder, pattern = layouts["coco" if kind == "json" else "table"]
    before = load_records(folder)
    for file in folder.glob(pattern):
        file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes())
    assert load_records(folder) == before


@pytest.mark.parametrize(
    "segmentation",
    [
        {"size": [64, 64], "counts": [5, 10**6, 3]},
        {"size": [64, 64], "counts": [5, -3, 4094]},
        {"size": [64, 64], "counts": "o" * 5000},
        {"size": [64, 64], "counts": 7},
        {"size": [64, 64], "counts": [50, 20]},  # what they leave would be as the memory was
        {"size": [64, 64], "counts": [4096, 1]},
        {"size": [64, 64], "counts": [4095.5, 0.5]},
        {"size": [64, 64], "counts": [4096, -4096, 4096]},
        {"size": [64, 64], "counts": []},
        {"size": [64, 64], "counts": ""},
        {"size": [64, 64], "counts": rle.encode(np.eye(64, dtype=np.uint8, order="F"))["counts"][:40].decode()},
        {"size": [64, 64]},
        [[1e9] * 6],
        [[1, 2, 3, "4", 5, 6]],
        "polygon",
    ],
)
def test_a_damaged_mask_is_refused(segmentation):
    damaged = Instance("dog", (0, 0, 1, 1), 1, segmentation)
    with pytest.raises(ValueError, match=r"The mask of this dog is damaged: .*\.$"):
        damaged.mask(64, 64)


@pytest.mark.parametrize("name", CAPTIONS)
def test_any_caption_becomes_words_and_trains(tiny_coco, captioner, tmp_path, name):
    """Whatever the script; ten thousand words; control characters: read as written, saved, loaded and learned from."""
    file = tiny_coco / "annotations/captions_train.json"
    content = json.loads(file.read_text())
    content["annotations"][0]["caption"] = CAPTIONS[name]
    file.write_text(json.dumps(content, ensure_ascii=name == "control"), encoding="utf-8")
    records = load_records(tiny_coco, "train")
    assert records[0].captions[0] == CAPTIONS[name].strip()
    words = Vocabulary(c for r in records for c in r.captions)
    words.save(tmp_path / "vocabulary.json")
    again = Vocabulary.load(tmp_path / "vocabulary.json")
    assert again.words == words.words and len(set(words.words)) == len(words)
    ids = again.encode(CAPTIONS[name])
    assert ids[0] == words.start and ids[-1] == words.end and len(ids) >= 3
    assert not {words.pad, words.start, words.end} & set(ids[1:-1])
    if name == "long":
        assert len(ids) == 10_002
    torch.manual_seed(0)
    encoder = EncoderCNN("small", image_size=32, grid=2, finetune=None)
    model = Captioner(encoder, AttentionDecoder(len(words), encoder.feature_size, 8, 8, 8))
    loader = get_loader(records, words, transform=Transform(32), captions_per_image=5, max_words=30)
    (row,) = fit(model, loader, loader, TrainingConfig(epochs=1))
    assert math.isfinite(row["train_loss"] + row["val_perplexity"])
