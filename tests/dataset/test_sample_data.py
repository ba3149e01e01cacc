"""The sample: drawn the same every time, readable as COCO, its captions true and their probabilities exact."""

import json
import math
import os
import shutil
from collections import Counter
from pathlib import Path
from random import Random

import numpy as np
import pytest
from conftest import category_of_noun
from PIL import Image
from pycocotools.coco import COCO

from dataset.sample import making
from dataset.sample.drawing import COLORS, paint
from dataset.sample.grammar import CATEGORY_OF_KIND, caption_logprob, grammar, relations
from dataset.sample.making import CATEGORIES, floor_perplexity, invent, make, scenes
from dataset.sample.pcfg import Choice, Node, Sequence, Words, articles, logprob, sample
from dataset.sample.scene import Group, Scene

SPLITS = {"train": 60, "val": 20, "test": 20}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "sample"
    make(path, **SPLITS)
    return path


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def derivations(node: Node) -> list[tuple[tuple[str, ...], float]]:
    """Every way through the grammar, written out: the slow truth against which the quick sum is held."""
    match node:
        case Words(text):
            return [(text, 1.0)]
        case Sequence(parts):
            ways = [((), 1.0)]
            for part in parts:
                ways = [(a + b, p * q) for a, p in ways for b, q in derivations(part)]
            return ways
        case Choice(options):
            return [(text, w * p) for w, option in options for text, p in derivations(option)]


ONE_KITE = Scene("sand", "night", (Group("kite", "red", "small", ((60.0, 20.0, 12.0, 22.0),)),))


def test_same_seed_draws_the_same_bytes_however_many(folder: Path, tmp_path: Path) -> None:
    make(tmp_path / "fewer", train=4, val=2, test=2)
    make(tmp_path / "other", train=4, val=2, test=2, seed=1)
    few, all_, other = files(tmp_path / "fewer"), files(folder), files(tmp_path / "other")
    pictures = [name for name in few if name.endswith(".jpg")]
    assert len(pictures) == 8
    assert all(few[name] == all_[name] for name in pictures)
    assert all(few[name] != other[name] for name in pictures)


def test_coco_reads_it(folder: Path) -> None:
    seen: set[int] = set()
    for split, number in SPLITS.items():
        captions = COCO(folder / "annotations" / f"captions_{split}.json")
        instances = COCO(folder / "annotations" / f"instances_{split}.json")
        ids = captions.getImgIds()
        assert len(ids) == number and set(ids) == set(instances.getImgIds())
        assert not seen & set(ids), "a picture is in two splits"
        seen |= set(ids)
        assert {c["name"]: c["id"] for c in instances.loadCats(instances.getCatIds())} == CATEGORIES
        for image in instances.loadImgs(ids):
            assert Image.open(folder / split / image["file_name"]).size == (image["width"], image["height"])
            assert len(captions.getAnnIds(imgIds=image["id"])) == 5
        for entry in instances.loadAnns(instances.getAnnIds()):
            x, y, w, h = entry["bbox"]
            ys, xs = np.nonzero(instances.annToMask(entry))
            assert entry["area"] == len(xs) and entry["iscrowd"] == 0
            assert abs(xs.min() - x) < 2 and abs(ys.min() - y) < 2
            assert abs(xs.max() + 1 - x - w) < 2 and abs(ys.max() + 1 - y - h) < 2


def test_masks_lie_where_the_colour_was_painted(folder: Path) -> None:
    instances = COCO(folder / "annotations" / "instances_train.json")
    inside, around = [], []
    for entry in instances.loadAnns(instances.getAnnIds()):
        image = instances.loadImgs(entry["image_id"])[0]
        pixels = np.asarray(Image.open(folder / "train" / image["file_name"]).convert("RGB"), dtype=float)
        painted = np.abs(pixels - np.array(COLORS[entry["attributes"]["color"]])).max(-1) < 70
        mask = instances.annToMask(entry).astype(bool)
        x, y, w, h = (round(v) for v in entry["bbox"])
        ring = np.zeros_like(mask)
        ring[max(y - 3, 0) : y + h + 3, max(x - 3, 0) : x + w + 3] = True
        inside.append(painted[mask].mean())
        around.append(painted[ring & ~mask].mean())
    assert np.mean(inside) > 0.5 and np.mean(around) < 0.25
    assert np.mean(np.array(inside) > np.array(around)) > 0.9  # a white thing on snow is the exception


def test_one_to_four_objects_equally_often_and_apart() -> None:
    drawn = [invent(Random(k)) for k in range(800)]
    number = Counter(sum(len(group.boxes) for group in scene.groups) for scene in drawn)
    assert set(number) == {1, 2, 3, 4} and all(0.2 < n / 800 < 0.3 for n in number.values())
    assert {CATEGORY_OF_KIND[g.kind] for s in drawn for g in s.groups} == set(CATEGORIES)
    for scene in drawn:
        boxes = [box for group in scene.groups for box in group.boxes]
        for k, (x, y, w, h) in enumerate(boxes):
            assert x >= 0 and y >= 0 and x + w <= 128 and y + h <= 128
            assert not any(
                x < x2 + w2 and x2 < x + w and y < y2 + h2 and y2 < y + h for x2, y2, w2, h2 in boxes[k + 1 :]
            ), "one object hides another"


def test_large_is_clearly_larger_than_small() -> None:
    sides: dict[tuple[str, str], list[float]] = {}
    for scene in (invent(Random(k)) for k in range(800)):
        for group in scene.groups:
            sides.setdefault((group.kind, group.size), []).extend(max(w, h) for _, _, w, h in group.boxes)
    for kind, size in sides:
        if size == "large" and (kind, "small") in sides:
            assert min(sides[kind, "large"]) > 1.2 * max(sides[kind, "small"])


def test_probabilities_sum_to_one_and_agree_with_every_derivation() -> None:
    tree, summed = grammar(ONE_KITE), Counter[tuple[str, ...]]()
    for text, p in derivations(tree):
        summed[tuple(articles(text))] += p
    assert math.isclose(sum(summed.values()), 1.0)
    for text in Random(0).sample(list(summed), 100):
        assert math.isclose(logprob(tree, list(text)), math.log(summed[text]))


def test_ambiguous_grammar_is_summed_over_derivations() -> None:
    two_ways = Choice(((0.5, Words(("a", "kite"))), (0.5, Sequence((Words(("a",)), Words(("kite",)))))))
    assert logprob(two_ways, ["a", "kite"]) == 0.0


def test_samples_come_as_often_as_their_probability_says() -> None:
    tree, rng, tries = grammar(ONE_KITE), Random(0), 4000
    seen = Counter(" ".join(sample(tree, rng)) for _ in range(tries))
    for text, times in seen.most_common(5):
        p = math.exp(logprob(tree, text.split()))
        assert abs(times / tries - p) < 4 * math.sqrt(p / tries)


def test_articles() -> None:
    assert articles(["a", "orange", "umbrella", "and", "a", "umbrella"]) == [
        "an",
        "orange",
        "umbrella",
        "and",
        "an",
        "umbrella",
    ]
    scene = Scene("sand", "sunny", (Group("umbrella", "red", "small", ((60.0, 70.0, 20.0, 20.0),)),))
    assert caption_logprob(["an", "umbrella"], scene) > -math.inf
    assert caption_logprob(["a", "umbrella"], scene) == -math.inf
    assert caption_logprob(["a", "blue", "umbrella"], scene) == -math.inf


def test_every_written_caption_is_possible_and_names_what_is_there(folder: Path) -> None:
    nouns = category_of_noun()
    for split in SPLITS:
        known = scenes(folder, split)
        written = json.loads((folder / "annotations" / f"captions_{split}.json").read_text())["annotations"]
        for entry in written:
            tokens, scene = entry["caption"].lower().rstrip(".").split(), known[entry["image_id"]]
            assert math.isfinite(caption_logprob(tokens, scene)), entry["caption"]
            named = {nouns[word] for word in tokens if word in nouns}
            assert named and named <= {CATEGORY_OF_KIND[group.kind] for group in scene.groups}


def test_relations_are_true() -> None:
    said: Counter[str] = Counter()
    for scene in (invent(Random(k)) for k in range(600)):
        for a in scene.groups:
            for b in scene.groups:
                if a is b:
                    continue
                left, top, right, bottom = a.extent
                left2, top2, right2, bottom2 = b.extent
                truth = {
                    "above": bottom <= top2,
                    "below": top >= bottom2,
                    "to the left of": right <= left2,
                    "to the right of": left >= right2,
                    "next to": 0 <= max(left2 - right, left - right2) <= 16,
                }
                for _, relation in relations(a, b):
                    assert truth[relation]
                    said[relation] += 1
    assert set(said) == set(truth)


def test_the_floor_is_moderate(folder: Path) -> None:
    assert 2.0 < floor_perplexity(folder, "train") < 3.5


def test_the_floor_of_an_empty_split_is_refused(tmp_path: Path) -> None:
    make(tmp_path / "s", 2, 0, 0)
    with pytest.raises(ValueError, match=r"s has no captions in its split val: draw a sample with more pictures"):
        floor_perplexity(tmp_path / "s", "val")


def test_two_that_draw_at_once_leave_one_sample(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other is done at the last moment: when all is drawn here, and nothing was found there."""
    write = making.write_split

    def write_while_another(fresh: Path, split: str, *rest: int) -> None:
        write(fresh, split, *rest)
        if split == "test":
            shutil.copytree(folder, target)

    target = tmp_path / "sample"
    monkeypatch.setattr(making, "write_split", write_while_another)
    monkeypatch.setattr(making, "already_there", lambda folder, arguments: (folder / "sample.json").is_file())
    make(target, **SPLITS)
    assert files(target) == files(folder) and [path.name for path in tmp_path.iterdir()] == ["sample"]


def test_pictures_come_in_other_sizes() -> None:
    scene = invent(Random(3))
    image, polygons = paint(scene, Random(0), 64)
    assert image.size == (64, 64)
    assert len(polygons) == sum(len(group.boxes) for group in scene.groups)
    assert max(v for parts in polygons for part in parts for v in part) <= 64


def test_an_interrupted_run_leaves_nothing_and_runs_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, numbers = making.write_split, {"train": 3, "val": 2, "test": 2}

    def stop_at_val(folder: Path, split: str, *rest: int) -> None:
        if split == "val":
            raise KeyboardInterrupt
        whole(folder, split, *rest)

    monkeypatch.setattr(making, "write_split", stop_at_val)
    with pytest.raises(KeyboardInterrupt):
        make(tmp_path / "sample", **numbers)
    assert list(tmp_path.iterdir()) == []
    monkeypatch.undo()
    make(tmp_path / "sample", **numbers)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "sample").rglob("*")}
    make(tmp_path / "sample", **numbers)  # there already: nothing is touched
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "sample").rglob("*")}


def test_other_data_is_never_overwritten(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="another sample"):
        make(folder, **SPLITS, seed=5)
    (tmp_path / "holiday.jpg").write_bytes(b"mine")
    with pytest.raises(ValueError, match="not the sample's"):
        make(tmp_path, **SPLITS)
    assert (tmp_path / "holiday.jpg").read_bytes() == b"mine"
    with pytest.raises(ValueError, match="0 to 100000"):
        make(tmp_path / "new", train=-1)
    with pytest.raises(FileNotFoundError, match="draw the sample first"):
        scenes(tmp_path / "nowhere", "train")


def test_what_a_killed_run_left_is_swept_up_a_day_later(tmp_path: Path) -> None:
    old, fresh, other = (tmp_path / name for name in (".sample-abc", ".sample-def", ".samples"))
    for folder in (old, fresh, other):
        (folder / "train").mkdir(parents=True)
    for folder in (old, other):
        os.utime(folder, (0, 0))
    make(tmp_path / "sample", train=1, val=1, test=1)
    assert not old.exists() and fresh.exists() and other.exists()


def test_a_damaged_note_of_the_arguments_is_shown(tmp_path: Path) -> None:
    make(tmp_path / "sample", train=1, val=1, test=1)
    (tmp_path / "sample/sample.json").write_bytes(b'{"version": \xff')
    with pytest.raises(ValueError, match="holds another sample"):
        make(tmp_path / "sample", train=1, val=1, test=1)
