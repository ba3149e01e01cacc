"""What a user relies on in scripts.evaluate beyond its scores: what it compares with, and what it refuses."""

import json
from pathlib import Path

import pytest

from dataset.loading import load_records
from dataset.sample import making
from evaluation import results
from models import checkpoint
from scripts import evaluate


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
