"""Draws the sample dataset: some thousand cartoon scenes in COCO's own folder layout and JSON, within seconds.

Comes in: a folder, how many pictures, a seed. Goes out:

    annotations/captions_{train,val,test}.json     five captions a picture
    annotations/instances_{train,val,test}.json    category, polygons, box, area; colour and size as "attributes"
    train/ val/ test/000000000042.jpg              the pictures
    sample.json                                    the arguments it was drawn with

Here scenes are invented and files are written; drawing.py paints them, grammar.py captions them. Each picture has a
random generator of its own, so picture 42 is the same however many are drawn. It does not know what they are used for.
"""

import json
import math
import shutil
import time
from dataclasses import asdict
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

from pycocotools import mask as coco_mask

from dataset import files
from dataset.progress import shown
from dataset.sample.canvas import HORIZON, UNITS
from dataset.sample.drawing import paint
from dataset.sample.grammar import CATEGORY_OF_KIND, caption_logprob, grammar
from dataset.sample.pcfg import sample
from dataset.sample.scene import FLYING, Box, Group, Scene
from dataset.sample.shapes import extent

VERSION = 2  # of the drawing: raise it when the same seed draws something else
FIRST_ID = {"train": 1, "val": 100_001, "test": 200_001}  # ids are unique over the splits
CAPTIONS = 5

CATEGORIES: dict[str, int] = {  # COCO's own names and ids
    "person": 1,
    "bicycle": 2,
    "car": 3,
    "airplane": 5,
    "boat": 9,
    "bench": 15,
    "bird": 16,
    "cat": 17,
    "dog": 18,
    "umbrella": 28,
    "sports ball": 37,
    "kite": 38,
    "clock": 85,
}
SUPERCATEGORIES: dict[str, tuple[str, ...]] = {
    "person": ("person",),
    "vehicle": ("bicycle", "car", "airplane", "boat"),
    "outdoor": ("bench",),
    "animal": ("bird", "cat", "dog"),
    "accessory": ("umbrella",),
    "sports": ("sports ball", "kite"),
    "indoor": ("clock",),
}

# --- inventing a scene ------------------------------------------------------------------------------------------------

PAINTED = ("red", "yellow", "green", "blue", "purple", "black", "white")
COLORS_OF: dict[str, tuple[str, ...]] = {kind: PAINTED for kind in CATEGORY_OF_KIND} | {
    "dog": ("brown", "black", "white"),
    "cat": ("brown", "black", "white"),
    "bird": ("red", "yellow", "blue", "black", "white"),
    "bench": ("brown", "red", "green", "blue", "white"),
}
ON_LAND = ("man", "woman", "dog", "cat", "car", "bicycle", "umbrella", "bench", "clock", "sports ball")
KINDS: dict[str, tuple[str, ...]] = {  # what stands or floats on which ground
    "grass": tuple(k for k in ON_LAND if k != "car"),
    "sand": tuple(k for k in ON_LAND if k not in ("car", "clock")),
    "water": ("boat", "boat", "sports ball"),
    "snow": ON_LAND,
    "street": tuple(k for k in ON_LAND if k != "sports ball"),
}
SKIES = ("sunny", "sunny", "cloudy", "night", "night")
APART = 4  # free scene units between any two objects


def counts(rng: Random) -> list[int]:
    """How many objects each group has: one to four in all, equally often; one picture in five has objects alike."""
    total = rng.randint(1, 4)
    alike = rng.choice((2, 2, 3)) if total > 1 and rng.random() < 0.25 else 1
    alike = min(alike, total)
    return [alike] + [1] * (total - alike)


def place(kind: str, size: str, count: int, taken: list[Box], rng: Random) -> tuple[Box, ...] | None:
    """Boxes for so many objects side by side, clear of those taken; None if this try found no room."""
    stretch = rng.uniform(0.93, 1.07)
    w, h = (side * stretch for side in extent(kind, size))
    gap = rng.uniform(4, 7)
    x = rng.uniform(3, UNITS - 3 - count * w - (count - 1) * gap)
    if kind in FLYING:
        y = rng.uniform(3, HORIZON - h - 2)
    else:
        # Things reach from the ground up past the horizon; the large ones stand nearer, so lower.
        y = rng.uniform(HORIZON + (22 if size == "large" else 14), UNITS - 4) - h
    boxes: list[Box] = []
    for k in range(count):
        boxes.append((round(x + k * (w + gap), 2), round(y + rng.uniform(-1.5, 1.5), 2), round(w, 2), round(h, 2)))
    inside = all(bx >= 1 and by >= 1 and bx + bw < UNITS - 1 and by + bh < UNITS - 1 for bx, by, bw, bh in boxes)
    clear = all(
        bx + bw + APART < tx or tx + tw + APART < bx or by + bh + APART < ty or ty + th + APART < by
        for bx, by, bw, bh in boxes
        for tx, ty, tw, th in taken
    )
    return tuple(boxes) if inside and clear else None


def invent(rng: Random) -> Scene:
    """A scene of one to four objects, none hiding another, no two groups of one category."""
    ground, sky, numbers = rng.choice(list(KINDS)), rng.choice(SKIES), counts(rng)
    while True:
        groups: list[Group] = []
        taken: list[Box] = []
        for count in numbers:
            aloft = rng.random() < (0.45 if ground == "water" else 0.28)
            kind = rng.choice(FLYING if aloft else KINDS[ground])
            color = rng.choice(COLORS_OF[kind])
            size = "small" if count == 3 else rng.choice(("small", "large"))
            same = any(CATEGORY_OF_KIND[g.kind] == CATEGORY_OF_KIND[kind] for g in groups)
            boxes = None if same else place(kind, size, count, taken, rng)
            if boxes is None:
                break
            groups.append(Group(kind, color, size, boxes))
            taken += boxes
        if len(groups) == len(numbers):
            return Scene(ground, sky, tuple(groups))


# --- one picture ------------------------------------------------------------------------------------------------------


def picture(split: str, index: int, seed: int, size: int, folder: Path) -> tuple[dict, list[dict], list[dict]]:
    """Draws picture number `index` of a split into the folder; returns COCO's entries: image, instances, captions."""
    rng = Random(f"{seed} {split} {index}")
    scene = invent(rng)
    tree = grammar(scene)
    captions = [" ".join(sample(tree, rng)).capitalize() + rng.choice((".", ".", "")) for _ in range(CAPTIONS)]
    image, polygons = paint(scene, rng, size)
    image_id = FIRST_ID[split] + index
    name = f"{image_id:012d}.jpg"
    image.save(folder / split / name, quality=92, subsampling=0)  # colour as sharp as brightness
    entry = {"id": image_id, "file_name": name, "width": size, "height": size, "scene": asdict(scene)}
    groups = [group for group in scene.groups for _ in group.boxes]
    instances = [
        instance(100 * image_id + k, image_id, *pair, size) for k, pair in enumerate(zip(groups, polygons, strict=True))
    ]
    sentences = [
        {"id": 10 * image_id + k, "image_id": image_id, "caption": caption} for k, caption in enumerate(captions)
    ]
    return entry, instances, sentences


def instance(annotation_id: int, image_id: int, group: Group, polygons: list[list[float]], size: int) -> dict[str, Any]:
    """One object as COCO writes it, with its colour and size besides."""
    xs = [x for polygon in polygons for x in polygon[0::2]]
    ys = [y for polygon in polygons for y in polygon[1::2]]
    return {
        "id": annotation_id,
        "image_id": image_id,
        "category_id": CATEGORIES[CATEGORY_OF_KIND[group.kind]],
        "segmentation": polygons,
        "area": float(coco_mask.area(coco_mask.merge(coco_mask.frPyObjects(polygons, size, size)))),
        "bbox": [round(v, 2) for v in (min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys))],
        "iscrowd": 0,
        "attributes": {"color": group.color, "size": group.size},
    }


# --- the dataset ------------------------------------------------------------------------------------------------------


def already_there(folder: Path, arguments: dict[str, int]) -> bool:
    """True if the folder holds this very sample, False if it is free; ValueError if it holds anything else."""
    if not folder.exists():
        return False
    if not folder.is_dir():
        raise ValueError(f"{folder} is a file: name a folder to draw the sample into.")
    made = folder / "sample.json"
    if made.is_file():
        other = made.read_text(encoding="utf-8", errors="replace").strip()
        if other == json.dumps(arguments):
            return True
        raise ValueError(f"{folder} holds another sample ({other}): delete it or name another folder.")
    if any(folder.iterdir()):
        raise ValueError(f"{folder} holds files that are not the sample's: name another folder to draw into.")
    return False


def make(
    folder: str | Path, train: int = 2000, val: int = 400, test: int = 400, seed: int = 0, size: int = UNITS
) -> None:
    """Draws the sample into a folder; does nothing if the same sample is there already.

    Comes in: pictures a split, the seed, and the side of a picture in pixels. Drawn beside the folder and moved there
    when finished, so an interrupted run leaves nothing half done; what a killed one leaves beside it is removed a day
    later. Raises ValueError if the folder holds another sample or other files, or if a number is out of range;
    OSError, as `files.explained` tells it, if nothing can be written there.
    """
    folder = Path(folder)
    numbers = {"train": train, "val": val, "test": test}
    if min(numbers.values()) < 0 or max(numbers.values()) > 100_000 or size < 16:
        raise ValueError(f"Cannot draw {numbers} at {size} pixels: 0 to 100000 pictures a split, at least 16 pixels.")
    arguments = {"version": VERSION, **numbers, "seed": seed, "size": size}
    if already_there(folder, arguments):
        return
    with files.explained(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        for left in folder.parent.glob(f".{folder.name}-*"):  # by a process that was killed, yesterday or before
            if time.time() - left.stat().st_mtime > 24 * 3600:
                shutil.rmtree(left, ignore_errors=True)
        with TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as temporary:
            fresh = Path(temporary) / "sample"
            (fresh / "annotations").mkdir(parents=True)
            for split, number in numbers.items():
                write_split(fresh, split, number, seed, size)
            (fresh / "sample.json").write_text(json.dumps(arguments) + "\n")
            try:
                if folder.is_dir():
                    folder.rmdir()  # if it is empty
                fresh.rename(folder)  # one step: it never moves into a folder that is there
            except OSError:
                if not already_there(folder, arguments):  # else somebody was faster
                    raise


def write_split(folder: Path, split: str, number: int, seed: int, size: int) -> None:
    """The pictures of one split and its two JSON files."""
    (folder / split).mkdir()
    images: list[dict] = []
    instances: list[dict] = []
    captions: list[dict] = []
    for index in shown(range(number), f"drawing {split}", "picture"):
        entry, objects, sentences = picture(split, index, seed, size, folder)
        images.append(entry)
        instances += objects
        captions += sentences
    info = {"description": f"Drawn scenes, {split}", "version": str(VERSION)}
    plain = [{key: value for key, value in image.items() if key != "scene"} for image in images]
    categories = [
        {"id": CATEGORIES[name], "name": name, "supercategory": above}
        for above, names in SUPERCATEGORIES.items()
        for name in names
    ]
    for name, content in (
        ("captions", {"info": info, "images": plain, "annotations": captions}),
        ("instances", {"info": info, "images": images, "annotations": instances, "categories": categories}),
    ):
        (folder / "annotations" / f"{name}_{split}.json").write_text(json.dumps(content, separators=(",", ":")))


def scenes(folder: str | Path, split: str) -> dict[int, Scene]:
    """{image id: scene}, read back from the annotations. Raises FileNotFoundError if there is no such split."""
    path = Path(folder) / "annotations" / f"instances_{split}.json"
    if not path.is_file():
        raise FileNotFoundError(f"There is no {path}: draw the sample first with `python -m scripts.sample`.")
    return {image["id"]: Scene.from_dict(image["scene"]) for image in json.loads(path.read_text())["images"]}


def floor_perplexity(folder: str | Path, split: str) -> float:
    """The perplexity on a split of one who knows every scene and the grammar: on average no model does better.

    exp(total NLL / tokens), the end of a caption counted as a token. Raises FileNotFoundError if the split is missing,
    ValueError if it is empty.
    """
    known = scenes(folder, split)
    written = json.loads((Path(folder) / "annotations" / f"captions_{split}.json").read_text())["annotations"]
    if not written:
        raise ValueError(f"{folder} has no captions in its split {split}: draw a sample with more pictures of it.")
    nll, tokens = 0.0, 0
    for entry in written:
        said = entry["caption"].lower().rstrip(".").split()
        nll -= caption_logprob(said, known[entry["image_id"]])
        tokens += len(said) + 1
    return math.exp(nll / tokens)
