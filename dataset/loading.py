"""A dataset's folder -> records, whichever of the three layouts it has.

Comes in: a name or path. Goes out: a list of `Record`, the same on every machine. The layouts are COCO's own (coco.py),
Karpathy's (karpathy.py) and a table of captions (tables.py); whether an image exists is found out when it is opened.
"""

from __future__ import annotations

from pathlib import Path

from dataset.checks import shown
from dataset.coco import load_coco
from dataset.karpathy import load_karpathy
from dataset.paths import find, only
from dataset.records import Record, split_rank
from dataset.tables import load_table


def load_records(
    dataset: str | Path, split: str | None = None, *, instances: bool = True, seed: int = 0
) -> list[Record]:
    """All records of a dataset, or those of one split, ordered by split (train, val, test), then by image id.

    `dataset` is a name (`"sample"` is the folder DATA/sample) or a path. `instances=False` leaves objects and masks
    unread, which on COCO saves most of the time and memory. `seed` decides how the images of a table, which has no
    splits of its own, are split. Images without any caption are left out.

    Raises FileNotFoundError if the dataset or its folder of images is missing, ValueError if the layout is not known, a
    file is damaged, or the split is not there.
    """
    folder = find(dataset)
    if (file := only(folder.glob("dataset*.json"))) is not None:
        records = load_karpathy(folder, file, split, instances)
    elif any(folder.glob("annotations/captions_*.json")):
        records = load_coco(folder, split, instances)
    elif (file := only([*folder.glob("captions.txt"), *folder.glob("captions.csv")])) is not None:
        records = load_table(folder, file, split, seed)
    else:
        raise ValueError(
            f"{folder} is not a dataset this course knows: it holds neither annotations/captions_<split>.json (COCO), "
            "nor dataset_*.json (Karpathy's splits), nor captions.txt or captions.csv."
        )
    if not records:
        raise ValueError(f"{folder} holds no image with a caption{f' in the split {split!r}' if split else ''}.")
    _check_distinct(records, folder)
    return sorted(records, key=lambda r: (split_rank(r.split), isinstance(r.image_id, str), r.image_id))


def _check_distinct(records: list[Record], folder: Path) -> None:
    """ValueError if an image is listed twice: it must not be trained on and tested with."""
    split_of: dict[int | str, str] = {}
    for record in records:
        if record.image_id in split_of:
            raise ValueError(
                f"{folder}: image {shown(record.image_id)} is listed twice, in {split_of[record.image_id]} and "
                f"{record.split}; an image belongs to one split."
            )
        split_of[record.image_id] = record.split
