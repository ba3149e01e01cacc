"""scripts.caption: what it takes, writes and says, and how often it runs the networks for it."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch.nn.modules.module import register_module_forward_hook

from decoding.trace import PATCHES
from model import EncoderCNN
from models import checkpoint
from scripts import caption


@pytest.fixture
def calls():
    """How often an encoder, and a decoder's `forward`, has run."""
    counts = Counter()

    def count(module, given, result) -> None:
        if isinstance(module, EncoderCNN):
            counts["pictures"] += len(given[0])
        elif hasattr(module, "prepare"):
            counts["decoder"] += 1

    handle = register_module_forward_hook(count)
    yield counts
    handle.remove()


@pytest.fixture
def command(captioner, vocabulary, records, tmp_path, monkeypatch):
    """Runs scripts.caption on one picture, with a tiny captioner: `command(attention, *options)`."""
    monkeypatch.chdir(tmp_path)

    def run(attention: str, *options: str) -> None:
        model = captioner(attention=attention)
        with torch.no_grad():
            model.decoder.lm_head.bias[vocabulary.end] = -1e9  # so that there are words to draw
        checkpoint.save("model", model, vocabulary, {"settings": {"caption_words": 5}})
        caption.main([str(records["test"][0].path), "--checkpoint", "model", *options])

    return run


@pytest.mark.parametrize("num_beams", ["1", "3"])
@pytest.mark.parametrize("file", ["look.png", "look.gif"])
def test_a_picture_is_encoded_once_and_the_figure_shows_what_decoding_saw(command, calls, file, num_beams):
    command("additive", "--figure", file, "--num-beams", num_beams)
    assert Image.open(file).width > 100
    assert calls == {"pictures": 1}, "encoded once, and not read by the decoder again"


def test_occlusion_is_computed_only_for_a_figure(command, calls):
    command("none")
    assert calls == {"pictures": 1}
    command("none", "--figure", "look.png")
    assert calls == {"pictures": 1 + 1 + PATCHES**2, "decoder": 1} and Image.open("look.png").width > 100


@pytest.fixture
def model(captioner, vocabulary, tmp_path, monkeypatch):
    """A tiny captioner in the folder `model`, and pictures beside it: a.png, b.JPG, deeper/c.png."""
    monkeypatch.chdir(tmp_path)
    checkpoint.save("model", captioner(), vocabulary, max_length=5)
    (tmp_path / "holiday/deeper").mkdir(parents=True)
    for name in ("a.png", "b.JPG", "deeper/c.png"):
        Image.new("RGB", (40, 30), "teal").save(tmp_path / "holiday" / name)
    (tmp_path / "holiday/notes.txt").write_text("not a picture")
    return ["--checkpoint", "model", "--num-beams", "1"]


@pytest.mark.parametrize(
    ("given", "names"),
    [
        (["holiday"], ["a.png", "b.JPG"]),
        (["holiday/*.png"], ["a.png"]),
        (["holiday/**/*.png", "holiday/a.png"], ["a.png", "c.png"]),
        (["holiday", "holiday/deeper"], ["a.png", "b.JPG", "c.png"]),
    ],
)
def test_files_folders_and_patterns_are_captioned_once_each(model, capsys, given, names):
    caption.main([*given, *model])
    assert [line.split(": ")[0] for line in capsys.readouterr().out.splitlines()] == names


def test_what_macos_leaves_beside_pictures_is_none(model, capsys):
    for name in ("._a.png", ".DS_Store", "Thumbs.db"):
        Path("holiday", name).write_bytes(b"\0\5\x16\7")
    caption.main(["holiday", *model])
    said = capsys.readouterr()
    assert "cannot be read" not in said.err and "._" not in said.out


def test_a_name_that_looks_like_a_pattern_may_be_a_file(model, capsys):
    Image.new("RGB", (40, 30)).save("[1].png")
    caption.main(["[1].png", *model])
    assert capsys.readouterr().out.startswith("[1].png: ")


def test_captions_are_kept_as_a_table_and_as_json(model):
    caption.main(["holiday", *model, "--output", "kept/captions.csv"])
    caption.main(["holiday", *model, "--output", "captions.JSON"])
    with open("kept/captions.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    kept = json.loads(Path("captions.JSON").read_text(encoding="utf-8"))
    assert [row["picture"] for row in rows] == ["holiday/a.png", "holiday/b.JPG"] == [row["picture"] for row in kept]
    assert [row["caption"] for row in rows] == [row["caption"] for row in kept]
    for row, other in zip(rows, kept, strict=True):
        assert float(row["probability"]) == pytest.approx(other["probability"], abs=1e-6)


def test_it_goes_on_after_what_cannot_be_read_and_the_status_tells(model, tmp_path, capsys):
    (tmp_path / "holiday/a2.jpg").write_text("<html>404</html>")
    (tmp_path / "empty").mkdir()
    wrong = ["https://example.org/a.jpg", "empty", "none/*.jpg", "missing.jpg"]
    with pytest.raises(SystemExit) as ended:
        caption.main(["holiday", *wrong, *model, "--output", "captions.csv"])
    said = capsys.readouterr()
    assert ended.value.code == 1 and "Traceback" not in said.err
    assert "a.png: " in said.out and "b.JPG: " in said.out and "2 captions in captions.csv" in said.out
    for sentence in (
        "https://example.org/a.jpg is an address, not a file: download the picture first",
        "empty is a folder without pictures",
        "none/*.jpg: no file matches this pattern",
        "missing.jpg: no such file",
        "a2.jpg cannot be read as an image",
    ):
        assert sentence in said.err
    assert len(Path("captions.csv").read_text(encoding="utf-8").splitlines()) == 3


def test_a_table_is_written_whole_or_not_at_all(model, tmp_path, capsys):
    (tmp_path / "captions.csv").write_text("what was there")
    with pytest.raises(SystemExit):
        caption.main(["missing.jpg", *model, "--output", "captions.csv"])
    assert (tmp_path / "captions.csv").read_text() == "what was there"
    with pytest.raises(SystemExit):
        caption.main(["holiday", *model, "--output", "captions.xls"])
    assert "captions.xls must end in .csv or .json" in capsys.readouterr().err
    with pytest.raises(OSError, match=r"could not be written"):
        caption.main(["holiday", *model, "--output", "holiday/a.png/captions.csv"])


def test_a_checkpoint_named_by_its_file_is_answered_with_its_folder(model):
    with pytest.raises(
        ValueError, match=r"model\.safetensors is a file, a checkpoint is a folder: did you mean model\?"
    ):
        caption.main(["holiday", "--checkpoint", "model/model.safetensors"])


def test_a_figure_that_cannot_be_written_is_said_before_the_captions(model, capsys):
    with pytest.raises(SystemExit):
        caption.main(["holiday", *model, "--figure", "look.xyz"])
    assert "look.xyz must end in .png, .jpg, .jpeg, .pdf, .svg or .gif" in capsys.readouterr().err
    with pytest.raises(OSError, match=r"look\.png could not be written"):
        caption.main(["holiday", *model, "--figure", "holiday/a.png/look.png"])
    assert capsys.readouterr().out == ""


def test_a_figure_gets_its_folder(command):
    command("additive", "--figure", "new/look.PNG")
    assert Image.open("new/look.PNG").width > 100


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere every name of a file is text")
@pytest.mark.parametrize("table", ["captions.csv", "captions.json"])
def test_a_name_that_is_no_text_is_escaped_in_the_table(model, table):
    os.rename(b"holiday/b.JPG", b"holiday/caf\xe9.jpg")
    caption.main(["holiday", *model, "--output", table])
    text = Path(table).read_text(encoding="utf-8")
    rows = json.loads(text) if table.endswith("json") else list(csv.DictReader(text.splitlines()))
    assert [row["picture"] for row in rows] == ["holiday/a.png", "holiday/caf\\xe9.jpg"]


def test_ctrl_c_keeps_the_captions_so_far(model):
    for number in range(3000):
        shutil.copy("holiday/a.png", f"holiday/{number:04}.png")
    command = [sys.executable, "-m", "scripts.caption", "holiday", *model, "--output", "captions.csv"]
    here = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2]), "PYTHONUNBUFFERED": "1"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, env=here, **pipes) as process:
        first = process.stdout.readline()
        process.send_signal(signal.SIGINT)
        out, error = process.communicate(timeout=60)
    rows = Path("captions.csv").read_text().splitlines()[1:]
    assert first.startswith("0000.png: ") and 1 <= len(rows) < 3000
    assert len(rows) - 1 - out.count("(p = ") in (0, 1)  # the last may be kept and not yet printed
    assert process.returncode == 130 and "Traceback" not in error
    assert f"stopped after {len(rows):,} of 3,002 pictures" in error
