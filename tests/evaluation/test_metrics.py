"""What a researcher relies on: the official numbers, honest intervals, results that cannot be mixed up."""

import contextlib
import io
import json
import os
import shutil
import signal
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from pycocoevalcap.bleu.bleu import Bleu
from pycocoevalcap.cider.cider import Cider
from pycocoevalcap.rouge.rouge import Rouge
from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer
from pycocotools.coco import COCO

from dataset import files
from dataset.coco import load
from dataset.sample import making
from evaluation import metrics
from vocabulary import tokenize

ODD = [  # captions as people type them
    "A man, a woman & a dog (all wet) stand on Main St.",
    "the clock says 4:45pm!!  it's late..",
    'A sign that says "STOP" on Sunset Blvd.',
    "two dogs' bowls, one cat's; isn't it?",
    "a half-eaten sandwich/salad, etc. on a plate",
    "Mr. Jones can't fly a kite at 5 p.m. in the U.S.",
]
needs_java = pytest.mark.skipif(shutil.which("java") is None, reason="asks Stanford's tokeniser, which needs Java")

NO_JAVA = "SPICE needs Java: no `java` was found"


@pytest.fixture(scope="module")
def said_and_meant(tmp_path_factory) -> tuple[dict, dict]:
    """One caption of each of 60 drawn scenes, and one of the odd ones, against the other four."""
    folder = tmp_path_factory.mktemp("sample")
    making.make(folder / "sample", train=60, val=1, test=1)
    said, meant = {}, {}
    for i, record in enumerate(load(folder / "sample", "train")):
        first, *others = record.captions
        said[record.image_id] = first + (f" {ODD[i % len(ODD)]}" if i % 2 else "")
        meant[record.image_id] = [*others, f"{others[0]} {ODD[(i + 1) % len(ODD)]}"]
    return said, meant


def official(said: dict, meant: dict) -> tuple[dict[str, float], dict, dict]:
    """pycocoevalcap's own pipeline, tokenised by Java: the scores, and the words."""
    tokenizer = PTBTokenizer()
    true = tokenizer.tokenize({image: [{"caption": c} for c in captions] for image, captions in meant.items()})
    said = tokenizer.tokenize({image: [{"caption": c}] for image, c in said.items()})
    bleu, _ = Bleu(4).compute_score(true, said, verbose=0)
    scores = {f"BLEU-{n}": value for n, value in enumerate(bleu, 1)}
    scores |= {"ROUGE-L": Rouge().compute_score(true, said)[0], "CIDEr-D": Cider().compute_score(true, said)[0]}
    return scores, true, said


@needs_java
def test_scores_are_the_official_ones(said_and_meant, capfd):
    said, meant = said_and_meant
    expected, _, words = official(said, meant)
    assert {i: " ".join(tokenize(c)) for i, c in said.items()} == {i: captions[0] for i, captions in words.items()}
    scores = metrics.statistics(said, meant).scores()
    assert 0.05 < scores["BLEU-4"] < 0.95 and scores["CIDEr-D"] > 0.3  # numbers that could differ
    assert scores == pytest.approx(expected, abs=5e-4)
    capfd.readouterr()
    metrics.statistics(said, meant)
    assert capfd.readouterr() == ("", "")  # quiet


@needs_java
def test_meteor_is_the_official_one_or_says_why_not(said_and_meant):
    from pycocoevalcap.meteor.meteor import Meteor

    said, meant = ({i: table[i] for i in list(table)[:8]} for table in said_and_meant)
    _, true, words = official(said, meant)
    score = metrics.java_score("METEOR", said, meant)
    assert score.value == pytest.approx(Meteor().compute_score(true, words)[0], abs=5e-4) and 0 < score.margin < 0.3
    assert "stopped after" in metrics.java_score("METEOR", said, meant, seconds=0.01)


@pytest.mark.skipif(sys.platform == "win32", reason="needs the signals of Unix")
def test_ctrl_c_ends_the_process_and_its_java(said_and_meant, tmp_path, monkeypatch):
    """In place of METEOR a process whose own child, as its Java would, goes on until it is killed."""
    lock, data = str(tmp_path / "lock"), metrics.JAVA["METEOR"][0]
    java = "import time\nfrom dataset import files\n"
    java += f"with files.locked({lock!r}, ''):\n open({lock + 'ed'!r}, 'w')\n time.sleep(60)"
    monkeypatch.setitem(
        metrics.JAVA, "METEOR", (data, f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {java!r}])")
    )
    monkeypatch.setattr(shutil, "which", lambda name: name)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))

    def interrupt() -> None:
        while not Path(lock + "ed").exists():
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGINT)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job is born deaf to Ctrl-C
    try:
        threading.Thread(target=interrupt).start()
        with pytest.raises(KeyboardInterrupt):
            metrics.java_score("METEOR", *said_and_meant)
    finally:
        signal.signal(signal.SIGINT, before)
    waited = io.StringIO()
    with contextlib.redirect_stdout(waited), files.locked(lock, "still at work"):
        assert waited.getvalue() == ""


def test_what_is_missing_for_a_score_is_said(said_and_meant, monkeypatch):
    monkeypatch.setitem(metrics.JAVA, "SPICE", ("spice/lib/not-there.jar", ""))
    answer = metrics.java_score("SPICE", *said_and_meant)
    assert answer in ("SPICE needs spice/lib/not-there.jar beside pycocoevalcap: it is not there", NO_JAVA)
    monkeypatch.setenv("PATH", "")
    assert metrics.java_score("METEOR", *said_and_meant) == NO_JAVA.replace("SPICE", "METEOR")


def test_bad_captions_score_lower(said_and_meant):
    said, meant = said_and_meant
    images = list(said)
    mixed = dict(zip(images, [said[image] for image in images[2:] + images[:2]], strict=True))
    good, bad = (metrics.statistics(captions, meant).scores() for captions in (said, mixed))
    assert all(good[name] > bad[name] for name in ("BLEU-4", "ROUGE-L", "CIDEr-D"))


# --- intervals


def test_a_result_against_itself_never_differs(said_and_meant):
    measured = metrics.statistics(*said_and_meant)
    for name, difference in metrics.bootstrap(measured, measured).items():
        assert difference == (0, 0) and "no difference" in metrics.describe_difference(name, difference)


def test_a_real_difference_is_found_in_any_order_of_the_images(said_and_meant):
    said, meant = said_and_meant
    worse = {
        image: "nothing of it at all is on this page" if i % 3 else said[image]
        for i, image in enumerate(reversed(said))
    }
    a, b = metrics.statistics(said, meant), metrics.statistics(worse, meant)
    for name, difference in metrics.bootstrap(a, b).items():
        assert difference.value == pytest.approx(float(a.scores()[name] - b.scores()[name]))
        assert difference.value > difference.margin > 0 and metrics.describe_difference(name, difference).endswith(
            "better"
        )
        assert metrics.bootstrap(b, a)[name].value == pytest.approx(-difference.value)
    with pytest.raises(ValueError, match="not of the same images"):
        metrics.bootstrap(a, metrics.statistics({image: said[image] for image in list(said)[:9]}, meant))


def test_the_interval_stands_around_the_score_and_shrinks_with_more_images(said_and_meant):
    said, meant = said_and_meant
    twice = ({(image, k): table[image] for image in table for k in range(4)} for table in (said, meant))
    few, many = metrics.bootstrap(metrics.statistics(said, meant)), metrics.bootstrap(metrics.statistics(*twice))
    for name in ("BLEU-1", "BLEU-4", "ROUGE-L"):  # CIDEr-D weighs words by how many images have them
        assert few[name].value == pytest.approx(many[name].value, abs=1e-6)
        assert many[name].margin == pytest.approx(few[name].margin / 2, rel=0.2)


def test_intervals_cover_the_truth_as_often_as_they_say():
    """Drawn data of known mean: means (ROUGE-L, CIDEr-D), and a ratio of sums (BLEU-1), 50 images each."""
    rng = np.random.default_rng(0)
    covered = {"BLEU-1": 0, "ROUGE-L": 0, "CIDEr-D": 0}
    rounds = 400
    for _ in range(rounds):
        words = rng.integers(6, 15, 50)
        bleu = np.ones((50, 10))
        bleu[:, 0], bleu[:, 1], bleu[:, 2], bleu[:, 6] = words, words, words, rng.binomial(words, 0.6)
        drawn = metrics.Statistics(list(range(50)), bleu, rng.beta(2, 3, 50), rng.gamma(2, 0.25, 50))
        scores = metrics.bootstrap(drawn, resamples=200, seed=int(rng.integers(2**31)))
        for name, truth in (("BLEU-1", 0.6), ("ROUGE-L", 0.4), ("CIDEr-D", 0.5)):
            covered[name] += abs(scores[name].value - truth) <= scores[name].margin
    for name, count in covered.items():
        assert 0.90 <= count / rounds <= 0.98, (name, count / rounds)


# --- results


def test_results_are_read_by_cocos_own_tools(tiny_coco, tmp_path):
    captions = {record.image_id: f"a caf\u00e9 & number {record.image_id}" for record in load(tiny_coco, "val")}
    metrics.save_results(tmp_path / "results.json", captions)
    theirs = COCO(str(tiny_coco / "annotations/captions_val.json")).loadRes(str(tmp_path / "results.json"))
    assert {a["image_id"]: a["caption"] for a in theirs.dataset["annotations"]} == captions
    assert metrics.load_results(tmp_path / "results.json", captions) == captions


GOOD = [{"image_id": 1, "caption": "a dog"}, {"image_id": 2, "caption": "a cat"}]


@pytest.mark.parametrize(
    "rows, complaint",
    [
        ([*GOOD, {"image_id": 7, "caption": "a cow"}], "entry 3 captions image 7, which is not in this split"),
        (GOOD[:1], "1 of 2 images have no caption, such as 2"),
        ([*GOOD, GOOD[0]], "image 1 has two captions, the second is entry 3"),
        ([GOOD[0], {"image_id": 2, "caption": " . "}], r"the caption of image 2 \(entry 2\) has no words"),
        ([GOOD[0], {"image_id": 2}], "entry 2 is not an object with image_id and caption"),
        ([GOOD[0], "a cat"], "entry 2 is not an object"),
        ({"captions": GOOD}, "should be a list"),
    ],
)
def test_wrong_results_are_refused_in_a_sentence(rows, complaint, tmp_path):
    (tmp_path / "results.json").write_text(json.dumps(rows))
    with pytest.raises(ValueError, match=complaint):
        metrics.load_results(tmp_path / "results.json", [1, 2])


def test_a_file_may_caption_more_images_than_are_asked_for(tmp_path):
    metrics.save_results(tmp_path / "results.json", {1: "a dog", 2: "a cat", 3: "a cow"})
    assert metrics.load_results(tmp_path / "results.json", [1, 3], more=True) == {1: "a dog", 3: "a cow"}
    with pytest.raises(ValueError, match="1 of 2 images have no caption, such as 4"):
        metrics.load_results(tmp_path / "results.json", [1, 4], more=True)


def test_what_is_no_results_file_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="no results at"):
        metrics.load_results(tmp_path / "none.json", [1])
    (tmp_path / "broken.json").write_text("[{")
    with pytest.raises(ValueError, match="is not a results file"):
        metrics.load_results(tmp_path / "broken.json", [1])


def test_captions_without_references_are_refused():
    with pytest.raises(ValueError, match="image 2 has a caption but no references"):
        metrics.statistics({1: "a dog", 2: "a cat"}, {1: ["a dog"], 2: []})
    with pytest.raises(ValueError, match="no captions"):
        metrics.statistics({}, {})


# --- what captions are like


def test_a_portrait_tells_lengths_variety_and_what_was_learned_by_heart():
    captions = {1: "a dog", 2: "A dog.", 3: "a small cat", 4: "a cow"}
    portrait = metrics.caption_statistics(captions, ["a", "dog", "cat", "horse"], ["A dog!", "a horse"])
    assert portrait == {
        "mean length": 2.25,
        "words used": 3,
        "words never used": 1,
        "distinct captions": 0.75,
        "copied from training": 0.5,
    }
    assert "copied from training" not in metrics.caption_statistics(captions, ["a"])
