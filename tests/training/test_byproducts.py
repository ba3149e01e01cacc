"""What earlier runs have left is used only for what it was made for, and a dataset with gaps can be trained on."""

import csv
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from scripts import evaluate, train
from training.config import Config
from training.experiment import records_of, vocabulary_for, with_encoder_weights

SMALL = Config(image_size=32, grid=2, detector_epochs=1)
QUICK = ["--encoder", "small", "--weights", "none", "--image-size", "32", "--grid", "2", "--detector-epochs", "1"]
QUICK += ["--hidden-size", "16", "--word-size", "8", "--attention-size", "8", "--project", "none", "--epochs", "1"]


def dataset(folder: Path, first: int = 0) -> Path:
    """20 pictures with a caption each in a table."""
    (folder / "images").mkdir(parents=True)
    with (folder / "captions.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["image", "caption"])
        for i in range(20):
            Image.new("RGB", (32, 32), (8 * i, first, 100)).save(folder / f"images/{i}.jpg")
            table.writerow([f"{i}.jpg", f"a shape number {first + i} on a wall"])
    return folder


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """An empty working folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def eye(cfg: Config, limit: int | None = None) -> str | None:
    """The weights that a run of these settings begins with."""
    learned = records_of(cfg)[0][:limit]
    return with_encoder_weights(cfg, learned, vocabulary_for(cfg, learned)).weights


def test_an_encoder_serves_only_what_it_was_trained_for(folder, capsys):
    one, other = dataset(folder / "one/photos"), dataset(folder / "other/photos", first=50)
    cfg = replace(SMALL, dataset=str(one))
    trial = eye(cfg, limit=4)
    whole = eye(cfg)
    longer = eye(replace(cfg, detector_epochs=2))
    namesake = eye(replace(cfg, dataset=str(other)))
    seed = eye(replace(cfg, seed=1))
    assert len({trial, whole, longer, namesake, seed}) == 5
    assert len({Path(path).read_bytes() for path in (trial, whole, longer, namesake, seed)}) == 5
    assert "from before" not in capsys.readouterr().out
    assert eye(replace(cfg, epochs=99)) == whole  # what does not concern it
    told = capsys.readouterr().out
    assert f"{whole}: an encoder pre-trained on these pictures with these settings, from before" in told


def test_a_trial_run_and_a_namesake_leave_a_run_as_it_would_have_been(folder, capsys):
    one, other = dataset(folder / "one/photos"), dataset(folder / "other/photos", first=50)
    clean = train.main(["--dataset", str(one), *QUICK, "--folder", "clean"])
    weights = (clean / "model.safetensors").read_bytes()
    for file in Path("runs/photos").iterdir():
        file.unlink()
    train.main(["--dataset", str(one), *QUICK, "--limit", "4", "--name", "trial"])
    train.main(["--dataset", str(other), *QUICK, "--name", "other"])
    capsys.readouterr()
    again = train.main(["--dataset", str(one), *QUICK, "--folder", "again"])
    assert (again / "model.safetensors").read_bytes() == weights
    assert (
        "holds features of another encoder, or of one with other weights: these go to a file" in capsys.readouterr().out
    )


def test_missing_pictures_are_left_out_by_an_option(folder, capsys):
    data = dataset(folder / "photos")
    train.main(["--dataset", str(data), *QUICK])
    for i in (3, 11, 17):
        (data / f"images/{i}.jpg").unlink()
    for stop in ([], ["--broken", "stop"]):
        with pytest.raises(FileNotFoundError, match=r"of 16 images are missing from .*--broken skip"):
            train.main(["--dataset", str(data), *QUICK, "--name", "fewer", *stop])
    run = train.main(["--dataset", str(data), *QUICK, "--name", "fewer", "--broken", "skip"])
    assert "left out: " in capsys.readouterr().out
    scores = evaluate.main(["--checkpoint", str(run), "--num-beams", "1", "--broken", "skip", "--split", "train"])
    assert scores["images"] < 16
