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


def test_one_picture_is_no_better_and_no_worse(model, capsys):
    people = {record.image_id: record.captions[0] for record in load_records("sample", "val")}
    results.save("people.json", people)
    evaluate.main([*model, "--against", "people.json", "--limit", "1"])
    said = capsys.readouterr().out
    assert "one picture tells nothing" in said and "worse" not in said and "better" not in said


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


@pytest.mark.parametrize(
    ("how", "sentence"),
    [
        (["--top-p", "0.9"], "--top-p and --seed are for words drawn at random: give a --temperature"),
        (["--seed", "1"], "--top-p and --seed are for words drawn at random: give a --temperature"),
        (["--max-length", "0"], "--max-length: must be 1 or more, not 0"),
        (["--temperature", "inf"], "--temperature: must be 0.001 to 1000, not inf"),
        (["--temperature", "nan"], "--temperature: must be 0.001 to 1000, not nan"),
        (["--length-penalty", "1000"], "--length-penalty: must be -10 to 10, not 1000"),
        (["--length-penalty", "x"], "--length-penalty: invalid number value: 'x'"),
    ],
)
def test_a_search_that_cannot_be_is_refused(how, sentence, capsys):
    with pytest.raises(SystemExit):
        evaluate.main(how)
    assert sentence in capsys.readouterr().err


@pytest.mark.parametrize("how", [["--temperature", "0.001"], ["--temperature", "1000"], ["--length-penalty", "10"]])
def test_the_ends_of_the_ranges_can_be_had(model, how):
    assert evaluate.main([*model[:2], *how, "--limit", "1"])["images"] == 1
