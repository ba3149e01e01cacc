"""Does a caption name things that are not in its picture? CHAIR (Rohrbach et al. 2018, arXiv 1809.02156).

Comes in: the words of captions and references, by image id, and records with annotated objects. Goes out: shares over a
split. What it does not know: colours, numbers and places of things (evaluation/truth.py), models, tensors.

The values compare captions that were measured here, and not with published CHAIR tables. The formulas and the rules for
compounds are the paper's ("a baby elephant" names no person, "a train track" no train), but its list of synonyms is
longer and is applied to singularised words. Ours (evaluation/synonyms.txt) knows fewer names, has plurals by rule,
tells the fruit from the colour orange, and leaves out more compounds that name a place rather than a thing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from dataset.records import Record
from evaluation.objects import Tokens, find_object_mentions


class Hallucination(NamedTuple):
    """Shares between 0 and 1 over a split (Rohrbach et al. 2018, eq. 1-2), and mentions per caption."""

    chair_i: float  # of the mentions of a category, those of one that is not in the picture
    chair_s: float  # of the captions, those with such a mention
    recall: float  # of the categories annotated in the pictures, those mentioned
    mentions: float


def hallucination(
    captions: Mapping[int | str, Tokens],
    references: Mapping[int | str, Sequence[Tokens]],
    records: Iterable[Record],
) -> Hallucination:
    """CHAIR over COCO's categories: captions and references as words, by image id, against the records of the images.

    In a picture is what its instances or its references name, as in the paper: annotators overlook things, and people
    call a drawing of a dog a dog. Raises ValueError if no caption belongs to any of the records, KeyError if an image
    has a caption and no entry in `references`.
    """
    mentions = invented = false_captions = annotated = recalled = count = 0
    for record in records:
        if record.image_id not in captions:
            continue
        objects = {instance.category for instance in record.instances}
        real = objects | {m.category for tokens in references[record.image_id] for m in find_object_mentions(tokens)}
        said = [mention.category for mention in find_object_mentions(captions[record.image_id])]
        wrong = sum(category not in real for category in said)
        count, false_captions = count + 1, false_captions + bool(wrong)
        mentions, invented = mentions + len(said), invented + wrong
        annotated, recalled = annotated + len(objects), recalled + len(objects & set(said))
    if not count:
        raise ValueError("no caption belongs to any of the records: are they of the same split?")
    return Hallucination(
        invented / max(mentions, 1), false_captions / count, recalled / max(annotated, 1), mentions / count
    )
