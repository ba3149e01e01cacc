"""What whoever starts the page relies on: which models it shows, over which pictures, and what is found out first."""

import json
import os
import socket
from dataclasses import replace
from pathlib import Path

import nbformat
import pytest

from dataset.sample import making
from models import checkpoint
from scripts import app
from training.config import Config

ROOT = Path(__file__).parents[2]
TINY = {"hidden_size": 8, "word_size": 8, "attention_size": 8, "detector_epochs": 1, "epochs": 1, "tune_epochs": 0}


@pytest.fixture
def place(captioner, vocabulary, tiny_coco, tmp_path, monkeypatch):
    """A working folder with two checkpoints of the tiny dataset."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(app.SHOWN, raising=False)
    for folder in ("one/my_model", "two/my_model", "two/other"):
        checkpoint.save(folder, captioner(), vocabulary, {"settings": {"dataset": str(tiny_coco)}}, max_length=5)
    return tmp_path


@pytest.mark.parametrize(
    ("folders", "names"),
    [
        (["two/other"], ["other"]),
        (["one/my_model", "two/other"], ["my model", "other"]),
        (["one/my_model", "two/my_model"], ["one/my_model", "two/my_model"]),
    ],
)
def test_any_checkpoints_are_shown_over_pictures_of_their_dataset(place, folders, names):
    captioners, records = app.shown(folders)
    assert list(captioners) == names and [record.split for record in records] == ["test"] * 3


def test_the_page_shows_what_was_asked_for(place, monkeypatch, capsys):
    monkeypatch.setenv(app.SHOWN, json.dumps([["one/my_model", "two/other"], None]))
    cells = nbformat.read(ROOT / app.NOTEBOOK, as_version=4).cells
    code = "\n".join(cell.source for cell in cells if cell.cell_type == "code").replace("%cd -q ..", "")
    names: dict = {}
    exec(code.replace("explore(*shown())", "page = explore(*shown())"), names)
    assert names["page"].names == ["my model", "other"] and len(names["page"].thumbnails) == 3


def test_another_dataset_and_one_without_a_test_split(place, tiny_coco):
    for split in ("test", "val"):
        (tiny_coco / "annotations" / f"captions_{split}.json").unlink()
        _, records = app.shown(["one/my_model"])
        assert {record.split for record in records} == {{"test": "val", "val": "train"}[split]}
    making.make("data/other", train=2, val=2, test=2)
    assert len(app.shown(["one/my_model"], "data/other")[1]) == 2


def test_a_taken_port_is_found_before_anything_starts(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        for port in (taken.getsockname()[1], 70_000, -5):
            with pytest.raises(OSError, match=rf"port {port} is taken, or not for us: try another one with --port"):
                app.main(["--port", str(port)])
    assert os.listdir() == [], "nothing was drawn or trained"


def test_what_is_wrong_with_a_checkpoint_is_said_before_the_page_is_served(place):
    with pytest.raises(FileNotFoundError, match="no checkpoint at nowhere"):
        app.main(["--port", "0", "--checkpoint", "two/other", "nowhere"])
    (place / "two/other/config.json").write_text("{")
    with pytest.raises(ValueError, match=r"config\.json is not a checkpoint's config"):
        app.main(["--port", "0", "--checkpoint", "two/other"])
    with pytest.raises(OSError, match="nowhere"):
        app.main(["--port", "0", "--checkpoint", "one/my_model", "--dataset", "nowhere"])


def test_a_missing_model_of_the_sample_is_trained_once(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    making.make("data/sample", train=4, val=2, test=2)
    monkeypatch.setattr(app, "for_dataset", lambda name: replace(Config(dataset=name), **TINY))
    app.make_sample_model()
    captioners, records = app.shown()
    assert list(captioners) == ["model"] and len(records) == 2 and "epoch  1" in capsys.readouterr().out
    app.make_sample_model()
    assert "epoch" not in capsys.readouterr().out
