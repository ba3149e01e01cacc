"""What a user relies on in the features on disk: the encoder's own numbers, or a clear sentence."""

import copy
import pickle
import random
import re
import shutil
import subprocess
import sys
import time
from collections import namedtuple
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import LONG
from PIL import Image

from data_loader import Transform, get_loader
from dataset.loading import load_records
from dataset.pictures import open_image
from dataset.sample import making
from model import EncoderCNN
from training.features import Features, extract


@pytest.fixture
def encoder() -> EncoderCNN:
    torch.manual_seed(0)
    return EncoderCNN("small", image_size=32, grid=2, finetune=0)


def stop_at(encoder: EncoderCNN, batch: int):
    """The encoder is interrupted, as by Ctrl-C, at so many batches from now."""
    calls = iter(range(batch))

    def hook(*_):
        if next(calls, None) is None:
            raise KeyboardInterrupt

    return encoder.blocks.register_forward_pre_hook(hook)


def test_the_file_holds_what_the_encoder_says(records, encoder, tmp_path, capsys):
    path = tmp_path / "new" / "val.npy"
    features = extract(records["val"], encoder, path, progress=False)
    assert f"{path}: 0 MB of features for 3 images" in capsys.readouterr().out
    assert list(features) == [7, 8, 9] and len(features) == 3 and features.shape == (4, encoder.feature_size)
    assert 8 in features and 1 not in features
    images = torch.stack([Transform(32)(open_image(r.path)) for r in records["val"]])
    expected = encoder.eval()(images).half().numpy()
    for row, image_id in zip(expected, (7, 8, 9), strict=True):
        assert features[image_id].dtype == np.float16
        np.testing.assert_allclose(features[image_id], row, rtol=2e-3, atol=1e-4)
    travelled = pickle.loads(pickle.dumps(features))
    assert np.array_equal(travelled[8], features[8])
    with pytest.raises(KeyError):
        features[1]


def test_a_stopped_run_goes_on_and_ends_as_one_that_was_not(records, encoder, tmp_path):
    train, whole, resumed = records["train"], tmp_path / "whole.npy", tmp_path / "resumed.npy"
    extract(train, encoder, whole, batch_size=2, progress=False)
    stop = stop_at(encoder, batch=1)
    with pytest.raises(KeyboardInterrupt):
        extract(train, encoder, resumed, batch_size=2, progress=False)
    stop.remove()
    with pytest.raises(ValueError, match=r"resumed\.npy: only 2 of 6 images are done; run it again"):
        Features(resumed)
    seen = []
    counter = encoder.blocks.register_forward_pre_hook(lambda _, args: seen.append(len(args[0])))
    extract(train, encoder, resumed, batch_size=2, progress=False)
    assert seen == [2, 2]  # not the first two again
    assert resumed.read_bytes() == whole.read_bytes()
    extract(train, encoder, resumed, batch_size=2, progress=False)
    assert seen == [2, 2]  # nothing left to do
    counter.remove()


def test_views_differ_and_are_the_same_again(records, encoder, tmp_path):
    """Also where the extraction was interrupted."""
    train = records["train"]
    whole, first, second = (
        extract(train, encoder, tmp_path / f"{view}.npy", batch_size=2, progress=False, view=view) for view in range(3)
    )
    for image_id in whole:
        assert not np.array_equal(first[image_id], whole[image_id])
        assert not np.array_equal(first[image_id], second[image_id])
    stop = stop_at(encoder, batch=1)
    with pytest.raises(KeyboardInterrupt):
        extract(train, encoder, tmp_path / "resumed.npy", batch_size=2, progress=False, view=1)
    stop.remove()
    again = extract(train, encoder, tmp_path / "resumed.npy", batch_size=2, progress=False, view=1)
    assert all(np.array_equal(again[image_id], first[image_id]) for image_id in first)
    beside = extract(train, encoder, tmp_path / "0.npy", progress=False, view=1)
    assert np.array_equal(beside[1], first[1]) and np.array_equal(Features(tmp_path / "0.npy")[1], whole[1])


def test_a_run_begun_anew_does_not_believe_the_marks_of_an_older_one(records, encoder, tmp_path):
    path = tmp_path / "train.npy"
    extract(records["train"], encoder, path, progress=False)
    path.unlink()
    stop_at(encoder, batch=0)
    with pytest.raises(KeyboardInterrupt):
        extract(records["train"], encoder, path, progress=False)
    with pytest.raises(ValueError, match="only 0 of 6 images are done"):
        Features(path)


def test_features_of_other_images_or_another_encoder_are_neither_used_nor_touched(records, encoder, tmp_path, capsys):
    path = tmp_path / "train.npy"
    first = extract(records["train"], encoder, path, progress=False)[1]
    torch.manual_seed(1)
    other_weights = EncoderCNN("small", image_size=32, grid=2, finetune=0)
    other_grid = EncoderCNN("small", image_size=32, grid=1, finetune=0)
    other_size = EncoderCNN("small", image_size=48, grid=2, finetune=0)
    other_size.load_state_dict(encoder.state_dict())
    other_colours = copy.deepcopy(encoder)
    other_colours.mean.add_(0.1)
    renamed = [replace(r, image_id=r.image_id + 100) for r in records["train"]]
    made = [path]
    for images, network in (
        (records["val"], encoder),
        (renamed, encoder),
        (records["train"], other_weights),
        (records["train"], other_grid),
        (records["train"], other_size),  # another transform
        (records["train"], other_colours),
    ):
        beside = extract(images, network, path, progress=False)
        assert re.search(r"train\.npy holds features of (other images|another encoder)", capsys.readouterr().out)
        assert list(beside) == [record.image_id for record in images] and beside.path not in made
        again = extract(images, network, path, progress=False)
        assert again.path == beside.path and "images, from before" in capsys.readouterr().out
        made.append(beside.path)
    assert np.array_equal(Features(path)[1], first)  # untouched
    third = records["train"][2].path.read_bytes()
    Image.new("RGB", (64, 64), "gold").save(records["train"][2].path)  # the same name, another picture
    assert not np.array_equal(extract(records["train"], encoder, path, progress=False)[3], Features(path)[3])
    assert re.search(r"of other images: the file of image 3 had \d+ bytes, now it has \d+", capsys.readouterr().out)
    records["train"][2].path.unlink()  # the features alone suffice
    assert np.array_equal(extract(records["train"], encoder, path, progress=False)[1], first)
    part = extract(records["train"][3:0:-1], encoder, path, progress=False)  # a whole split's serve a part of it
    assert len(part) == 6 and np.array_equal(part[1], first)
    records["train"][2].path.write_bytes(third)
    anew = extract(records["train"], other_weights, path, replace=True, progress=False)
    assert list(anew) == [1, 2, 3, 4, 5, 6] and not np.array_equal(anew[1], first)


@torch.no_grad()
def test_features_that_are_of_no_use_are_refused(records, encoder, tmp_path):
    def sentence() -> str:
        with pytest.raises(ValueError) as caught:
            extract(records["val"], encoder, tmp_path / "val.npy", progress=False)
        (tmp_path / "val.json").unlink()
        return str(caught.value)

    std = encoder.std.clone()
    encoder.std.zero_()  # nan
    assert sentence() == "image 7: features not finite in float16; check the encoder's weights"
    encoder.std.copy_(std * 1e-7)  # finite in float32, beyond 65504
    assert encoder.eval()(torch.zeros(1, 3, 32, 32, dtype=torch.uint8)).isfinite().all()
    assert "image 7: features not finite in float16" in sentence()
    encoder.std.copy_(std)
    for parameter in encoder.parameters():
        parameter.zero_()
    assert sentence() == "image 7: features are all zero; check the encoder's weights"


def test_a_full_disk_is_refused_before_anything_is_written(records, encoder, tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    size = 2 * 3 * 4 * encoder.feature_size + 128
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage(10**9, 10**9 - size + 1, size - 1))
    with pytest.raises(OSError, match=r"val\.npy needs .* GB and the disk has .* GB free: make room"):
        extract(records["val"], encoder, tmp_path / "new" / "val.npy", progress=False)
    assert not list(tmp_path.glob("new/val*"))
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage(10**9, 10**9 - size, size))
    path = tmp_path / "new" / "val.npy"
    extract(records["val"], encoder, path, progress=False)
    assert path.stat().st_size == size


def test_an_encoder_that_learns_or_no_image_is_refused(records, encoder, tmp_path):
    learning = EncoderCNN("small", image_size=32, finetune=None)
    with pytest.raises(ValueError, match="this encoder learns: set finetune=0"):
        extract(records["val"], learning, tmp_path / "val.npy")
    with pytest.raises(ValueError, match="no records to extract features from"):
        extract([], encoder, tmp_path / "val.npy")


def test_missing_and_damaged_files_are_named(records, encoder, tmp_path):
    path = tmp_path / "val.npy"
    with pytest.raises(FileNotFoundError, match=r"val\.npy: no features here; make them with"):
        Features(path)
    extract(records["val"], encoder, path, progress=False)
    (tmp_path / "val.json").write_text('{"image_ids": [')
    with pytest.raises(ValueError, match=r"val\.json: broken JSON .* delete it"):
        Features(path)


def test_training_from_features_is_training_from_pictures(records, vocabulary, captioner, tmp_path):
    model = captioner(finetune=0).eval()
    features = extract(records["val"], model.encoder, tmp_path / "val.npy", progress=False)
    scores = []
    for source in ({"features": features}, {"transform": Transform(32)}):
        batch = next(iter(get_loader(records["val"], vocabulary, shuffle=False, **source)))
        scores.append(model(batch)[0])
    torch.testing.assert_close(*scores, rtol=1e-2, atol=1e-2)


TWIN = """
import sys, time, torch
from pathlib import Path
from dataset.loading import load_records
from model import EncoderCNN
from training import shards
from training.features import extract
torch.manual_seed(0)
shards.ROWS = 2
encoder, folder = EncoderCNN("small", image_size=32, grid=2, finetune=0), Path(sys.argv[2])
records = load_records(sys.argv[1], sys.argv[3])
seen = []
encoder.blocks.register_forward_pre_hook(lambda _, images: seen.append(len(images[0])) or time.sleep(0.05))
sys.stdin.read()
print(len(extract(records, encoder, folder / "x.npy", batch_size=1, progress=False)), sum(seen))
"""


def twins(dataset: Path, folder: Path, splits: list[str]) -> list[subprocess.Popen]:
    """Processes that begin to extract at the same moment."""
    command = [sys.executable, "-c", TWIN, str(dataset), str(folder)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "cwd": Path(__file__).parents[2]}
    runs = [subprocess.Popen([*command, split], **pipes) for split in splits]
    for run in runs:
        run.stdin.close()
    return runs


def test_runs_at_once_make_each_row_once(tiny_coco, tmp_path):
    runs = twins(tiny_coco, tmp_path / "runs", ["train", "train", "val"])
    said = [run.stdout.read() for run in runs]
    assert [run.wait() for run in runs] == [0, 0, 0]
    found, seen = zip(*(map(int, text.splitlines()[-1].split()) for text in said), strict=True)
    assert found == (6, 6, 3) and sum(seen) == 6 + 3
    assert sum(text.count("MB of features") for text in said) == 2 == len(list(tmp_path.glob("runs/*.npy")))
    assert not list(tmp_path.glob("runs/.*.shards"))


@pytest.mark.parametrize("kill", range(20 if LONG else 1))
def test_the_shard_of_a_killed_process_goes_on(tmp_path, kill):
    """The others, or the next run, make it; the files are those of a run that was not killed."""
    making.make(tmp_path / "data", train=16, val=1, test=0, size=64)
    records = load_records(tmp_path / "data", "train")
    torch.manual_seed(0)
    encoder = EncoderCNN("small", image_size=32, grid=2, finetune=0)
    whole = extract(records, encoder, tmp_path / "whole.npy", batch_size=1, progress=False).path
    first, second = twins(tmp_path / "data", tmp_path / "runs", ["train", "train"])
    until = time.monotonic() + 60
    while not list(tmp_path.glob("runs/.*.shards/*.lock")) and time.monotonic() < until:
        time.sleep(0.002)
    time.sleep(random.Random(kill).uniform(0, 0.3))
    first.kill()
    assert second.wait(60) == 0 and first.wait(60) != 0
    for suffix in (".npy", ".json"):
        assert (tmp_path / f"runs/x{suffix}").read_bytes() == whole.with_suffix(suffix).read_bytes()
    assert not list(tmp_path.glob("runs/.*.shards"))
