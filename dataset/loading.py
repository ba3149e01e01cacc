"""A dataset's folder -> records, whichever layout it has.

Comes in: a name or path. Goes out: a list of `Record`, the same on every machine. The layouts are COCO's own (coco.py),
Karpathy's (karpathy.py) and tables of captions, Flickr's among them (tables.py). Images are looked for here, and opened
by pictures.py.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from dataset.checks import shown
from dataset.coco import load_coco
from dataset.karpathy import NAMES, find_splits, load_karpathy
from dataset.paths import SUFFIXES, Listing, find
from dataset.records import Record, split_rank
from dataset.tables import find_table, load_table


def load_records(
    dataset: str | Path,
    split: str | None = None,
    *,
    instances: bool = True,
    seed: int = 0,
    missing: str = "stop",
) -> list[Record]:
    """All records of a dataset, or those of one split, ordered by split (train, val, test), then by image id.

    `dataset` is a name (`"sample"` is the folder DATA/sample) or a path. `instances=False` leaves objects and masks
    unread, which on COCO saves most of the time and memory. `seed` decides how the images of a table, which has no
    splits of its own, are split. `missing` says what to do about captions of images that are not there: "stop"; "skip"
    them and print how many they are; "keep" them, where only captions are asked for. Images without any caption are
    left out.

    Raises FileNotFoundError if the dataset, its folder of images or (unless skipped) an image is missing, ValueError if
    the layout is not known, a file is damaged, an image is listed twice, be it in splits not asked for, or the split is
    not there.
    """
    if missing not in ("stop", "skip", "keep"):
        raise ValueError(f'missing says what to do without an image: "stop", "skip" or "keep", not {missing!r}.')
    folder = find(dataset)
    if (file := find_splits(folder)) is not None:
        records = load_karpathy(folder, file, split, instances)
    elif any(folder.glob("annotations/captions_*.json")):
        records = load_coco(folder, split, instances)
    elif (file := find_table(folder)) is not None:
        records = load_table(folder, file, split, seed)
    else:
        raise ValueError(
            f"{folder} is not a dataset this course knows: it holds neither annotations/captions_<split>.json (COCO), "
            "nor dataset_*.json with a list of images (Karpathy's splits), nor captions.txt, captions.csv, "
            "Flickr8k.token.txt or results.csv."
            f"{_what_may_be_meant(folder)}"
        )
    if not records:
        raise ValueError(f"{folder} holds no image with a caption{f' in the split {split!r}' if split else ''}.")
    if missing != "keep":
        records = _find_images(records, folder, missing)
    return sorted(records, key=lambda r: (split_rank(r.split), isinstance(r.image_id, str), r.image_id))


def _is_dataset(folder: Path) -> bool:
    """Whether a folder has a layout that is known."""
    files = [folder.joinpath(name) for name in NAMES if (folder / name).is_file()]
    return bool([*files, *folder.glob("annotations/captions_*.json")]) or find_table(folder) is not None


def _what_may_be_meant(folder: Path) -> str:
    """A hint where a dataset lies a level above or below, or a table is missing; else nothing."""
    near = [folder.resolve().parent, *sorted(path for path in folder.iterdir() if path.is_dir())]
    if meant := [str(path) for path in near if _is_dataset(path)]:
        return f" Did you mean {' or '.join(meant[:3])}?"
    sheets = sorted(path.name for path in folder.iterdir() if path.suffix.lower() in (".xlsx", ".xls", ".ods"))
    if sheets:
        return f' Save {sheets[0]} as captions.csv ("CSV UTF-8"), with the header image,caption.'
    tables = sorted(path.name for path in folder.iterdir() if path.suffix.lower() in (".csv", ".tsv"))
    if tables:
        return f" If {tables[0]} is its table, call it captions.csv."
    pictures = any(path.suffix.lower() in SUFFIXES for path in folder.iterdir())
    return " It holds pictures alone: a captions.csv must say what they show." if pictures else ""


def _find_images(records: list[Record], folder: Path, missing: str) -> list[Record]:
    """The records with their paths as the disk spells them; what is missing is counted, before any work begins."""
    listing = Listing()
    found = [(record, listing.find(record.path)) for record in records]
    lost = [record.path for record, path in found if path is None]
    stop = missing == "stop" or len(lost) == len(records)
    if lost and stop and not (place := lost[0].parent).is_dir():
        raise FileNotFoundError(f"No folder of images at {place}: put them there, or set DATA to where they lie.")
    if lost:
        some = ", ".join(shown(path.name) for path in lost[:3]) + (", …" if len(lost) > 3 else "")
        told = f"{len(lost):,} of {len(records):,} images are missing from {lost[0].parent}: {some}"
        if stop:
            raise FileNotFoundError(
                f'{told}; complete the dataset, or leave them out with --broken skip (missing="skip").'
            )
        print(f"left out: {told}")
    return [record if path == record.path else replace(record, path=path) for record, path in found if path is not None]
