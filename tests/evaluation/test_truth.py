"""What a user relies on in the measures: captions read as people read them, looks counted rightly."""

from collections.abc import Sequence

import numpy as np
import pytest

from dataset import coco
from dataset.coco import Instance, Record
from dataset.sample import grammar, making
from evaluation.truth import (
    SYNONYMS,
    Look,
    colored_objects,
    count_accuracy,
    find_object_mentions,
    grounding,
    hallucination,
    relation_accuracy,
    truthfulness,
)
from vocabulary import tokenize


def named(caption: str) -> list[tuple[str | None, str]]:
    return [(mention.color, mention.category) for mention in find_object_mentions(tokenize(caption))]


# --- what a caption names


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
    nouns = grammar.category_of_noun()
    assert len(nouns) > 40 and set(nouns.values()) <= set(SYNONYMS)
    for noun, category in nouns.items():
        assert named(f"a small {noun}") == [(None, category)], noun
        if category == "person":
            for clothes in ("in", "wearing", "dressed in"):
                assert named(f"two {noun} {clothes} purple on the grass") == [("purple", "person")], noun
        else:
            assert named(f"a tiny purple {noun} on the grass") == [("purple", category)], noun


def test_all_categories_of_coco_are_there_by_their_own_names():
    assert len(SYNONYMS) == 80
    for category in SYNONYMS:
        assert named(f"a {category}") == [(None, category)]


# --- truth


def record(image_id: int, *pairs: tuple[str, str], captions: Sequence[str] = ("a dog",)) -> Record:
    instances = tuple(Instance(category, (0, 0, 1, 1), 1, [], attributes={"color": color}) for color, category in pairs)
    return Record(image_id, f"{image_id}.png", "val", tuple(captions), instances=instances)


def test_truthfulness_counts_pairs_and_captions():
    records = [
        record(1, ("red", "kite"), ("black", "dog"), captions=["a red kite and a black dog", "a red kite", "a dog"]),
        record(2, ("blue", "person"), captions=["a man in blue"]),
        record(3, ("white", "boat"), ("red", "car"), captions=["a boat", "a white boat"]),
        record(4, ("green", "bench")),  # nobody asked
    ]
    captions = {
        1: "a red kite above a red kite and a black cat",  # one of two pairs
        2: "a person in blue",  # all there is
        3: "a boat",  # names nothing with its colour, and so nothing wrong
    }
    t = truthfulness(captions, records)
    assert t.captions == 3
    assert t.named == pytest.approx(3 / 3)
    assert t.named_by_people == pytest.approx((2 + 1 + 0 + 1 + 0 + 1) / 6)
    assert t.true_share == pytest.approx(2 / 3)
    assert t.true_captions == pytest.approx(2 / 3)
    assert t.recall == pytest.approx(2 / 5)
    nothing = truthfulness({1: "a red kite"}, [record(1, captions=[])])  # annotated, or said by people
    assert (nothing.named_by_people, nothing.recall, nothing.true_share) == (0, 0, 0)


def test_the_same_category_in_another_colour_is_not_true():
    t = truthfulness({1: "a blue kite"}, [record(1, ("red", "kite"), ("blue", "dog"))])
    assert (t.true_share, t.true_captions, t.recall) == (0, 0, 0)
    assert truthfulness({1: "a sunny day"}, [record(1, ("red", "kite"))]).true_captions == 1
    assert colored_objects("A red kite, red kites and a kite") == {("red", "kite")}


def test_captions_and_references_are_tokenised_alike():
    t = truthfulness({1: "A Red KITE, above (a) man in blue."}, [record(1, ("red", "kite"), ("blue", "person"))])
    assert (t.named, t.true_share, t.recall) == (2, 1, 1)
    said = "A Red KITE, above (a) man in blue."
    same = truthfulness({1: said}, [record(1, ("red", "kite"), captions=[said])])
    assert same.named == same.named_by_people == 2


def test_an_unknown_word_names_nothing():
    assert colored_objects("a red <unk> and a <unk> kite") == set()


def test_captions_of_other_images_are_refused():
    with pytest.raises(ValueError, match="no caption belongs to any of the records"):
        truthfulness({7: "a dog"}, [record(1, ("red", "kite"))])


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
        ("two kites and a red kite", (0, 0)),  # no colour, no number: nothing claimed
    ],
)
def test_numbers_are_those_of_the_picture(caption, expected):
    box = (0, 0, 1, 1)
    things = [("red", "kite", box)] * 2 + [("blue", "boat", box)] * 3 + [("blue", "person", box)]
    assert count_accuracy({1: caption}, scene(*things)) == expected


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
    assert relation_accuracy({1: caption}, records) == expected


def test_what_people_say_of_a_drawn_scene_is_right(tmp_path):
    making.make(tmp_path / "sample", train=0, val=100, test=0)
    records = coco.load(tmp_path / "sample", "val")
    for captions in zip(*(record.captions for record in records), strict=True):
        said = dict(zip((record.image_id for record in records), captions, strict=True))
        for share, claims in (count_accuracy(said, records), relation_accuracy(said, records)):
            assert share == 1 and claims > 2


# --- grounding


def box(top: int, left: int, bottom: int, right: int, size: int = 16) -> np.ndarray:
    mask = np.zeros((size, size), dtype=bool)
    mask[top:bottom, left:right] = True
    return mask


def test_a_look_is_measured_at_the_noun():
    tokens = tokenize("a dog beside a hot dog")
    attention = np.full((7, 16), 0.01)  # 4 x 4 regions, each of 4 x 4 pixels; a row for <end>
    attention[1, 1 * 4 + 2] = 0.85  # "dog": second row, third column
    attention[5, 3 * 4 + 0] = 0.85  # the "dog" of "hot dog": last row, first column
    instances = [("dog", box(4, 8, 8, 12)), ("hot dog", box(12, 0, 16, 4)), ("cat", box(0, 0, 16, 16))]
    dog, hot_dog = grounding(tokens, attention, instances)
    assert dog == Look("dog", True, pytest.approx(0.85), 1 / 16)
    assert hot_dog == Look("hot dog", True, pytest.approx(0.85), 1 / 16)
    assert grounding(["a", "kite"], attention, instances) == []  # not annotated: nothing to look at


def test_rows_and_columns_are_not_swapped():
    attention = np.zeros((1, 16))
    attention[0, 3] = 1.0  # the right end of the first row
    for mask, hit in ((box(0, 12, 4, 16), True), (box(12, 0, 16, 4), False)):
        (look,) = grounding(["dog"], attention, [("dog", mask)])
        assert look.hit == hit and look.mass == pytest.approx(float(hit))


def test_masks_of_one_category_count_together_and_cells_by_their_share():
    attention = np.zeros((1, 16))
    attention[0, [0, 5]] = 0.6, 0.4
    masks = [("dog", box(0, 0, 4, 2)), ("dog", box(4, 4, 8, 8))]  # the left half of region 0, the whole of region 5
    (look,) = grounding(["dog"], attention, masks)
    assert look.mass == pytest.approx(0.6 * 0.5 + 0.4)
    assert look.chance == (8 + 16) / 256
    assert not look.hit  # the centre of region 0 is just outside


def test_a_mask_need_not_be_square_nor_a_multiple_of_the_grid():
    mask = np.zeros((30, 50), dtype=bool)
    mask[15:, 25:] = True  # the last quarter
    attention = np.zeros((1, 4))
    attention[0, 3] = 1.0
    assert grounding(["dog"], attention, [("dog", mask)]) == [Look("dog", True, 1.0, 0.25)]


# --- CHAIR


def test_hallucination_counts_mentions_of_what_is_neither_annotated_nor_said_by_people():
    records = [
        record(1, ("red", "kite"), ("blue", "boat"), captions=["a dog looks at a kite"]),
        record(2, ("red", "bus"), captions=["a bus"]),
        record(3, ("red", "cat"), captions=[]),
    ]
    captions = {1: "a dog and a cat with a kite", 2: "a bus next to a car and a truck", 3: "nothing to see"}
    h = hallucination(captions, records)
    assert h.chair_i == pytest.approx(3 / 6)  # the cat; the car and the truck
    assert h.chair_s == pytest.approx(2 / 3)
    assert h.recall == pytest.approx(2 / 4)  # kite and bus of kite, boat, bus and cat
    assert h.mentions == pytest.approx(2.0)
    with pytest.raises(ValueError, match="same split"):
        hallucination({9: "a dog"}, records)
