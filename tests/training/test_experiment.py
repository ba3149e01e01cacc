"""What a user relies on in an experiment: the recipe is the same from wherever it is started."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from data_loader import Transform
from dataset.loading import load_records
from dataset.sample import making
from models import checkpoint
from training import experiment
from training.config import Config
from training.experiment import build_captioner, image_source, prepare, pretrain_encoder, train_captioner, unfrozen

SMALL = Config(
    image_size=32,
    grid=2,
    hidden_size=16,
    word_size=8,
    attention_size=8,
    images_per_batch=4,
    epochs=1,
    detector_epochs=1,
    tune_epochs=0,
)


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """An empty working folder with a tiny sample in data/sample."""
    monkeypatch.chdir(tmp_path)
    making.make("data/sample", train=8, val=3, test=3, size=64)
    return tmp_path


def test_a_run_is_the_same_whether_the_encoder_was_pre_trained_in_it_or_before(folder, monkeypatch):
    def drawing(*how) -> None:
        """Pre-training that takes random numbers."""
        pretrain_encoder(*how)
        torch.rand(3)

    monkeypatch.setattr(experiment, "pretrain_encoder", drawing)
    first, second = (train_captioner(SMALL, folder / name)[0] for name in ("first", "second"))
    assert first | {"seconds": 0} == second | {"seconds": 0}
    weights = [checkpoint.load(folder / name).model.state_dict() for name in ("first", "second")]
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])


def test_the_decoder_learns_first_then_encoder_and_decoder_at_their_own_rate(folder):
    told = []
    cfg = replace(SMALL, tune_epochs=2, tune_rate=1e-5)
    history = train_captioner(cfg, folder / "run", report=lambda row, caption: told.append((row["lr"], caption)))
    assert len(told) == 3 and len(history) == 2 and all(isinstance(caption, str) for _, caption in told)
    assert max(row["lr"] for row in history) <= 1e-5 < told[0][0] <= SMALL.learning_rate
    frozen, tuned = (checkpoint.load(folder / name) for name in ("run/frozen", "run"))
    assert frozen.model.encoder.frozen and not tuned.model.encoder.frozen
    assert frozen.images == tuned.images and len(tuned.images.learned) == 8
    before, after = frozen.model.encoder.state_dict(), tuned.model.encoder.state_dict()
    assert any(not torch.equal(before[key], after[key]) for key in before)


def test_two_trainings_do_not_share_a_folder(folder):
    holder = (
        "import sys, time\nfrom dataset import files\nlock = files.claim(sys.argv[1])\nprint(1, flush=True)\ninput()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", holder, str(folder / "run" / ".train.lock")],
        cwd=Path(experiment.__file__).parents[1],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as other:
        other.stdout.readline()
        with pytest.raises(ValueError, match="another training is at work in it: choose another --name, or wait"):
            train_captioner(SMALL, folder / "run")
        other.communicate(b"\n")
    assert train_captioner(SMALL, folder / "run")


def test_a_longer_first_stage_after_the_second_is_refused_at_the_start_of_the_second(folder):
    cfg = replace(SMALL, tune_epochs=1)
    train_captioner(cfg, folder / "run")
    with pytest.raises(ValueError, match="another number of --epochs before the encoder learned"):
        train_captioner(replace(cfg, epochs=2), folder / "run")


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"decoder": "Foo"}, "unknown decoder 'Foo'"),
        ({"decoder": "AttentionDecoder", "cell": "foo"}, "unknown cell 'foo'"),
        ({"decoder": "TransformerDecoder", "hidden_size": 15, "heads": 5}, "hidden_size must be even"),
        ({"decoder": "ShowAndTell", "attention_penalty": 1.0}, "attention_penalty is for a decoder with attention"),
    ],
)
def test_a_decoder_that_cannot_be_is_said_before_an_encoder_learns(folder, wrong, sentence):
    with pytest.raises(ValueError, match=sentence):
        train_captioner(replace(SMALL, **wrong), folder / "run")
    assert not list(folder.rglob("small_cnn-*"))


def test_all_captions_of_validation_count_and_one_picture_chooses_no_epoch(folder):
    made, model = prepare(SMALL)
    record = made.val[0]
    many = replace(made, val=[replace(record, captions=("a dog",) * 8)])
    batch = next(iter(many.loader(model.encoder, training=False)))
    assert len(batch.captions) == 8
    choosing = replace(many, cfg=replace(SMALL, select_on="cider"))
    with pytest.raises(ValueError, match="--select-on cider needs at least two validation pictures"):
        choosing.fit(model, SMALL.training_config(), folder / "run")


def test_what_learns_sees_pictures_and_what_is_frozen_kept_features(folder):
    records, model = load_records("sample", "train", instances=False), build_captioner(SMALL, 50)
    learning = unfrozen(model, SMALL)
    assert image_source(records, learning.encoder, folder, jitter=0.1) == {"transform": Transform(32, 0.1)}
    assert learning.decoder is model.decoder and not learning.encoder.frozen
    (part,) = image_source(records[:3], model.encoder, folder, part=True)["features"]
    views = image_source(records, model.encoder, folder, views=2)["features"]
    (again,) = image_source(records[:3], model.encoder, folder, part=True)["features"]  # the whole split's serve it
    assert [len(each) for each in (part, *views, again)] == [3, 8, 8, 8]
    assert {file.stem for file in folder.glob("*.npy")} == {
        f"small-32px-2x2-train{end}" for end in ("-3", "", "-view1")
    }
