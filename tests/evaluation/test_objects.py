"""What a user relies on when a caption's objects are looked for: it is read as people read it."""

import pytest
from conftest import category_of_noun

from evaluation.objects import CATEGORIES, colored_objects, find_object_mentions
from vocabulary import tokenize


def named(caption: str) -> list[tuple[str | None, str]]:
    return [(mention.color, mention.category) for mention in find_object_mentions(tokenize(caption))]


@pytest.mark.parametrize(
    ("caption", "expected"),
    [
        ("a dog", [(None, "dog")]),
        ("Two small red kites above a boat.", [("red", "kite"), (None, "boat")]),
        ("a red small kite", [("red", "kite")]),
        ("a black-and-white photo", []),
        ("a red and white bus", [("white", "bus")]),
        # the longest name wins
        ("a hot dog next to a dog", [(None, "hot dog"), (None, "dog")]),
        ("two hot dogs", [(None, "hot dog")]),
        ("a black teddy bear and a brown bear", [("black", "teddy bear"), ("brown", "bear")]),
        (
            "a baseball bat, a baseball and a baseball glove",
            [(None, c) for c in ("baseball bat", "sports ball", "baseball glove")],
        ),
        # plurals
        (
            "women, children, puppies, buses, benches and geese",
            [(None, c) for c in ("person", "person", "dog", "bus", "bench", "bird")],
        ),
        ("knives, oxen, scissors, skis, sheep", [(None, c) for c in ("knife", "cow", "scissors", "skis", "sheep")]),
        ("computer mice, mice, computer mouses", [(None, "mouse")] * 3),
        ("gentlemen and ladies, gentleman", [(None, "person")] * 3),
        ("people and a person", [(None, "person"), (None, "person")]),
        # an orange, and what is orange
        ("an orange", [(None, "orange")]),
        ("two oranges and an apple", [(None, "orange"), (None, "apple")]),
        ("an orange and a dog", [(None, "orange"), (None, "dog")]),
        ("an orange and dogs", [(None, "orange"), (None, "dog")]),
        ("an orange cat", [("orange", "cat")]),
        ("an orange small cat", [("orange", "cat")]),
        ("an orange traffic light", [("orange", "traffic light")]),
        ("an orange and white cat", [("white", "cat")]),
        ("a man in orange", [("orange", "person")]),
        # the colour of people is that of their clothes
        ("a woman in red", [("red", "person")]),
        ("two people wearing blue and a kite", [("blue", "person"), (None, "kite")]),
        ("three small children dressed in yellow", [("yellow", "person")]),
        ("men dressed in orange", [("orange", "person")]),
        ("a man in a boat", [(None, "person"), (None, "boat")]),
        ("a man wearing", [(None, "person")]),
        ("a man dressed in", [(None, "person")]),
        ("a dog in red", [(None, "dog")]),
        ("a man standing beside a red car", [(None, "person"), ("red", "car")]),
        ("", []),
    ],
)
def test_mentions_are_what_people_would_say_is_named(caption, expected):
    assert named(caption) == expected


def test_a_mention_knows_its_place():
    tokens = tokenize("a hot dog beside two red fire hydrants")
    assert [tokens[m.start : m.end] for m in find_object_mentions(tokens)] == [["hot", "dog"], ["fire", "hydrants"]]
    assert [(m.start, m.end) for m in find_object_mentions(tokens)] == [(1, 3), (6, 8)]
    (mention,) = find_object_mentions(["dog"])  # also at the caption's very end
    assert (mention.start, mention.end) == (0, 1)


def test_every_noun_of_the_sample_is_understood():
    nouns = category_of_noun()
    assert len(nouns) > 40 and set(nouns.values()) <= CATEGORIES
    for noun, category in nouns.items():
        assert named(f"a small {noun}") == [(None, category)], noun
        if category == "person":
            for clothes in ("in", "wearing", "dressed in"):
                assert named(f"two {noun} {clothes} purple on the grass") == [("purple", "person")], noun
        else:
            assert named(f"a tiny purple {noun} on the grass") == [("purple", category)], noun


def test_all_categories_of_coco_are_there_by_their_own_names():
    assert len(CATEGORIES) == 80
    for category in CATEGORIES:
        assert named(f"a {category}") == [(None, category)]


@pytest.mark.parametrize(
    ("caption", "expected"),
    [
        # "baby" and "adult" are people, but not before an animal
        ("a baby elephant", ["elephant"]),
        ("a baby giraffe and its mother", ["giraffe"]),
        ("two baby polar bears", ["bear"]),
        ("an adult cow", ["cow"]),
        ("adult elephants with a baby elephant", ["elephant", "elephant"]),
        ("a baby goat", []),
        ("a man with a baby", ["person", "person"]),
        ("a baby sits on a couch", ["person", "couch"]),
        ("a baby and a dog", ["person", "dog"]),
        ("an adult and two babies", ["person", "person"]),
        # so are passengers, but not before a vehicle
        ("a passenger train", ["train"]),
        ("two large passenger jets", ["airplane"]),
        ("passengers waiting for a train", ["person", "train"]),
        # what is named after a thing
        ("a train track next to train tracks", []),
        ("a train on a train track", ["train"]),
        ("a train station and a bus stop", []),
        ("a baseball player at a baseball game", ["person"]),
        ("a stuffed bear and stuffed animals", ["teddy bear", "teddy bear"]),
        ("a glass of orange juice", []),
        ("baby carrots", ["carrot"]),
        ("a mobile phone", ["cell phone"]),
    ],
)
def test_compounds_are_not_counted_by_their_parts(caption, expected):
    assert [category for _, category in named(caption)] == expected


def test_a_compound_has_its_colour_and_its_whole_place():
    tokens = tokenize("a small brown baby elephant")
    (mention,) = find_object_mentions(tokens)
    assert (mention.color, tokens[mention.start : mention.end]) == ("brown", ["baby", "elephant"])


def test_an_unknown_word_names_nothing():
    assert colored_objects(tokenize("a red <unk> and a <unk> kite")) == set()


def test_a_text_that_was_not_split_is_refused():
    with pytest.raises(TypeError, match="word by word"):
        find_object_mentions("a dog")
