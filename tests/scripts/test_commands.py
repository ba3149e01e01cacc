"""What a user relies on in evaluate, compare and convert: numbers in files, a dataset like any other."""

import html
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from bs4 import BeautifulSoup
from conftest import rounds
from PIL import Image

from dataset.loading import load_records
from dataset.pictures import open_image
from dataset.records import fingerprint
from dataset.sample import making
from decoding.consensus import Consensus
from evaluation import results
from model import SpatialDecoder
from models import checkpoint
from scripts import caption, compare, convert, evaluate, presets, runs, scoring, train
from training import experiment
from training.presets import PRESETS, for_dataset
from vocabulary import Vocabulary

QUICK = ["--hidden-size", "16", "--epochs", "2", "--images-per-batch", "4", "--detector-epochs", "1"]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty working folder with a tiny sample in data/sample."""
    monkeypatch.chdir(tmp_path)
    making.make("data/sample", train=8, val=3, test=3)
    return tmp_path


def test_every_preset_trains_on_the_sample_and_adaptive_tells_how_much_each_word_looks(folder, capsys):
    run = train.main([*QUICK, "--preset", "adaptive", "--epochs", "12", "--learning-rate", "0.01", "--dropout", "0"])
    assert run == Path("runs/sample/adaptive") and checkpoint.load(run).metadata["preset"] == "adaptive"
    picture = next((folder / "data/sample/test").iterdir())
    caption.main([str(picture), "--checkpoint", str(run), "--figure", "look.png"])
    assert Image.open("look.png").width > 100 and Image.open("look-looks.png").width > 50


def test_the_checkpoint_says_where_it_comes_from(folder):
    quick = [*QUICK, "--preset", "lstm", "--epochs", "1"]
    run = train.main([*quick, "--seed", "3"])
    one, learned = checkpoint.load(run), load_records("sample", "train")
    metadata = one.metadata
    assert one.max_length == for_dataset("sample").caption_words + 1
    assert one.images.learned == tuple(r.image_id for r in learned) and one.images.held_out == ()
    assert scoring.learned_records(one) == load_records("sample", "train", instances=False)
    assert metadata["seed"] == 3 and metadata["dataset"] == fingerprint(learned)
    assert metadata["versions"]["torch"].startswith(torch.__version__.split("+")[0])
    with pytest.raises(ValueError, match="holds a run of another dataset, seed or settings: delete it or choose"):
        train.main([*quick, "--seed", "4"])
    with pytest.raises(ValueError, match="another dataset, seed or settings"):
        train.main([*quick, "--seed", "3", "--learning-rate", "0.5"])


def test_another_dataset_or_a_changed_one_is_not_what_the_model_learned_from(folder):
    """Though its images may have the same numbers."""
    run = train.main([*QUICK, "--preset", "lstm", "--epochs", "1"])
    making.make("data/other", train=8, val=3, test=3, seed=1)
    with pytest.raises(ValueError, match="data/other is not what the model learned from, or has changed since"):
        scoring.learned_records(checkpoint.load(run), "data/other")
    assert "copied from training" in evaluate.main(["--checkpoint", str(run), "--num-beams", "1"])
    scores = evaluate.main(["--checkpoint", str(run), "--num-beams", "1", "--dataset", "data/other"])
    assert "copied from training" not in scores


def test_a_threshold_that_no_word_reaches_is_refused(folder):
    with pytest.raises(ValueError, match="no word occurs 1000 times in the training captions: lower --threshold"):
        train.main([*QUICK, "--threshold", "1000"])


def test_a_subset_is_whole_pictures_at_random(folder):
    records = load_records("sample", "train")
    part = experiment.part_of(records, 12, seed=1)
    assert len(part) == 3 and part == sorted(part, key=records.index)
    assert part == experiment.part_of(records, 12, seed=1) != experiment.part_of(records, 12, seed=2)
    assert experiment.part_of(records, None, seed=1) == records
    assert experiment.part_of(records, 10**6, seed=1) == records
    train.main([*QUICK, "--preset", "lstm", "--subset", "12"])
    assert (folder / "runs/sample/small-128px-8x8-train-3.npy").is_file()


def test_evaluate_measures_and_writes(folder, capsys):
    run = train.main([*QUICK, "--preset", "show_attend_tell"])
    history = json.loads((run / "history.json").read_text())
    capsys.readouterr()
    scores = evaluate.main(["--checkpoint", str(run)])
    assert 0 <= scores["copied from training"] <= 1
    assert scores["perplexity"] == pytest.approx(min(row["val_perplexity"] for row in history), rel=1e-3)
    assert scores["images"] == 3 and 0 <= scores["true pairs"] <= 1
    assert json.loads((run / "scores-val.json").read_text()) == scores
    out = capsys.readouterr().out
    assert all(name in out for name in ("perplexity", "BLEU-4", "CIDEr-D", "CHAIR-i", " ± "))
    captions = results.load(run / "captions-val.json", [r.image_id for r in load_records("sample", "val")])
    page = (run / "captions-val.html").read_text()
    assert page.count("data:image/jpeg") == 9 and "http" not in page  # three best, worst, by chance: all of them
    assert all(html.escape(caption) in page for caption in captions.values())


def test_an_evaluation_needs_no_training_pictures_and_no_sizes_and_keeps_its_captions(folder):
    run = train.main([*QUICK, "--preset", "show_attend_tell"])
    (folder / "data/sample/train").rename(folder / "elsewhere")
    captions, instances = (folder / f"data/sample/annotations/{kind}_val.json" for kind in ("captions", "instances"))
    known, content = captions.read_text(), json.loads(captions.read_text())
    content["images"] = [image | {"width": None, "height": None} for image in content["images"]]
    captions.write_text(json.dumps(content))
    scores = evaluate.main(["--checkpoint", str(run)])
    assert "CHAIR-i" in scores and "copied from training" in scores  # what it learned from is text
    (folder / "data/sample/annotations/captions_train.json").unlink()
    assert "copied from training" not in evaluate.main(["--checkpoint", str(run)])
    captions.write_text(known)
    content = json.loads(instances.read_text())
    content["annotations"] = [thing | {"segmentation": "polygon"} for thing in content["annotations"]]
    instances.write_text(json.dumps(content))
    (run / "captions-val.json").unlink()
    with pytest.raises(ValueError, match=r"The mask of this .* is damaged"):
        evaluate.main(["--checkpoint", str(run)])
    results.load(run / "captions-val.json", [r.image_id for r in load_records("sample", "val")])


def test_results_of_anyone_are_measured_and_compared(folder, capsys):
    records = load_records("sample", "val")
    for name, which in (("people.1", 0), ("people.2", 1)):
        results.save(folder / f"{name}.json", {r.image_id: f'"{r.captions[which]}"' for r in records})
    how = ["--dataset", "sample", "--results", str(folder / "people.1.json")]
    scores = evaluate.main([*how, "--against", str(folder / "people.2.json")])
    assert scores["BLEU-1"] == pytest.approx(1) and scores["CHAIR-i"] == 0  # the references hold the captions
    assert json.loads((folder / "people.1-scores.json").read_text()) == scores
    images = BeautifulSoup((folder / "people.1.html").read_text(), "html.parser")("img")
    assert {image["alt"] for image in images} == {f'"{r.captions[0]}"' for r in records}
    assert "CIDEr-D: " in capsys.readouterr().out
    evaluate.main([*how, "--against", str(folder / "people.1.json")])
    assert capsys.readouterr().out.count("no difference that means anything") == 6
    evaluate.main([*how, "--against", str(folder / "people.2.json"), "--limit", "2"])  # of the three that are in them
    assert "CIDEr-D: " in capsys.readouterr().out


def test_captions_are_measured_without_the_pictures(folder, capsys):
    records = load_records("sample", "val")
    results.save(folder / "people.json", {r.image_id: r.captions[0] for r in records})
    for record in records:
        record.path.unlink()
    scores = evaluate.main(["--dataset", "sample", "--results", str(folder / "people.json")])
    assert scores["BLEU-1"] == pytest.approx(1)
    shutil.rmtree(folder / "data/sample/val")
    assert evaluate.main(["--dataset", "sample", "--results", str(folder / "people.json")]) == scores
    page = (folder / "people.html").read_text()
    assert records[0].captions[0] in page and "<img" not in page


def test_part_of_a_split_and_a_single_image_are_scored_and_that_is_said(folder, capsys):
    records = load_records("sample", "val")
    results.save("whole.json", {r.image_id: r.captions[0] for r in records})
    results.save("part.json", {str(r.image_id): r.captions[0] for r in records[:2]})
    how = ["--dataset", "sample", "--results", "part.json"]
    with pytest.raises(ValueError, match=r"1 of 3 images have no caption, .*; --partial scores the others"):
        evaluate.main(how)
    scores = evaluate.main([*how, "--partial", "--against", "whole.json"])
    out = capsys.readouterr().out
    assert "part.json: scored on the 2 of 3 images that it captions" in out and "single image" not in out
    assert scores["CIDEr-D"] > 0 and out.count("no difference") == 6
    results.save("same.json", {r.image_id: "a dog." for r in records})
    assert "same caption" not in out
    evaluate.main(["--dataset", "sample", "--results", "same.json"])
    assert "warning: every picture has the same caption" in capsys.readouterr().out
    alone = evaluate.main([*how, "--partial", "--limit", "1"])
    assert alone["CIDEr-D"] == 0 and "CIDEr-D of a single image is 0, whatever its caption" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (["--partial"], "--partial is for --results"),
        (["--results", "a.json"], "--results needs --dataset"),
        (["--results", "a.json", "--dataset", "sample", "--num-beams", "2", "--rounded"], "leave out --num-beams and"),
        (["--num-beams", "1", "--length-penalty", "0.7"], "--length-penalty is for a beam"),
        (["--temperature", "1", "--length-penalty", "0"], "--length-penalty is for a beam"),
        (["--temperature", "1", "--num-beams", "5"], "--temperature or --num-beams, not both"),
        (["--top-p", "0.5"], "give a --temperature"),
        (["--results", "a.json", "--dataset", "sample", "--length-penalty", "0"], "leave out --length-penalty"),
        (["--own", "0.1"], "--own is a part of --consensus"),
    ],
)
def test_options_that_would_say_nothing_are_refused(given, sentence, capsys):
    with pytest.raises(SystemExit):
        evaluate.main(given)
    assert sentence in capsys.readouterr().err


def test_pictures_that_cannot_be_read_end_an_evaluation_or_are_left_out(folder, captioner, vocabulary, capsys):
    checkpoint.save("model", captioner(), vocabulary)
    how = ["--checkpoint", "model", "--dataset", "sample"]
    load_records("sample", "val")[1].path.write_bytes(b"no picture")
    with pytest.raises(ValueError, match="cannot be read as an image"):
        evaluate.main(how)
    assert evaluate.main([*how, "--broken", "skip"])["images"] == 2


def test_what_can_be_known_before_the_work_is_said_before_it(folder, captioner, vocabulary, capsys):
    Path("runs").write_text("a file")
    with pytest.raises(OSError, match=r"model\.safetensors could not be written: Not a directory"):
        train.main(QUICK)
    checkpoint.save("model", captioner(), vocabulary)
    with pytest.raises(FileNotFoundError, match=r"there are no results at nowhere\.json"):
        evaluate.main(["--checkpoint", "model", "--against", "nowhere.json"])
    with pytest.raises(OSError, match="could not be written: Not a directory"):
        evaluate.main(["--checkpoint", "model", "--out", "runs/out"])
    with pytest.raises(OSError, match="could not be written: Not a directory"):
        caption.main(["data/sample/test", "--checkpoint", "model", "--output", "runs/captions.csv"])
    assert capsys.readouterr().out == "" and not list(Path("model").glob("captions*"))


def test_an_ensemble_and_a_held_out_part_are_evaluated(folder, capsys):
    how = ["--preset", "lstm", "--hold-out", "3", "--select-on", "cider"]
    folders = [str(train.main([*QUICK, *how, "--seed", "5", "--name", name])) for name in ("a", "b")]
    assert "CIDEr-D" in capsys.readouterr().out
    alone = evaluate.main(["--checkpoint", folders[0], "--split", "held-out"])
    both = evaluate.main(["--checkpoint", *folders, "--split", "held-out", "--out", "both"])
    assert alone["images"] == 3 and both["perplexity"] == pytest.approx(alone["perplexity"], rel=1e-3)  # twins
    assert "CHAIR-i" in alone and "true pairs" in alone
    held = {row["image_id"] for row in json.loads((folder / "both/captions-held-out.json").read_text())}
    assert held < {record.image_id for record in load_records("sample", "train")}
    learned, validated = experiment.records_of(for_dataset("sample", "lstm", {"hold_out": "3", "seed": "5"}))
    assert {r.image_id for r in validated} == held and len(learned) == 5 and not held & {r.image_id for r in learned}
    of_another_seed = experiment.records_of(for_dataset("sample", "lstm", {"hold_out": "3", "seed": "6"}))
    assert of_another_seed == (learned, validated)  # so their models compare, and make an ensemble
    one = checkpoint.load(folders[0])
    assert scoring.learned_records(one) == learned and set(one.images.held_out) == held
    assert scoring.learned_records(one, Path("data/sample").absolute())[0].captions == learned[0].captions
    subset = checkpoint.load(train.main([*QUICK, *how, "--seed", "5", "--subset", "10", "--name", "c"]))
    assert scoring.learned_records(subset) == experiment.part_of(learned, 10, seed=5)
    with pytest.raises(ValueError, match="hold-out"):
        train.main([*QUICK, "--hold-out", "8"])
    other = json.loads(Path(folders[1], "training_images.json").read_text())
    other["held_out"] = other["learned"][:3]
    Path(folders[1], "training_images.json").write_text(json.dumps(other))
    with pytest.raises(ValueError, match="held out different pictures: give one alone, or --split val or test"):
        evaluate.main(["--checkpoint", *folders, "--split", "held-out"])


def test_the_neighbours_are_the_training_pictures_but_never_those_that_are_captioned(folder, capsys, monkeypatch):
    run = str(train.main([*QUICK, "--preset", "lstm", "--hold-out", "3"]))
    learned, held = experiment.records_of(for_dataset("sample", "lstm", {"hold_out": "3"}))
    made = []

    class Noted(Consensus):
        def __init__(self, *given, **how):
            super().__init__(*given, **how)
            made.append(self)

    monkeypatch.setattr(scoring, "Consensus", Noted)
    how = ["--checkpoint", run, "--consensus", "9", "--own", "0.1"]
    assert evaluate.main([*how, "--split", "held-out"])["images"] == len(held)
    evaluate.main([*how, "--split", "train", "--limit", "7", "--dataset", str(Path("data/sample").absolute())])
    first = {record.image_id for record in load_records("sample", "train")[:7]}
    assert set(made[0].images) == {r.image_id for r in learned} and (made[0].neighbours, made[0].own) == (9, 0.1)
    assert set(made[1].images) == {r.image_id for r in learned} - first
    with pytest.raises(
        ValueError, match="every picture that the model learned from is captioned here, no neighbour is left"
    ):
        evaluate.main([*how, "--split", "train"])
    for wrong in (["--num-beams", "1"], ["--temperature", "1"], ["--consensus", "0"]):
        with pytest.raises(SystemExit):
            evaluate.main([*how, *wrong])
    assert "--consensus chooses among what a beam finds" in capsys.readouterr().err
    few = str(train.main([*QUICK, "--preset", "lstm", "--limit", "4", "--name", "few"]))
    evaluate.main(["--checkpoint", few, "--consensus", "9"])
    assert set(made[-1].images) == {record.image_id for record in load_records("sample", "train")[:4]}


def test_a_run_learns_from_several_views_of_its_pictures(folder, monkeypatch):
    served, get_loader = [], experiment.get_loader
    monkeypatch.setattr(
        experiment, "get_loader", lambda *a, **how: served.append(len(how.get("features", ()))) or get_loader(*a, **how)
    )
    run = train.main([*QUICK, "--preset", "lstm", "--views", "2"])
    assert served == [0, 2, 1]  # pictures to pre-train the encoder, the views of training, validation
    kept = sorted(path.name for path in Path("runs/sample").glob("*-train*.npy"))
    assert kept == ["small-128px-8x8-train-view1.npy", "small-128px-8x8-train.npy"]
    assert not list(Path("runs/sample").glob("*-val-view*"))  # what is measured is seen as it is
    assert checkpoint.load(run).metadata["settings"]["views"] == 2
    with pytest.raises(SystemExit, match="views must be 1 or more, not 0"):
        train.main([*QUICK, "--views", "0"])


def test_a_run_begins_with_another_ones_weights(folder):
    frozen = train.main([*QUICK, "--preset", "lstm"])
    how = [
        "--preset",
        "lstm",
        "--begin-with",
        str(frozen),
        "--learning-rate",
        "1e-30",
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


def test_a_run_learns_from_its_own_captions(folder):
    taught = train.main([*QUICK, "--preset", "lstm"])
    how = [*QUICK, "--preset", "lstm", "--begin-with", str(taught), "--self-critical", "5", "--samples", "3"]
    own = train.main([*how, "--name", "own"])
    metadata = json.loads((own / "config.json").read_text())["metadata"]
    assert (metadata["begun_with"], metadata["settings"]["self_critical"]) == (str(taught), 5.0)
    before, after, again = (checkpoint.load(run).model for run in (taught, own, train.main([*how, "--name", "again"])))
    changed = [not torch.equal(*pair) for pair in zip(before.parameters(), after.parameters(), strict=True)]
    assert any(changed)
    assert all(torch.equal(*pair) for pair in zip(after.parameters(), again.parameters(), strict=True))


@pytest.mark.parametrize(
    "how",
    [
        ["--num-beams", "1"],
        ["--temperature", "0.8", "--top-p", "0.9"],
        ["--no-repeat-ngram-size", "1"],
        pytest.param(["--rounded"], marks=rounds),
    ],
)
def test_every_search_is_at_hand(folder, how):
    run = train.main([*QUICK, "--preset", "rnn"])
    evaluate.main(["--checkpoint", str(run), *how, "--max-length", "6", "--min-length", "4"])
    for row in json.loads((run / "captions-val.json").read_text()):
        words = row["caption"].split()
        assert 4 <= len(words) <= 6 and ("--no-repeat-ngram-size" not in how or len(set(words)) == len(words))


def test_compare_trains_alike_and_writes_table_and_figure(folder, capsys, monkeypatch):
    table = compare.main(["rnn", "lstm", "attention_lstm", *QUICK]).read_text()
    rows = [line for line in table.splitlines() if line.startswith(("| rnn", "| lstm", "| attention_lstm"))]
    assert len(rows) == 3 and "perplexity" in table and "a person" in table
    names = [record.path.name for record in load_records("sample", "val")]
    assert all(name in table for name in names)
    assert Image.open("runs/sample/compare/rnn-lstm-attention_lstm.png").width > 300
    encoders = [checkpoint.load(f"runs/sample/compare/{name}").model.encoder.state_dict() for name in ("rnn", "lstm")]
    assert all(torch.equal(encoders[0][key], encoders[1][key]) for key in encoders[0])
    capsys.readouterr()
    asked = []
    for module in (runs, compare):
        monkeypatch.setattr(module, "best_device", lambda wish="auto": asked.append(wish) or torch.device("cpu"))
    compare.main(["rnn", "lstm", "attention_lstm", *QUICK, "--device", "cpu"])
    assert "epoch  1" not in capsys.readouterr().out  # finished runs of the same settings are not trained again
    assert set(asked) == {"cpu"}


def test_compare_puts_one_preset_behind_several_encoders(folder, capsys):
    weights = Path("own.pth")
    torch.save(torchvision.models.squeezenet1_1(weights=None).state_dict(), weights)
    how = [*QUICK, "--tune-epochs", "0", "--grid", "4", "--limit", "6"]
    table = compare.main(["--encoders", f"squeezenet1_1={weights}", "squeezenet1_1=none", "small", *how]).read_text()
    rows = {line.split(" | ")[0]: line for line in table.splitlines() if line.startswith(("| small", "| squeeze"))}
    assert list(rows)[:3] == ["| squeezenet1_1-own", "| squeezenet1_1-none", "| small"]
    assert "4 x 4 x 512, 0.7 M" in rows["| squeezenet1_1-own"] and "4 x 4 x 256" in rows["| small"]
    assert all(re.search(r"\| 0\.\d{3} ± \d\.\d{3} \|", row) for row in list(rows.values())[:3])  # with intervals
    models = [checkpoint.load(f"runs/sample/compare/{name[2:]}").model for name in list(rows)[:3]]
    assert {type(model.decoder) for model in models} == {SpatialDecoder}
    given, random = (next(model.encoder.parameters()) for model in models[:2])
    assert torch.equal(given, torch.load(weights)["features.0.weight"]) and not torch.equal(given, random)


@pytest.mark.parametrize(
    ("names", "sentence"),
    [
        (["--encoders", "small", "resnet5"], "did you mean 'resnet50'?"),
        (["--encoders", "small", "squeezenet1_1=no.pth"], "no such file"),
        (["--encoders", "small", "small"], "small is there twice"),
        (["rnn", "lstm", "--encoders", "small"], "give one preset"),
        (["--encoders", "small", "--weights", "none"], "no --encoder or --weights"),
        (["rnm"], "unknown preset 'rnm'"),
        ([], "what is to be compared?"),
    ],
)
def test_what_cannot_be_compared_is_said_before_anything_is_trained(names, sentence, folder, capsys):
    with pytest.raises((ValueError, OSError, SystemExit)) as caught:
        compare.main([*names, *QUICK])
    assert sentence in str(caught.value) + capsys.readouterr().err
    assert not Path("runs").exists()


def test_presets_are_listed_with_their_sizes(capsys):
    presets.main([])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1:]] == list(PRESETS)
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
        records = load_records("eecs", split)
        assert [[*vocabulary.encode(r.captions[0]), 0, 0][:6] for r in records] == captions
        for record, picture in zip(records, content[f"{split}_images"], strict=True):
            assert np.array_equal(np.asarray(open_image(record.path)), picture.permute(1, 2, 0).numpy())
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
    coco_pt.write_bytes(coco_pt.read_bytes()[:-1000])
    with pytest.raises(ValueError, match=r"coco\.pt is not the course's coco\.pt: it is damaged, or holds more than"):
        convert.main([str(coco_pt), str(tmp_path / "eecs")])
    (tmp_path / "eecs").mkdir()
    with pytest.raises(ValueError, match="exists already"):
        convert.main([str(coco_pt), str(tmp_path / "eecs")])
