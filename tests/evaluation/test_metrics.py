"""What a researcher relies on: the official numbers, honest intervals, results that cannot be mixed up."""

import shutil

import numpy as np
import pytest
from pycocoevalcap.bleu.bleu import Bleu
from pycocoevalcap.cider.cider import Cider
from pycocoevalcap.rouge.rouge import Rouge
from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

from dataset.loading import load_records
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
    for i, record in enumerate(load_records(folder / "sample", "train")):
        first, *others = record.captions
        said[record.image_id] = first + (f" {ODD[i % len(ODD)]}" if i % 2 else "")
        meant[record.image_id] = [*others, f"{others[0]} {ODD[(i + 1) % len(ODD)]}"]
    return said, meant


@pytest.fixture(scope="module")
def words(said_and_meant) -> tuple[dict, dict]:
    """The same as words."""
    said, meant = said_and_meant
    return metrics.tokenized(said), metrics.tokenized_references(meant)


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
def test_scores_are_the_official_ones(said_and_meant, words, capfd):
    said, meant = said_and_meant
    expected, _, theirs = official(said, meant)
    assert {i: " ".join(tokens) for i, tokens in words[0].items()} == {i: texts[0] for i, texts in theirs.items()}
    scores = metrics.statistics(*words).scores()
    assert 0.05 < scores["BLEU-4"] < 0.95 and scores["CIDEr-D"] > 0.3  # numbers that could differ
    assert scores == pytest.approx(expected, abs=5e-4)
    capfd.readouterr()
    metrics.statistics(*words)
    assert capfd.readouterr() == ("", "")  # quiet


def test_captions_and_references_are_tokenised_alike():
    images = range(3)  # of a single one the document frequencies, and so CIDEr-D, are 0
    said = metrics.tokenized({i: f"A Red KITE, above (a) man in blue No{i}." for i in images})
    true = metrics.tokenized_references({i: [f"a red kite above (a) man in blue no{i}"] for i in images})
    assert said == {image: captions[0] for image, captions in true.items()}
    assert metrics.statistics(said, true).scores()["BLEU-4"] == pytest.approx(1)


def test_one_reference_that_fits_is_enough_and_a_word_counts_once():
    """The textbook's case (Papineni et al. 2002): an n-gram is found as often as a reference has it, and no oftener."""
    said = {1: ["the", "the", "the", "the"]}
    true = {1: [["the", "cat", "is", "the", "cat"], ["there", "is", "a", "cat"]]}
    assert metrics.statistics(said, true).scores()["BLEU-1"] == pytest.approx(2 / 4, abs=1e-6)
    longer = metrics.statistics({1: ["a", "dog", "runs", "over", "there"]}, {1: [["a", "dog"]]})
    assert longer.scores()["BLEU-1"] == pytest.approx(2 / 5, abs=1e-6)  # only what is too short pays for its length
    shorter = metrics.statistics({1: ["a", "dog"]}, {1: [["a", "dog", "runs", "over", "there"]]})
    assert shorter.scores()["BLEU-1"] == pytest.approx(np.exp(1 - 5 / 2), abs=1e-6)


def test_bad_captions_score_lower(words):
    said, meant = words
    images = list(said)
    mixed = dict(zip(images, [said[image] for image in images[2:] + images[:2]], strict=True))
    good, bad = (metrics.statistics(captions, meant).scores() for captions in (said, mixed))
    assert all(good[name] > bad[name] for name in ("BLEU-4", "ROUGE-L", "CIDEr-D"))


# --- intervals


def test_a_result_against_itself_never_differs(words):
    measured = metrics.statistics(*words)
    for name, difference in metrics.bootstrap(measured, measured).items():
        assert difference == (0, 0) and "no difference" in metrics.describe_difference(name, difference)
        assert ": +0.000 ±" in metrics.describe_difference(name, metrics.Score(-1e-5, 0.1))


def test_a_real_difference_is_found_in_any_order_of_the_images(words):
    said, meant = words
    worse = {
        image: ["nothing", "of", "it", "at", "all", "is", "on", "this", "page"] if i % 3 else said[image]
        for i, image in enumerate(reversed(said))
    }
    a, b = metrics.statistics(said, meant), metrics.statistics(worse, meant)
    in_order = metrics.bootstrap(a, metrics.statistics({image: worse[image] for image in said}, meant))
    for name, difference in metrics.bootstrap(a, b).items():
        assert difference.value == pytest.approx(float(a.scores()[name] - b.scores()[name]))
        assert difference.value > difference.margin > 0 and metrics.describe_difference(name, difference).endswith(
            "better"
        )
        assert metrics.bootstrap(b, a)[name].value == pytest.approx(-difference.value)
        assert difference == pytest.approx(in_order[name])  # the images are paired, whatever their order
    with pytest.raises(ValueError, match="not of the same images"):
        metrics.bootstrap(a, metrics.statistics({image: said[image] for image in list(said)[:9]}, meant))


def test_the_interval_stands_around_the_score_and_shrinks_with_more_images(words):
    said, meant = words
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


def test_captions_without_references_are_refused():
    with pytest.raises(ValueError, match="image 2 has a caption but no references"):
        metrics.statistics({1: ["a", "dog"], 2: ["a", "cat"]}, {1: [["a", "dog"]], 2: []})
    with pytest.raises(ValueError, match="no captions"):
        metrics.statistics({}, {})
    with pytest.raises(TypeError, match="image 1 has text"):
        metrics.statistics({1: "a dog"}, {1: [["a", "dog"]]})
    with pytest.raises(TypeError, match="image 1 has text"):
        metrics.statistics({1: ["a", "dog"]}, {1: ["a dog"]})


def test_a_caption_without_words_scores_zero_also_against_a_reference_without():
    measured = metrics.statistics({1: [], 2: ["a", "dog"]}, {1: [[], ["a", "cat"]], 2: [["a", "dog"], []]})
    assert measured.rouge.tolist() == [0, 1] and measured.cider[0] == 0 and not measured.bleu[0, 6:].any()


# --- what captions are like


def test_statistics_tell_lengths_variety_and_what_was_learned_by_heart():
    captions = metrics.tokenized({1: "a dog", 2: "A dog.", 3: "a small cat", 4: "a cow"})
    learned = [tokenize("A dog!"), tokenize("a horse")]
    assert metrics.caption_statistics(captions, ["a", "dog", "cat", "horse"], learned) == {
        "mean length": 2.25,
        "words used": 3,
        "words never used": 1,
        "distinct captions": 0.75,
        "copied from training": 0.5,
    }
    assert "copied from training" not in metrics.caption_statistics(captions, ["a"])
    with pytest.raises(ValueError, match="no captions to describe"):
        metrics.caption_statistics({}, ["a"])
