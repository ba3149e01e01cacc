"""What a user relies on in evaluate, compare, convert and download: numbers in files, a dataset like any other."""

import functools
import html
import http.server
import json
import threading
import zipfile
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from PIL import Image

import checkpoint
import coco
import config
import metrics
import sample_data
from scripts import caption, compare, convert, download, evaluate, presets, train
from vocabulary import Vocabulary

QUICK = ["--hidden-size", "16", "--epochs", "2", "--images-per-batch", "4", "--detector-epochs", "1"]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty working folder with a tiny sample in data/sample."""
    monkeypatch.chdir(tmp_path)
    sample_data.make("data/sample", train=8, val=3, test=3)
    return tmp_path


def test_every_preset_trains_on_the_sample_and_adaptive_tells_how_much_each_word_looks(folder, capsys):
    run = train.main([*QUICK, "--preset", "adaptive", "--epochs", "12", "--learning-rate", "0.01", "--dropout", "0"])
    assert run == Path("runs/sample/adaptive") and checkpoint.load(run).about["preset"] == "adaptive"
    picture = next((folder / "data/sample/test").iterdir())
    caption.main([str(picture), "--checkpoint", str(run), "--figure", "look.png"])
    assert Image.open("look.png").width > 100 and Image.open("look-looks.png").width > 50


def test_a_subset_is_whole_pictures_at_random(folder):
    records = coco.load("sample", "train")
    part = train.part_of(records, 12, seed=1)
    assert len(part) == 3 and part == sorted(part, key=records.index)
    assert part == train.part_of(records, 12, seed=1) != train.part_of(records, 12, seed=2)
    assert train.part_of(records, None, seed=1) == records
    assert train.part_of(records, 10**6, seed=1) == records
    train.main([*QUICK, "--preset", "lstm", "--subset", "12"])
    assert (folder / "runs/sample/small-128px-8x8-train-3.npy").is_file()


def test_evaluate_measures_and_writes(folder, capsys):
    run = train.main([*QUICK, "--preset", "show_attend_tell"])
    history = json.loads((run / "history.json").read_text())
    capsys.readouterr()
    scores = evaluate.main(["--checkpoint", str(run)])
    assert scores["perplexity"] == pytest.approx(min(row["val_perplexity"] for row in history), rel=1e-3)
    assert scores["images"] == 3 and 0 <= scores["true pairs"] <= 1
    assert json.loads((run / "scores-val.json").read_text()) == scores
    out = capsys.readouterr().out
    assert all(name in out for name in ("perplexity", "BLEU-4", "CIDEr-D", "CHAIR-i", " ± "))
    captions = metrics.load_results(run / "captions-val.json", [r.image_id for r in coco.load("sample", "val")])
    page = (run / "captions-val.html").read_text()
    assert page.count("data:image/jpeg") == 9 and "http" not in page  # three best, worst, by chance: all of them
    assert all(html.escape(caption) in page for caption in captions.values())


def test_results_of_anyone_are_measured_and_compared(folder, capsys):
    records = coco.load("sample", "val")
    for name, which in (("people", 0), ("others", 1)):
        metrics.save_results(folder / f"{name}.json", {r.image_id: r.captions[which] for r in records})
    how = ["--dataset", "sample", "--results", str(folder / "people.json")]
    scores = evaluate.main([*how, "--against", str(folder / "others.json")])
    assert scores["BLEU-1"] == pytest.approx(1) and scores["CHAIR-i"] == 0  # the references hold the captions
    assert json.loads((folder / "people-scores.json").read_text()) == scores and (folder / "people.html").exists()
    assert "CIDEr-D: " in capsys.readouterr().out
    evaluate.main([*how, "--against", str(folder / "people.json")])
    assert capsys.readouterr().out.count("no difference that means anything") == 6


def test_an_ensemble_and_a_held_out_part_are_evaluated(folder, capsys):
    how = ["--preset", "lstm", "--hold-out", "3", "--select-on", "cider"]
    runs = [str(train.main([*QUICK, *how, "--seed", "5", "--name", name])) for name in ("a", "b")]
    assert "CIDEr-D" in capsys.readouterr().out
    alone = evaluate.main(["--checkpoint", runs[0], "--split", "held-out"])
    both = evaluate.main(["--checkpoint", *runs, "--split", "held-out", "--out", "both"])
    assert alone["images"] == 3 and both["perplexity"] == pytest.approx(alone["perplexity"], rel=1e-3)  # twins
    held = {row["image_id"] for row in json.loads((folder / "both/captions-held-out.json").read_text())}
    assert held < {record.image_id for record in coco.load("sample", "train")}
    learned, validated = train.records_of(config.for_dataset("sample", "lstm", {"hold_out": "3", "seed": "5"}))
    assert {r.image_id for r in validated} == held and len(learned) == 5 and not held & {r.image_id for r in learned}
    with pytest.raises(ValueError, match="hold-out"):
        train.main([*QUICK, "--hold-out", "8"])


def test_a_run_begins_with_another_ones_weights(folder):
    frozen = train.main([*QUICK, "--preset", "lstm"])
    how = [
        "--preset",
        "lstm",
        "--begin-with",
        str(frozen),
        "--learning-rate",
        "0",
        "--finetune",
        "2",
        "--name",
        "tuned",
    ]
    tuned = train.main([*QUICK, *how])
    before, after = (checkpoint.load(run).model for run in (frozen, tuned))
    assert after.encoder.finetune == 2
    for name, weights in before.decoder.state_dict().items():
        assert torch.equal(weights, after.decoder.state_dict()[name])
    with pytest.raises(ValueError, match="is another model than these settings describe"):
        train.main([*QUICK, "--preset", "rnn", "--begin-with", str(frozen)])


@pytest.mark.parametrize("how", [["--width", "1"], ["--temperature", "0.8", "--top-p", "0.9"], ["--no-repeat", "1"]])
def test_every_search_is_at_hand(folder, how):
    run = train.main([*QUICK, "--preset", "rnn"])
    evaluate.main(["--checkpoint", str(run), *how, "--max-length", "6", "--min-length", "4"])
    for row in json.loads((run / "captions-val.json").read_text()):
        words = row["caption"].split()
        assert 4 <= len(words) <= 6 and ("--no-repeat" not in how or len(set(words)) == len(words))


def test_compare_trains_alike_and_writes_table_and_figure(folder, capsys):
    table = compare.main(["rnn", "lstm", "attention_lstm", *QUICK]).read_text()
    rows = [line for line in table.splitlines() if line.startswith(("| rnn", "| lstm", "| attention_lstm"))]
    assert len(rows) == 3 and "perplexity" in table and "a person" in table
    names = [record.path.name for record in coco.load("sample", "val")]
    assert all(name in table for name in names)
    assert Image.open("runs/sample/compare/rnn-lstm-attention_lstm.png").width > 300
    eyes = [checkpoint.load(f"runs/sample/compare/{name}").model.encoder.state_dict() for name in ("rnn", "lstm")]
    assert all(torch.equal(eyes[0][key], eyes[1][key]) for key in eyes[0])
    capsys.readouterr()
    compare.main(["rnn", "lstm", "attention_lstm", *QUICK])
    assert "epoch  1" not in capsys.readouterr().out  # finished runs are not trained again


def test_presets_are_listed_with_their_sizes(capsys):
    presets.main([])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1:]] == list(config.PRESETS)
    assert "14 x 14 x 512" in next(line for line in lines if line.startswith("vgg19_gru"))


# --- coco.pt


WORDS = ["<NULL>", "<START>", "<END>", "<UNK>", "a", "cat", "dog", "on", "sofa", "the"]
CAPTIONS = {"train": [[1, 4, 5, 2, 0, 0], [1, 4, 6, 7, 3, 2], [1, 9, 8, 2, 0, 0]], "val": [[1, 4, 3, 5, 2, 0]]}


@pytest.fixture
def coco_pt(tmp_path) -> Path:
    """A file in the real one's structure, with 3 + 1 pictures of noise, 112 pixels wide."""
    torch.manual_seed(0)
    content = {"vocab": {"idx_to_token": WORDS, "token_to_idx": {word: i for i, word in enumerate(WORDS)}}}
    for split, captions in CAPTIONS.items():
        content[f"{split}_images"] = torch.randint(0, 256, (len(captions), 3, 112, 112), dtype=torch.uint8)
        content[f"{split}_captions"] = torch.tensor(captions)
    torch.save(content, tmp_path / "coco.pt")
    return tmp_path / "coco.pt"


def test_coco_pt_becomes_a_dataset_and_trains(coco_pt, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    convert.main([str(coco_pt), "eecs"])
    vocabulary = Vocabulary.load("eecs/vocabulary.json")
    assert vocabulary.words == ["<pad>", "<start>", "<end>", "<unk>", *WORDS[4:]]
    content = torch.load(coco_pt, weights_only=True)
    for split, captions in CAPTIONS.items():
        records = coco.load("eecs", split)
        assert [[*vocabulary.encode(r.captions[0]), 0, 0][:6] for r in records] == captions
        for record, picture in zip(records, content[f"{split}_images"], strict=True):
            assert np.array_equal(np.asarray(coco.open_image(record.path)), picture.permute(1, 2, 0).numpy())
    run = train.main(
        ["--dataset", "eecs", "--preset", "attention_lstm", "--weights", "none", "--epochs", "1", "--hidden-size", "16"]
    )
    trained = checkpoint.load(run)
    assert trained.vocabulary.words == vocabulary.words  # the file's own, in its order
    assert trained.model.encoder.name == "regnet_x_400mf" and not trained.model.encoder.frozen


def test_what_is_not_coco_pt_is_refused_and_nothing_is_left(coco_pt, tmp_path):
    def refused(content, match: str) -> None:
        torch.save(content, tmp_path / "other.pt")
        with pytest.raises(ValueError, match=match):
            convert.main([str(tmp_path / "other.pt"), str(tmp_path / "eecs")])
        assert not (tmp_path / "eecs").exists()

    good = torch.load(coco_pt, weights_only=True)
    refused([1, 2], r"other\.pt is not the course's coco\.pt")
    refused(good | {"vocab": {"idx_to_token": WORDS[4:]}}, "word ids beyond its vocabulary")
    refused(good | {"vocab": {"idx_to_token": [*WORDS[::-1]]}}, "does not begin with <NULL>")
    refused(good | {"val_images": good["val_images"].float()}, "pictures that are not bytes")
    refused({**good, "bomb": Path}, "not the course's coco")  # a class: not loaded at all
    (tmp_path / "eecs").mkdir()
    with pytest.raises(ValueError, match="exists already"):
        convert.main([str(coco_pt), str(tmp_path / "eecs")])


# --- downloads


class Handler(http.server.SimpleHTTPRequestHandler):
    """Files with Range, as COCO's server answers; cuts the first answer for a file named in `cut` half way."""

    cut: ClassVar[set[str]] = set()

    def do_GET(self):
        file = Path(self.translate_path(self.path))
        if not file.is_file():
            return self.send_error(404)
        content, start = file.read_bytes(), 0
        if given := self.headers["Range"]:
            start = int(given.removeprefix("bytes=").rstrip("-"))
        self.send_response(206 if given else 200)
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        if self.path in self.cut:
            self.cut.remove(self.path)
            content = content[: len(content) // 2]
        self.wfile.write(content[start:])

    def log_message(self, *_):
        pass


@pytest.fixture
def server(tmp_path):
    """A server on loopback with the archives of a tiny COCO of 2017; yields its address."""
    (tmp_path / "served").mkdir()
    pixels = Image.new("RGB", (8, 8), "red")
    for split, number in (("train", 1), ("val", 2)):
        pixels.save(tmp_path / f"{number:012d}.jpg")
        with zipfile.ZipFile(tmp_path / f"served/{split}2017.zip", "w") as archive:
            archive.write(tmp_path / f"{number:012d}.jpg", f"{split}2017/{number:012d}.jpg")
    with zipfile.ZipFile(tmp_path / "served/annotations_trainval2017.zip", "w") as archive:
        for split, number in (("train", 1), ("val", 2)):
            image = {"id": number, "file_name": f"{number:012d}.jpg", "width": 8, "height": 8}
            caption = {"id": number, "image_id": number, "caption": "a red square"}
            archive.writestr(
                f"annotations/captions_{split}2017.json", json.dumps({"images": [image], "annotations": [caption]})
            )
    handler = functools.partial(Handler, directory=str(tmp_path / "served"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as here:
        threading.Thread(target=here.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{here.server_port}"
        here.shutdown()


def test_coco_is_fetched_into_the_folder_that_the_notebooks_read(server, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(coco, "DATA", tmp_path / "data")
    download.main(["coco", "--mirror", server])
    assert [record.captions for record in coco.load("coco")] == [("a red square",)] * 2
    assert not list((tmp_path / "data/coco").glob("*.zip*"))
    download.main(["coco", "--mirror", "http://127.0.0.1:9"])  # nobody listens there, and nobody is asked
    assert capsys.readouterr().out.count("is there") == 3


def test_a_cut_download_goes_on(server, tmp_path, monkeypatch):
    monkeypatch.setattr(coco, "DATA", tmp_path / "data")
    monkeypatch.setattr(Handler, "cut", {"/annotations_trainval2017.zip"})
    how = ["coco", "--mirror", server, "--part", "annotations"]
    with pytest.raises(OSError, match=r"annotations_trainval2017\.zip"):
        download.main(how)
    part = tmp_path / "data/coco/annotations_trainval2017.zip.part"
    assert 0 < part.stat().st_size < (tmp_path / "served/annotations_trainval2017.zip").stat().st_size
    download.main(how)
    assert (tmp_path / "data/coco/annotations/captions_train2017.json").is_file() and not part.exists()


def test_what_is_not_there_is_said(server, tmp_path, monkeypatch):
    monkeypatch.setattr(coco, "DATA", tmp_path / "data")
    with pytest.raises(OSError, match="the server answers 404"):
        download.main(["coco", "--mirror", server, "--part", "karpathy"])


def test_the_real_addresses_are_cocos():
    addresses = {
        part: address.format(COCO=download.COCO, KARPATHY=download.KARPATHY, year="2014")
        for part, (address, _) in download.PARTS.items()
    }
    assert addresses["train"] == "http://images.cocodataset.org/zips/train2014.zip"
    assert addresses["annotations"] == "http://images.cocodataset.org/annotations/annotations_trainval2014.zip"
