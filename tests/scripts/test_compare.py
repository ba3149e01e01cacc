"""What a user relies on in scripts.compare: the settings of scripts.train, and a table at the end of the work."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from dataset.loading import load_records
from dataset.sample import making
from scripts import compare, train


@pytest.mark.parametrize(
    "given",
    [
        [],
        ["--encoder", "resnet18"],
        ["--encoder", "resnet18", "--weights", "none"],
        ["--encoder", "timm/resnet18"],
        ["--encoder", "small", "--epochs", "2"],
        ["--threshold", "5"],
    ],
)
@pytest.mark.parametrize("dataset", ["sample", "flickr8k"])
@pytest.mark.parametrize("first", ["lstm", "show_attend_tell"])
def test_the_settings_are_those_that_train_has(given, dataset, first):
    how = ["--dataset", dataset, *given]
    settings = compare.settings_for(*compare.parse([first, "rnn", *how]))
    assert settings[first] == train.parse(["--preset", first, *how])[1]
    alone, shared = vars(train.parse(["--preset", "rnn", *how])[1]), vars(settings[first])
    assert vars(settings["rnn"]) == alone | {name: shared[name] for name in compare.SHARED}


QUICK = ["--hidden-size", "8", "--epochs", "1", "--detector-epochs", "1", "--device", "cpu"]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty working folder with a tiny sample in data/sample."""
    monkeypatch.chdir(tmp_path)
    making.make("data/sample", train=8, val=4, test=0)
    return tmp_path


@pytest.mark.parametrize(
    ("how", "sentence"),
    [
        (["--split", "tset"], "has no split 'tset'; it has train, val"),
        (["--split", "held-out"], "nothing is held out; say how many pictures with --hold-out"),
    ],
)
def test_a_split_that_is_not_there_is_said_before_the_trainings(folder, how, sentence):
    with pytest.raises(ValueError, match=sentence):
        compare.main(["lstm", *QUICK, *how])
    assert not (folder / "runs").exists()


def test_what_is_left_out_of_the_training_is_left_out_of_the_table(folder):
    first, second, third, _ = load_records("sample", "val")
    first.path.unlink()
    second.path.write_text("no picture")
    table = compare.main(["lstm", *QUICK, "--broken", "skip"]).read_text()
    assert [name in table for name in (first.path.name, second.path.name, third.path.name)] == [False, False, True]
    assert scores("lstm")["images"] == 2


def test_the_held_out_pictures_are_in_the_table(folder):
    table = compare.main(["lstm", *QUICK, "--hold-out", "3", "--split", "held-out"]).read_text()
    held = load_records("sample", "train")
    assert sum(record.path.name in table for record in held) == 3


def test_a_limit_holds_for_the_scores_and_a_dot_in_a_name_is_kept_in_the_tables(folder):
    compare.main(["--encoders", "small", *QUICK, "--tune-epochs", "0", "--limit", "2"])
    assert scores("small")["images"] == 2
    weights = next(Path("runs/sample").glob("small_cnn*.pth")).rename("w.v2.pth")
    table = compare.main(["--encoders", f"small={weights}", *QUICK, "--tune-epochs", "0"])
    assert table == Path("runs/sample/compare/small-w.v2.md") and table.exists()


SECONDS = r"(?<=M \|) [\d.]+(?= \|)"  # of an epoch


def test_two_processes_write_the_table_of_one(folder):
    how = ["lstm", *QUICK, "--tune-epochs", "0"]
    table = compare.main(how)
    alone = table.read_text()
    shutil.rmtree("runs")
    here = {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2]), "GLOO_SOCKET_IFNAME": "lo"}
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    ended = subprocess.run([*torchrun, "-m", "scripts.compare", *how], env=os.environ | here, capture_output=True)
    assert ended.returncode == 0 and ended.stdout.decode().count("a person") == 1, ended.stderr.decode()[-3000:]
    together = table.read_text()
    number = r"\d+\.\d+"
    assert re.sub(number, "", together) == re.sub(number, "", alone)
    of_alone, of_together = ([float(x) for x in re.findall(number, re.sub(SECONDS, "", t))] for t in (alone, together))
    assert of_together == pytest.approx(of_alone, abs=0.002)  # gradients are added up in another order


def scores(name: str) -> dict:
    """The scores that a run has left."""
    return json.loads(Path(f"runs/sample/compare/{name}/scores-val.json").read_text())
