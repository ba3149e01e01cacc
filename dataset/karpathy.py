"""Karpathy's layout -> records: the splits that papers report on.

Comes in: a folder with `dataset_coco.json`, `dataset_flickr8k.json` or `dataset_flickr30k.json` of Karpathy & Fei-Fei
(2015), "Deep Visual-Semantic Alignments for Generating Image Descriptions", and the images: COCO's in `train2014/` and
`val2014/`, Flickr's in one folder. Goes out: records; objects come from COCO's own files where they are there.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pycocotools.coco import COCO

from dataset.checks import check_caption, check_id, check_name, check_size, get_field, get_list, read_json, shown
from dataset.coco import check_objects, instances_file, instances_of, read_instances
from dataset.paths import Listed, check_distinct, first_folder, image_folders, inside, only, unnested
from dataset.records import Record, choose_splits

NAMES = ("dataset_coco.json", "dataset_flickr8k.json", "dataset_flickr30k.json")


def find_splits(folder: Path) -> Path | None:
    """The file of Karpathy's in a folder; None if there is none, ValueError if there are two.

    One of another name must have a list of images: Kaggle's and Hugging Face's files about a dataset are called alike.
    """
    return only(file for file in folder.glob("dataset*.json") if file.name in NAMES or _has_images(file))


def _has_images(file: Path) -> bool:
    content = read_json(file)
    return isinstance(content, dict) and isinstance(content.get("images"), list)


def load_karpathy(folder: Path, file: Path, split: str | None, instances: bool) -> list[Record]:
    """The records of one split, or of all; `restval` goes to training.

    Raises ValueError if the file is damaged, an image is listed twice or the split is not there, FileNotFoundError if
    its images are not.
    """
    entries: list[tuple[str, Any]] = []  # (split, entry of the file)
    for entry in get_list(read_json(file), "images", file):
        part = check_name(get_field(entry, "split", file), file)
        entries.append(("train" if part == "restval" else part, entry))
    parts = choose_splits(split, {part for part, _ in entries}, folder)
    images: dict[str, Path] = {}  # "train2014" -> its folder; "" for Flickr, which has one folder
    objects: dict[str, COCO] = {}
    listed, records = list[Listed](), []
    for part, entry in entries:
        if not get_list(entry, "sentences", file):
            continue
        image_id = check_id(entry["cocoid"] if "cocoid" in entry else get_field(entry, "imgid", file), file)
        name = entry.get("filepath", "") and check_name(entry["filepath"], file)
        if name not in images:
            tops = [inside(folder, f"{top}{name}", file) for top in ("", "images/")] if name else []
            images[name] = first_folder([*map(unnested, tops)] or image_folders(folder))
        listed.append((image_id, f"{images[name]}/{get_field(entry, 'filename', file)}", part))
        if part not in parts:
            continue
        if name not in objects:
            objects[name] = read_instances(folder, name) if instances and name else COCO()
            check_objects(objects[name], {e.get("cocoid") for _, e in entries}, instances_file(folder, name))
        where = f"{file}: image {shown(image_id)}"
        records.append(
            Record(
                image_id,
                inside(images[name], get_field(entry, "filename", file), file),
                part,
                tuple(check_caption(get_field(s, "raw", file), where) for s in entry["sentences"]),
                *check_size(objects[name].imgs.get(image_id, {}), file),
                instances_of(objects[name], image_id),
            )
        )
    check_distinct(listed, file)
    return records
