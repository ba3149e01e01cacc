"""COCO's own layout -> records.

Comes in: a folder with `annotations/captions_<split>.json`, `annotations/instances_<split>.json` where there are
annotated objects, and the images in `<split>/` or `images/<split>/`. Goes out: records. What the files say is checked
first, then joined by image with COCO's own library, pycocotools.
"""

from __future__ import annotations

import contextlib
import io
import json
import re
from collections import Counter
from collections.abc import Collection, Iterator
from functools import cache
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
from dataset.paths import Listed, check_distinct, first_folder, inside, unnested
from dataset.records import Instance, Record, choose_splits


def load_coco(folder: Path, split: str | None, instances: bool) -> list[Record]:
    """The records of one split, or of all. `captions_train2014.json` is the split "train", with images in `train2014/`.

    Raises ValueError if a file is damaged, an image is listed twice, in whichever splits, or the split is not there.
    """
    names = _file_names(folder)
    records, own = [], list[Listed]()
    parts = choose_splits(split, names, folder)
    for part in parts:
        name = names[part]
        file, images = _captions_of(folder, name), _images_of(folder, name)
        real = images.resolve()
        captions = _read_annotations(file, "caption")
        objects = read_instances(folder, name) if instances else COCO()
        check_objects(objects, captions.imgs, instances_file(folder, name))
        for entry in captions.dataset["images"]:
            image_id = entry["id"]
            if annotations := captions.imgToAnns.get(image_id):
                own.append((image_id, f"{real}/{entry.get('file_name')}", part))
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
    others = {part: name for part, name in names.items() if part not in parts}
    try:
        check_distinct([*own, *_listed(folder, others)], folder)
    except ValueError:  # an image may be in a second list without a caption there: then it is not used
        check_distinct([*own, *_listed(folder, others, captioned=True)], folder)
    return records


def _listed(folder: Path, names: dict[str, str], captioned: bool = False) -> Iterator[Listed]:
    """The images of splits that are not asked for, if `captioned` without those that have no caption."""
    for part, name in names.items():
        file, images = _captions_of(folder, name), _images_of(folder, name).resolve()  # two may be links to one
        entries = _read_images(file, file.stat().st_mtime_ns)
        if captioned:
            captions = _read_annotations(file, "caption").imgToAnns
            entries = [entry for entry in entries if entry[0] in captions]
        yield from ((image_id, f"{images}/{path}", part) for image_id, path in entries)


@cache
def _read_images(file: Path, changed: int) -> list[tuple[int | str, str]]:
    """Ids and names of the images that a file lists. Its captions, most of it, are passed over; `changed` is when."""
    text = file.read_text(encoding="utf-8-sig", errors="replace")
    key = re.search(r'(?<!\\)"images"\s*:\s*(?=\[)', text)
    try:
        images, _ = json.JSONDecoder().raw_decode(text, key.end() if key else 0)
        return [(image["id"], image["file_name"]) for image in images]
    except (ValueError, RecursionError, TypeError, KeyError):  # written or damaged in another way
        images = get_list(read_json(file), "images", file)
    return [(check_id(get_field(i, "id", file), file), get_field(i, "file_name", file)) for i in images]


def _captions_of(folder: Path, name: str) -> Path:
    return folder / "annotations" / f"captions_{name}.json"


def _images_of(folder: Path, name: str) -> Path:
    return first_folder([unnested(folder / name), unnested(folder / "images" / name)])


def read_instances(folder: Path, name: str) -> COCO:
    """The annotated objects in `instances_<name>.json`, indexed by image; an empty index if there is no such file."""
    file = instances_file(folder, name)
    if not file.is_file():
        return COCO()
    index = _read_annotations(file, "category_id", "bbox")
    if len(index.cats) < len(index.dataset["categories"]):
        twice = Counter(category["id"] for category in index.dataset["categories"]).most_common(1)[0][0]
        raise ValueError(f"{file}: two categories have the id {shown(twice)}: give each category an id of its own.")
    for annotation in index.dataset["annotations"]:
        where = f"{file}: annotation {shown(annotation['id'])}"
        if not are_numbers(annotation["bbox"]) or len(annotation["bbox"]) != 4:
            raise ValueError(f"{where} has no box of four numbers.")
        if min(annotation["bbox"][2:]) < 0:
            raise ValueError(
                f"{where} has the box {shown(annotation['bbox'])}, of which width or height is negative: a box is x "
                "and y of its upper left corner, width, height."
            )
        if annotation.get("iscrowd", 0) not in (0, 1):
            raise ValueError(f"{where} has {shown(annotation['iscrowd'])} for iscrowd, which is 0 or 1.")
        if not are_numbers([annotation.get("area", 0)]):
            raise ValueError(f"{where} has {shown(annotation['area'])} for an area, which is no number.")
        if not isinstance(annotation.get("attributes", {}), dict):
            raise ValueError(f"{where} has {shown(annotation['attributes'])} for attributes.")
        for name in {"color", "size"} & annotation.get("attributes", {}).keys():
            if not isinstance(annotation["attributes"][name], str):
                raise ValueError(f"{where} has {shown(annotation['attributes'][name])} for a {name}, which is a word.")
        if annotation["category_id"] not in index.cats:
            raise ValueError(f"{where} is of category {shown(annotation['category_id'])}, which is not listed.")
    return index


def check_objects(objects: COCO, known: Collection[int | str], file: Path) -> None:
    """ValueError if annotated objects, of the images in `file`, are of none of these images, or name them otherwise."""
    if not objects.imgToAnns or not known:
        return
    plain = {str(image_id).lstrip("0"): image_id for image_id in known}
    for image_id in objects.imgToAnns:
        meant = plain.get(str(image_id).lstrip("0"), image_id)
        if image_id not in known and meant != image_id:
            raise ValueError(
                f"{file}: the image that has the id {shown(meant)} where its caption is has {shown(image_id)} here: "
                "write ids alike in both files."
            )
    if not objects.imgs.keys() & known:
        raise ValueError(f"{file} lists none of the captioned images: it belongs to others, remove it.")


def instances_file(folder: Path, name: str) -> Path:
    return folder / "annotations" / f"instances_{name}.json"


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
