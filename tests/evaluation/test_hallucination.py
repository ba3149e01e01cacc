"""What a user relies on in CHAIR: what is neither annotated nor said by people counts, and nothing else."""

import pytest

from dataset.records import Instance, Record
from evaluation.hallucination import hallucination
from evaluation.metrics import tokenized, tokenized_references


def record(image_id: int, *categories: str, captions: tuple[str, ...] = ()) -> Record:
    instances = tuple(Instance(category, (0, 0, 1, 1), 1, []) for category in categories)
    return Record(image_id, f"{image_id}.png", "val", captions, instances=instances)


def references_of(records: list[Record]) -> dict:
    return tokenized_references({record.image_id: record.captions for record in records})


def test_hallucination_counts_mentions_of_what_is_neither_annotated_nor_said_by_people():
    records = [
        record(1, "kite", "boat", captions=("a dog looks at a kite",)),
        record(2, "bus", captions=("a bus",)),
        record(3, "cat"),
    ]
    captions = {1: "a dog and a cat with a kite", 2: "a bus next to a car and a truck", 3: "nothing to see"}
    h = hallucination(tokenized(captions), references_of(records), records)
    assert h.chair_i == pytest.approx(3 / 6)  # the cat; the car and the truck
    assert h.chair_s == pytest.approx(2 / 3)
    assert h.recall == pytest.approx(2 / 4)  # kite and bus of kite, boat, bus and cat
    assert h.mentions == pytest.approx(2.0)
    with pytest.raises(ValueError, match="same split"):
        hallucination({9: ["a", "dog"]}, references_of(records), records)


def test_a_young_animal_is_no_invented_person():
    records = [record(1, "elephant", captions=("an elephant",))]
    assert hallucination(tokenized({1: "a baby elephant"}), references_of(records), records).chair_i == 0
    assert hallucination(tokenized({1: "a baby"}), references_of(records), records).chair_i == 1
