"""COCO's own layout -> records.

Comes in: a folder with `annotations/captions_<split>.json`, `annotations/instances_<split>.json` where there are
annotated objects, and the images in `<split>/` or `images/<split>/`. Goes out: records. What the files say is checked
first, then joined by image with COCO's own library, pycocotools.
"""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path

from pycocotools.coco import COCO

from dataset.checks import (
    are_numbers,
    check_caption,
    check_id,
    check_name,
    check_size,
    get_field,
    get_list,
    read_json,
    shown,
)
from dataset.paths import first_folder, inside, unnested
from dataset.records import Instance, Record, choose_splits


def load_coco(folder: Path, split: str | None, instances: bool) -> list[Record]:
    """The records of one split, or of all. `captions_train2014.json` is the split "train", with images in `train2014/`.

    Raises ValueError if a file is damaged or the split is not there.
    """
    names = _file_names(folder)
    records = []
    for part in choose_splits(split, names, folder):
        name = names[part]
        file = folder / "annotations" / f"captions_{name}.json"
        captions = _read_annotations(file, "caption")
        objects = read_instances(folder, name) if instances else COCO()
        images = first_folder([unnested(folder / name), unnested(folder / "images" / name)])
        for entry in captions.dataset["images"]:
            image_id = entry["id"]
            if annotations := captions.imgToAnns.get(image_id):
                records.append(
                    Record(
                        image_id,
                        inside(images, get_field(entry, "file_name", file), file),
                        part,
                        tuple(check_caption(a["caption"], f"{file}: annotation {shown(a['id'])}") for a in annotations),
                        *check_size(entry, file),
                        instances_of(objects, image_id),
                    )
                )
    return records


def read_instances(folder: Path, name: str) -> COCO:
    """The annotated objects in `instances_<name>.json`, indexed by image; an empty index if there is no such file."""
    file = folder / "annotations" / f"instances_{name}.json"
    if not file.is_file():
        return COCO()
    index = _read_annotations(file, "category_id", "bbox")
    for annotation in index.dataset["annotations"]:
        where = f"{file}: annotation {shown(annotation['id'])}"
        if not are_numbers(annotation["bbox"]) or len(annotation["bbox"]) != 4:
            raise ValueError(f"{where} has no box of four numbers.")
        if not are_numbers([annotation.get("area", 0)]):
            raise ValueError(f"{where} has {shown(annotation['area'])} for an area, which is no number.")
        if not isinstance(annotation.get("attributes", {}), dict):
            raise ValueError(f"{where} has {shown(annotation['attributes'])} for attributes.")
        if annotation["category_id"] not in index.cats:
            raise ValueError(f"{where} is of category {shown(annotation['category_id'])}, which is not listed.")
    return index


def instances_of(objects: COCO, image_id: int | str) -> tuple[Instance, ...]:
    """The objects of one image, from what `read_instances` gave."""
    return tuple(
        Instance(
            objects.cats[entry["category_id"]]["name"],
            tuple(entry["bbox"]),
            entry.get("area", entry["bbox"][2] * entry["bbox"][3]),
            entry.get("segmentation", []),
            bool(entry.get("iscrowd", 0)),
            entry.get("attributes", {}),
        )
        for entry in objects.imgToAnns.get(image_id, ())
    )


def _file_names(folder: Path) -> dict[str, str]:
    """Split -> the name by which its files and its folder are called: {"train": "train2014"}."""
    names: dict[str, str] = {}
    for file in sorted(folder.glob("annotations/captions_*.json")):
        name = file.stem.removeprefix("captions_")
        other = names.setdefault(re.sub(r"\d+$", "", name) or name, name)
        if other != name:
            raise ValueError(
                f"{folder / 'annotations'} holds the same split twice, as {other} and {name}: "
                "keep the files of one year in this folder."
            )
    return names


def _read_annotations(file: Path, *needed: str) -> COCO:
    """One annotation file, checked, then indexed by pycocotools; every annotation has the fields `needed`."""
    content = read_json(file)
    known = {check_id(get_field(image, "id", file), file) for image in get_list(content, "images", file)}
    for annotation in get_list(content, "annotations", file):
        for name in ("image_id", "id", *needed):
            get_field(annotation, name, file)
        number, image_id = check_id(annotation["id"], file), check_id(annotation["image_id"], file)
        if image_id not in known:
            raise ValueError(f"{file}: annotation {shown(number)} is of image {shown(image_id)}, which is not listed.")
    index = COCO()
    index.dataset = {"images": content["images"], "annotations": content["annotations"]}
    if "category_id" in needed:
        index.dataset["categories"] = get_list(content, "categories", file)
        for category in index.dataset["categories"]:
            check_id(get_field(category, "id", file), file)
            check_name(get_field(category, "name", file), file)
        for annotation in content["annotations"]:
            check_id(annotation["category_id"], file)
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints its progress
        index.createIndex()
    return index
