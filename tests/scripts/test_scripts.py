"""What a user relies on at the command line: train, caption and features work together, and say what is wrong."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from dataset.sample import making
from models import checkpoint
from scripts import caption, evaluate, features, runs, train
from training import config, presets

SMALL = {"hidden-size": 16, "word-size": 8, "attention-size": 8, "images-per-batch": 4}
SHORT = {"epochs": 2, "detector-epochs": 1, "tune-epochs": 0}
QUICK = [part for name, value in (SMALL | SHORT).items() for part in (f"--{name}", str(value))]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty working folder with a tiny sample in data/sample."""
    monkeypatch.chdir(tmp_path)
    making.make("data/sample", train=8, val=3, test=3)
    return tmp_path


def test_the_perplexity_at_the_end_is_that_of_the_epoch_that_is_kept():
    by_cider = [{"val_perplexity": p, "score": s} for p, s in ((16.1, 0.60), (17.5, 0.68), (17.6, 0.68))]
    assert runs.kept_epoch(by_cider)["val_perplexity"] == 17.5
    assert runs.kept_epoch([{"val_perplexity": p} for p in (5.0, 4.0, 4.5)])["val_perplexity"] == 4.0


def test_train_then_caption(folder, capsys):
    train.main([*QUICK, "--caption-words", "10"])
    told = capsys.readouterr().out
    assert "epoch  2" in told and "val perplexity" in told
    assert len(json.loads((folder / "runs/sample/model/history.json").read_text())) == 2
    assert Image.open("runs/sample/model/curves.png").width > 300
    picture = next((folder / "data/sample/test").iterdir())
    caption.main([str(picture), "--figure", "look.png"])
    assert capsys.readouterr().out.startswith(picture.name)
    assert Image.open("look.png").width > 100
    caption.main([str(picture), "--figure", "look.gif"])
    words = capsys.readouterr().out.split(": ")[1].split("   (p")[0].split()
    assert Image.open("look.gif").n_frames == len(words) + 1


def test_the_encoder_may_learn_last(folder, capsys):
    train.main([*QUICK, "--tune-epochs", "1"])
    assert "together" in capsys.readouterr().out
    before = load_file(folder / "runs/sample/model/frozen/model.safetensors")
    after = load_file(folder / "runs/sample/model/model.safetensors")
    changed = {key.split(".")[0] for key in before if not before[key].equal(after[key])}
    assert changed == {"encoder", "decoder"}


def test_the_same_command_goes_on_where_it_stopped(folder, capsys):
    train.main([*QUICK, "--epochs", "2"])
    capsys.readouterr()
    train.main([*QUICK, "--epochs", "3"])
    told = capsys.readouterr().out
    assert "epoch  3" in told and "epoch  2" not in told and "pre-training" not in told


def test_faulty_pictures_are_answered_by_a_sentence_each(folder, capsys):
    train.main(QUICK)
    (folder / "text.png").write_text("no picture")
    picture = next((folder / "data/sample/test").iterdir())
    capsys.readouterr()
    with pytest.raises(SystemExit) as stop:
        caption.main(["text.png", "missing.jpg", str(picture), "--num-beams", "1"])
    assert stop.value.code == 1
    said = capsys.readouterr()
    assert picture.name in said.out
    assert len(said.err.strip().splitlines()) == 2 and "text.png" in said.err and "missing.jpg" in said.err


def test_a_model_without_attention_draws_what_it_needs_to_see(folder, capsys):
    known = [
        part
        for name, value in (SMALL | SHORT).items()
        if name != "attention-size"
        for part in (f"--{name}", str(value))
    ]
    train.main([*known, "--decoder", "DecoderRNN"])
    picture = next((folder / "data/sample/test").iterdir())
    caption.main([str(picture), "--figure", "look.png"])
    assert "no attention" in capsys.readouterr().out and Image.open("look.png").width > 100


def test_an_unknown_decoder_is_named(folder):
    with pytest.raises(SystemExit, match="unknown decoder 'Rnn': take one of DecoderRNN, AttentionDecoder"):
        train.main([*QUICK, "--decoder", "Rnn"])


@pytest.mark.parametrize("width", ["1", "5"])
def test_a_caption_may_be_as_long_as_those_it_learned_from(folder, captioner, vocabulary, capsys, width):
    endless = captioner()
    with torch.no_grad():
        endless.decoder.lm_head.bias[vocabulary.end] = -1e9
    checkpoint.save("endless", endless, vocabulary, max_length=26)
    picture = str(next((folder / "data/sample/test").iterdir()))
    caption.main([picture, "--checkpoint", "endless", "--num-beams", width])
    said = capsys.readouterr().out.removeprefix(f"{Path(picture).name}: ").split("   (p")[0]
    assert len(said.split()) == 26  # 25 words, and a place for <end>


def test_features_of_a_photograph_network(folder):
    features.main(["--encoder", "squeezenet1_1", "--weights", "none", "--image-size", "64", "--split", "val"])
    made = np.load(folder / "runs/sample/squeezenet1_1-64px-3x3-val.npy", mmap_mode="r")
    assert made.shape == (3, 9, 512) and made.dtype == np.float16


def test_nobody_has_weights_of_the_small_encoder(folder):
    with pytest.raises(ValueError, match="nobody publishes weights of the encoder small: give --weights FILE"):
        features.main(["--encoder", "small"])
    assert not (folder / "runs").exists()
    features.main(["--encoder", "small", "--weights", "none", "--image-size", "32", "--split", "val"])
    assert list((folder / "runs/sample").glob("small-32px-*-val.npy"))


def test_features_beside_those_of_another_encoder_are_named_where_they_are(folder, capsys):
    how = ["--encoder", "squeezenet1_1", "--weights", "none", "--image-size", "64", "--split", "val"]
    for seed in (1, 2):  # of the encoder's random weights
        torch.manual_seed(seed)
        features.main(how)
    name = capsys.readouterr().out.splitlines()[-1].split(": ")[0]
    assert name != "runs/sample/squeezenet1_1-64px-3x3-val.npy" and np.load(name).shape == (3, 9, 512)


def test_ctrl_c_ends_a_training_with_what_is_kept_and_no_traceback(folder):
    command = [sys.executable, "-m", "scripts.train", *QUICK, "--epochs", "5000"]
    here = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, env=here, **pipes) as process:
        while not process.stdout.readline().startswith("epoch  1"):
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        out, error = process.communicate(timeout=60)
    assert process.returncode == 130 and "Traceback" not in error
    assert out.splitlines()[-1].endswith("run this again to go on") and checkpoint.load("runs/sample/model")


def test_ctrl_c_ends_the_drawing_of_a_sample_without_a_traceback(tmp_path):
    command = [sys.executable, "-m", "scripts.sample", str(tmp_path / "large"), "--train", "90000"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, cwd=Path(__file__).parents[2], **pipes) as process:
        while not list(tmp_path.rglob("*.jpg")):
            assert process.poll() is None
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        out, error = process.communicate(timeout=60)
    assert process.returncode == 130 and "Traceback" not in out + error


def test_a_missing_checkpoint_is_named(folder):
    with pytest.raises(FileNotFoundError, match="no checkpoint at nowhere"):
        caption.main(["x.png", "--checkpoint", "nowhere"])


@pytest.mark.parametrize("command", [train, evaluate, features])
@pytest.mark.parametrize(("limit", "reason"), [("0", "must be 1 or more, not 0"), ("x", "invalid count value: 'x'")])
def test_a_limit_is_one_image_or_more(command, limit, reason, capsys):
    with pytest.raises(SystemExit):
        command.main(["--limit", limit])
    assert f"argument --limit: {reason}" in capsys.readouterr().err


def test_settings_are_read_by_their_type():
    given = {"epochs": "3", "tied": "true", "grid": "none", "learning_rate": "1e-4"}
    changed = config.override(presets.SHOW_AND_TELL, given)
    assert (changed.epochs, changed.tied, changed.grid, changed.learning_rate) == (3, True, None, 1e-4)
    with pytest.raises(ValueError, match="--epochs takes int, not 'many'"):
        config.override(config.Config(), {"epochs": "many"})
    with pytest.raises(ValueError, match=r"SpatialDecoder knows no --tied"):
        config.override(config.Config(), given)


@pytest.mark.parametrize(
    ("setting", "value", "sentence"),
    [
        ("hidden-size", "0", "hidden_size must be 1 or more, not 0"),
        ("image-size", "-64", "image_size must be 1 or more, not -64"),
        ("grid", "0", "grid must be 1 or more, not 0"),
        ("layers", "0", "layers must be 1 or more, not 0"),
        ("images-per-batch", "0", "images_per_batch must be 1 or more, not 0"),
        ("captions-per-image", "-1", "captions_per_image must be 1 or more, not -1"),
        ("caption-words", "1000", "caption_words must be 1 to 999, not 1000"),
        ("finetune", "-1", "finetune must be 0 or more, not -1"),
        ("dropout", "1.5", "dropout must be 0 to 1, not 1.5"),
        ("jitter", "-0.1", "jitter must be 0 to 1, not -0.1"),
        ("epochs", "0", "epochs must be 1 or more, not 0"),
        ("tune-epochs", "-1", "tune_epochs must be 0 or more, not -1"),
        ("learning-rate", "0", "learning_rate must be more than 0, not 0.0"),
        ("label-smoothing", "2", "label_smoothing must be 0 to 1, not 2.0"),
        ("teacher-forcing", "-1", "teacher_forcing must be 0 to 1, not -1.0"),
        ("samples", "1", "samples must be 2 or more, not 1"),
        ("subset", "0", "subset must be 1 or more, not 0"),
        ("seed", "-1", "seed must be 0 or more, not -1"),
        ("optimizer", "adamx", "unknown optimizer 'adamx': take one of adamw, adam, sgd, rmsprop"),
        ("select-on", "bleu", "select_on must be perplexity or cider, not 'bleu'"),
    ],
)
def test_a_setting_outside_its_range_is_refused_before_anything_is_read(setting, value, sentence):
    with pytest.raises(SystemExit) as stop:
        train.main(["--dataset", "not-there", f"--{setting}={value}"])
    assert str(stop.value) == sentence


@pytest.mark.parametrize("command", [train, evaluate, features])
@pytest.mark.parametrize(("given", "meant"), [("gpu", "cuda"), ("cudda:0", "cuda"), ("CPU", "cpu"), ("x3", "auto")])
def test_an_unknown_device_is_answered_with_the_nearest_name(command, given, meant, capsys):
    with pytest.raises(SystemExit):
        command.main(["--device", given])
    assert f"unknown device {given!r}: did you mean {meant}? take auto, cpu, cuda, mps" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["cuda", "mps"])
def test_a_device_that_is_not_here_is_refused(kind, capsys, monkeypatch):
    monkeypatch.setattr(getattr(torch, kind), "is_available", lambda: False)
    with pytest.raises(SystemExit):
        train.main(["--device", kind])
    assert f"this machine has no {kind} device: take cpu, or auto" in capsys.readouterr().err


@pytest.mark.parametrize("mistyped", ["--hidden-sise", "--hidden-siz"])
def test_an_unknown_setting_is_refused_with_the_nearest_name(mistyped):
    with pytest.raises(SystemExit, match=f"unknown setting {mistyped}: did you mean --hidden-size?"):
        train.main([mistyped, "3"])


def test_the_training_config_is_the_settings():
    settings = presets.for_dataset("flickr8k")
    assert settings.dataset == "flickr8k" and settings.training_config().epochs == settings.epochs
    assert settings.encoder_options()["name"] == settings.encoder


def test_an_unknown_preset_is_named_in_a_notebook_too():
    with pytest.raises(ValueError, match="unknown preset 'lstmm': take one of sample, photographs, "):
        presets.for_dataset("sample", "lstmm")
