"""What a user relies on in CIDEr-D of one caption: it is the official one, also for a caption that repeats itself."""

import pytest

from evaluation.cider import CiderD
from evaluation.metrics import statistics


def test_words_that_are_repeated_are_counted_as_often_as_a_reference_has_them():
    references = {
        1: [["a", "dog", "and", "a", "cat"], ["the", "dog"]],
        2: [["a", "boat"]],
        3: [["two", "cats", "on", "a", "bed"]],
    }
    captions = {1: ["dog", "dog", "dog", "a", "cat"], 2: ["a", "boat", "boat"], 3: ["two", "two", "cats"]}
    official, cider = statistics(captions, references), CiderD(references)
    assert [cider(image, captions[image]) for image in official.ids] == pytest.approx(official.cider.tolist())
