"""What a user relies on in the words of a training: they suit the size of the dataset, and what is lost is said."""

from dataclasses import replace
from pathlib import Path

import pytest

from dataset.records import Record
from training.config import Config
from training.presets import for_dataset
from training.words import describe_words, vocabulary_for
from vocabulary import Vocabulary, tokenize

NOUNS = [f"thing{letter}" for letter in "abcdefghijklmnopqrstuvwxyz"]


def records(captions: list[str]) -> list[Record]:
    return [Record(i, Path(f"{i}.jpg"), "train", (caption,)) for i, caption in enumerate(captions)]


def settings(folder: Path, *given: str) -> Config:
    return for_dataset(str(folder), None, dict(zip(given[::2], given[1::2], strict=True)))


@pytest.mark.parametrize(
    ("captions", "threshold"),
    [
        ([f"a {noun} near the {noun}" for noun in NOUNS], 2),  # each thing twice
        ([f"a {noun}" for noun in NOUNS], 1),
        ([f"a {noun}" for noun in NOUNS for _ in range(5)], 5),
        ([f"a {noun}" for noun in NOUNS for _ in range(4)] + ["a dog"], 4),
        (["a dog on the grass"] * 100 + ["a cat on the sofa"] * 4, 5),  # 4 of 520 words are lost: less than 5 %
    ],
)
def test_a_small_dataset_lowers_the_default_threshold(tmp_path, capsys, captions, threshold):
    vocabulary = vocabulary_for(settings(tmp_path), records(captions))
    assert vocabulary.threshold == threshold
    told = f"a word must occur {threshold} times, not 5, in a dataset of this size" in capsys.readouterr().out
    assert told == (threshold < 5)


def test_a_threshold_that_is_asked_for_stays(tmp_path):
    captions = records(["a dog on the grass"] * 5 + [f"a {noun}" for noun in NOUNS])
    assert vocabulary_for(settings(tmp_path, "threshold", "5"), captions).threshold == 5
    assert vocabulary_for(settings(tmp_path, "threshold", "5", "unknown", "0.2"), captions).threshold == 1
    assert vocabulary_for(replace(settings(tmp_path), unknown=1.0), captions).threshold == 5


def test_what_is_unknown_and_what_is_cut_is_said():
    train, val = records(["a dog runs"] * 9 + ["a cat sleeps on the old sofa"]), records(["a dog runs", "two birds"])
    told = describe_words(Vocabulary(["a dog runs"]), {"train": train, "val": val}, 5)
    assert told.splitlines() == [
        "words that are <unk>: 17.6% of train, 40.0% of val; captions cut at 5 words: 10.0% of train, 0.0% of val",
        "warning: the model will learn to say <unk>: lower --threshold, or bring more captions",
        "warning: the model will not see how they end: --caption-words 7 cuts none",
    ]
    assert "warning" not in describe_words(Vocabulary(["a dog runs"]), {"train": train[:9]}, 3)
    assert "warning" not in describe_words(Vocabulary(["a dog runs"]), {"train": train[:9] * 4 + val[1:]}, 3)


@pytest.mark.parametrize("marks", [("startseq", "endseq"), ("<start>", "<end>"), ("[CLS]", "[SEP]"), ("<s>", "</s>")])
def test_the_marks_of_another_program_are_warned_of(marks):
    captions = [f"{marks[0]} a {noun} near the {other} {marks[1]}" for noun in NOUNS for other in NOUNS[:3]]
    told = describe_words(Vocabulary(captions), {"train": records(captions)}, 30)
    first, last = tokenize(captions[0])[0], tokenize(captions[0])[-1]
    assert (
        f"warning: train's captions begin with {first!r} and end with {last!r}: if these are marks of another" in told
    )
    plain = [f"a {noun} near the {other}" for noun in NOUNS for other in NOUNS[:3]]
    assert "marks" not in describe_words(Vocabulary(plain), {"train": records(plain)}, 30)


@pytest.mark.parametrize("nothing", ["...", "。", "?"])
def test_captions_without_a_word_are_counted(nothing):
    captions = [*(f"a {noun}" for noun in NOUNS[:9]), nothing]
    told = describe_words(Vocabulary(captions), {"train": records(captions), "val": records(captions[:9])}, 30)
    assert told.splitlines()[1:] == ["warning: 10.0% of train's captions have no word: the model learns to say nothing"]
