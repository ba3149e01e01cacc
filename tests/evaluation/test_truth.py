"""What a user relies on when captions of the drawn sample are judged: colours, numbers and places are read rightly."""

import pytest

from dataset.loading import load_records
from dataset.records import Instance, Record
from dataset.sample import making
from evaluation.metrics import tokenized
from evaluation.objects import colored_objects
from evaluation.truth import claims, count_accuracy, relation_accuracy, truthfulness
from vocabulary import tokenize


def record(image_id: int, *pairs: tuple[str, str]) -> Record:
    instances = tuple(Instance(category, (0, 0, 1, 1), 1, [], attributes={"color": color}) for color, category in pairs)
    return Record(image_id, f"{image_id}.png", "val", ("a dog",), instances=instances)


def test_truthfulness_counts_pairs_and_captions():
    records = [
        record(1, ("red", "kite"), ("black", "dog")),
        record(2, ("blue", "person")),
        record(3, ("white", "boat"), ("red", "car")),
        record(4, ("green", "bench")),  # nobody asked
    ]
    captions = {
        1: "a red kite above a red kite and a black cat",  # one of two pairs
        2: "a person in blue",  # all there is
        3: "a boat",  # names nothing with its colour, and so nothing wrong
    }
    t = truthfulness(tokenized(captions), records)
    assert t.captions == 3
    assert t.named == pytest.approx(3 / 3)
    assert t.true_share == pytest.approx(2 / 3)
    assert t.true_captions == pytest.approx(2 / 3)
    assert t.recall == pytest.approx(2 / 5)
    nothing = truthfulness(tokenized({1: "a red kite"}), [record(1)])  # is annotated
    assert (nothing.recall, nothing.true_share) == (0, 0)


def test_the_same_category_in_another_colour_is_not_true():
    t = truthfulness(tokenized({1: "a blue kite"}), [record(1, ("red", "kite"), ("blue", "dog"))])
    assert (t.true_share, t.true_captions, t.recall) == (0, 0, 0)
    assert truthfulness(tokenized({1: "a sunny day"}), [record(1, ("red", "kite"))]).true_captions == 1
    assert colored_objects(tokenize("A red kite, red kites and a kite")) == {("red", "kite")}


def marks(caption: str, record: Record) -> dict[str, bool]:
    words = caption.split()
    return {" ".join(words[i] for i in claim.words): claim.right for claim in claims(words, record)}


def test_each_word_that_can_be_judged_is_marked():
    one = record(1, ("red", "bicycle"), ("blue", "person"), ("blue", "person"))
    assert marks("a pair of red bicycles", one) == {"a pair of": False, "red": True, "bicycles": True}
    assert marks("two men in blue on a boat", one) == {"two": True, "men": True, "blue": True, "boat": False}
    assert marks("a green bicycle on the grass", one) == {"green": False, "bicycle": True}
    assert claims(tokenize("a red kite"), Record(1, "1.png", "val", ("a dog",))) == [], "nothing is annotated"


def test_photographs_are_judged_by_things_and_numbers():
    dog = Instance("dog", (0, 0, 1, 1), 1, [])
    photograph = Record(1, "1.jpg", "val", ("a dog",), 60, 40, (dog, dog))
    assert marks("three brown dogs above a cat", photograph) == {"three": False, "dogs": True, "cat": False}
    crowd = Instance("person", (0, 0, 1, 1), 1, [], crowd=True)
    assert marks("three people", Record(1, "1.jpg", "val", ("a dog",), instances=(crowd,)))["three"]


def test_a_wrong_number_or_place_makes_a_caption_false():
    (picture,) = scene(("red", "kite", (70, 10, 20, 20)), ("blue", "person", (40, 80, 12, 30)))
    for caption, true in {
        "a red kite above a man in blue": 1,
        "two red kites above a man in blue": 0,
        "a red kite below a man in blue": 0,
        "a red kite and a cat": 0,
    }.items():
        t = truthfulness(tokenized({1: caption}), [picture])
        assert (t.true_share, t.true_captions) == (1, true), caption


def test_captions_of_other_images_are_refused():
    with pytest.raises(ValueError, match="no caption belongs to any of the records"):
        truthfulness(tokenized({7: "a dog"}), [record(1, ("red", "kite"))])


# --- numbers and places


def scene(*things: tuple[str, str, tuple[float, float, float, float]]) -> list[Record]:
    """One picture, 128 wide, of things (colour, category, box)."""
    instances = tuple(Instance(category, box, 1, [], attributes={"color": color}) for color, category, box in things)
    return [Record(1, "1.png", "val", ("a dog",), 128, 128, instances)]


@pytest.mark.parametrize(
    ("caption", "expected"),
    [
        ("two red kites", (1, 1)),
        ("a pair of small red kites and three large blue boats", (1, 2)),
        ("a group of people in blue", (0, 1)),
        ("two men dressed in blue and two red kites", (0.5, 2)),
        ("three red kites", (0, 1)),
        ("two green kites", (0, 1)),
        ("two kites and a red kite", (1, 1)),
        ("two boats and four boats", (1, 1)),  # of things without a colour there are at least so many
        ("three kites", (0, 1)),
        ("one red kite and one man in blue", (0.5, 2)),
        ("a pair of red bicycles", (0, 1)),
    ],
)
def test_numbers_are_those_of_the_picture(caption, expected):
    box = (0, 0, 1, 1)
    things = [("red", "kite", box)] * 2 + [("blue", "boat", box)] * 3 + [("blue", "person", box)]
    assert count_accuracy(tokenized({1: caption}), scene(*things)) == expected


@pytest.mark.parametrize(
    ("caption", "expected"),
    [
        ("a red kite above a brown dog", (1, 1)),
        ("a red kite flying above two small brown dogs", (1, 1)),
        ("a brown dog below a red kite", (1, 1)),
        ("a brown dog above a red kite", (0, 1)),
        ("a man in blue standing to the left of a brown dog", (1, 1)),
        ("a brown dog to the right of a man in blue", (1, 1)),
        ("a brown dog to the left of a man in blue", (0, 1)),
        ("a red kite to the right of a man in blue", (0, 1)),  # it is, but it is far more above
        ("a brown dog next to a man in blue", (1, 1)),
        ("a red kite next to a brown dog", (0, 1)),
        ("a red kite above a red kite", (0, 1)),
        ("a red kite above a black dog", (0, 1)),  # there is none
        ("a kite above a dog", (0, 0)),
        ("a red kite with a brown dog and a man in blue", (0, 0)),
        ("a man in blue and a red kite above a brown dog", (1, 1)),
    ],
)
def test_relations_are_those_of_the_picture(caption, expected):
    dogs = [("brown", "dog", (60, 90, 20, 16)), ("brown", "dog", (84, 90, 20, 16))]
    records = scene(*dogs, ("red", "kite", (70, 10, 20, 20)), ("blue", "person", (40, 80, 12, 30)))
    assert relation_accuracy(tokenized({1: caption}), records) == expected


def test_what_people_say_of_a_drawn_scene_is_right(tmp_path):
    making.make(tmp_path / "sample", train=0, val=100, test=0)
    records = load_records(tmp_path / "sample", "val")
    for captions in zip(*(record.captions for record in records), strict=True):
        said = tokenized(dict(zip((record.image_id for record in records), captions, strict=True)))
        for share, times in (count_accuracy(said, records), relation_accuracy(said, records)):
            assert share == 1 and times > 2
        assert truthfulness(said, records).true_captions == 1
