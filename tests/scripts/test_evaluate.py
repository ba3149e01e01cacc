"""What a user relies on in scripts.evaluate beyond its scores: what it compares with, and what it refuses."""

import json
from pathlib import Path

import pytest

from dataset.loading import load_records
from dataset.sample import making
from evaluation import results
from models import checkpoint
from scripts import evaluate, train


@pytest.fixture
def model(tmp_path, monkeypatch, captioner, vocabulary) -> list[str]:
    """A working folder with a tiny sample and an untrained model; the options that name it."""
    monkeypatch.chdir(tmp_path)
    making.make("data/sample", train=8, val=3, test=3)
    checkpoint.save("model", captioner(), vocabulary)
    return ["--checkpoint", "model", "--num-beams", "1"]


def test_the_captions_that_are_overwritten_are_those_compared_with(model, capsys):
    people = {record.image_id: record.captions[0] for record in load_records("sample", "val")}
    results.save("model/captions-val.json", people)
    evaluate.main([*model, "--against", "model/captions-val.json"])
    assert "BLEU-1: -" in capsys.readouterr().out  # people's captions are better than an untrained model's
    assert json.loads(Path("model/captions-val.json").read_text())[0]["caption"] not in people.values()


def test_a_held_out_part_is_not_looked_for_in_another_dataset(model, captioner, vocabulary):
    held = [record.image_id for record in load_records("sample", "train")][:2]
    for name, ids in (("own", held), ("other", [*held, "one.jpg"])):
        images = checkpoint.TrainingImages((), held_out=tuple(ids))
        checkpoint.save(name, captioner(), vocabulary, images=images)
    how = ["--num-beams", "1", "--split", "held-out", "--dataset", "sample", "--checkpoint"]
    assert evaluate.main([*how, "own"])["images"] == 2
    with pytest.raises(ValueError, match="sample has not all pictures that the model held out"):
        evaluate.main([*how, "other"])


def test_the_neighbours_are_found_where_the_dataset_lies_now(model):
    short = ["--epochs", "1", "--detector-epochs", "1", "--tune-epochs", "0", "--hidden-size", "8"]
    run = str(train.main(["--preset", "lstm", *short]))
    Path("data/sample").rename("data/moved")
    how = ["--checkpoint", run, "--consensus", "2", "--max-length", "4"]
    assert evaluate.main([*how, "--dataset", "moved"])["images"] == 3
    with pytest.raises(FileNotFoundError, match="No dataset at data/sample"):
        evaluate.main(how)
