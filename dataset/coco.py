"""Files on disk -> records: which images there are, what people said about them, what is in them.

Comes in: a folder in one of three layouts — COCO's own (`annotations/captions_<split>.json`, `instances_<split>.json`,
images in `<split>/`), Karpathy's splits (`dataset_coco.json`, `dataset_flickr8k.json`, `dataset_flickr30k.json`), or a
table `captions.txt` / `captions.csv` with the header `image,caption`. Goes out: a list of `Record`, the same on every
machine, and, image by image, an upright RGB picture. This file knows neither words nor tensors.
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import re
import threading
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path, PureWindowsPath
from typing import Any

import numpy as np
from PIL import ExifTags, Image
from pycocotools import mask as rle
from pycocotools.coco import COCO

DATA = Path(os.environ.get("DATA", "data"))  # the one setting all paths come from

SPLITS = ("train", "val", "test")
# EXIF orientation -> what to do to see it upright. ImageOps.exif_transpose writes the other EXIF fields back, and
# fails where a camera left them damaged.
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")  # by content; for EPS Pillow would start a program
IMAGE_FOLDERS = ("images", "Images", "Flicker8k_Dataset", "flickr30k_images", "flickr30k-images")


@dataclass(frozen=True)
class Instance:
    """One annotated object.

    `box` is (x, y, width, height) and `area` a number of pixels, both in the image as it lies on disk; `segmentation`
    is COCO's: polygons [[x, y, x, y, ...], ...] or a run-length encoding {"size": [height, width], "counts": ...}.
    """

    category: str
    box: tuple[float, float, float, float]
    area: float
    segmentation: list[list[float]] | dict[str, Any]
    crowd: bool = False
    attributes: dict[str, str] = field(default_factory=dict)

    def mask(self, height: int, width: int) -> np.ndarray:
        """The object's pixels in an image of that size: bool (height, width).

        Raises ValueError if the segmentation was encoded for an image of another size, or is none.
        """
        if isinstance(self.segmentation, dict):
            size, counts = self.segmentation.get("size"), self.segmentation.get("counts")
            if size != [height, width]:
                raise ValueError(
                    f"The mask of this {self.category} was encoded for an image of height x width {_shown(size)}, "
                    f"not {[height, width]}: ask for it in its own size, then resize it."
                )
            encoded = self.segmentation
            try:
                if isinstance(counts, list):  # crowds in COCO: run lengths, not yet compressed
                    encoded = rle.frPyObjects(encoded, height, width)
                return rle.decode(encoded).astype(bool)
            except (KeyError, ValueError, TypeError, OverflowError):
                raise ValueError(f"The mask of this {self.category} is damaged: its runs do not fill {size}.") from None
        far = 100 * max(height, width)
        if not isinstance(self.segmentation, list) or not all(_are_numbers(p, far) for p in self.segmentation):
            raise ValueError(
                f"The mask of this {self.category} is damaged: {_shown(self.segmentation)} is no polygons."
            )
        # A polygon needs three corners; pycocotools would take four numbers for a box.
        polygons = [polygon for polygon in self.segmentation if len(polygon) >= 6]
        if not polygons:
            return np.zeros((height, width), dtype=bool)
        return rle.decode(rle.merge(rle.frPyObjects(polygons, height, width))).astype(bool)


@dataclass(frozen=True)
class Record:
    """One image with its captions; `width` and `height` are 0 where the annotations do not tell them."""

    image_id: int | str
    path: Path
    split: str
    captions: tuple[str, ...]
    width: int = 0
    height: int = 0
    instances: tuple[Instance, ...] = ()

    @property
    def categories(self) -> tuple[str, ...]:
        """Names of the annotated categories, each once, in order of first appearance."""
        return tuple(dict.fromkeys(instance.category for instance in self.instances))


def load(dataset: str | Path, split: str | None = None, *, instances: bool = True, seed: int = 0) -> list[Record]:
    """All records of a dataset, or those of one split.

    Comes in: a name (`"sample"` is the folder DATA/sample) or a path; `instances=False` leaves objects and masks
    unread, which on COCO saves most of the time and memory; `seed` tells how the images of a table are split, which
    has no splits of its own. Goes out: records ordered by split (train, val, test), then by image id. Images without
    any caption are left out; whether an image file exists is found out when it is opened. Raises FileNotFoundError if
    the dataset or its folder of images is missing, ValueError if the layout is not known, a file is damaged, or the
    split is not there.
    """
    folder = find(dataset)
    if (file := _only(folder.glob("dataset*.json"))) is not None:
        records = _load_karpathy(folder, file, split, instances)
    elif any(folder.glob("annotations/captions_*.json")):
        records = _load_coco(folder, split, instances)
    elif (file := _only([*folder.glob("captions.txt"), *folder.glob("captions.csv")])) is not None:
        records = _load_table(folder, file, split, seed)
    else:
        raise ValueError(
            f"{folder} is not a dataset this course knows: it holds neither annotations/captions_<split>.json (COCO), "
            "nor dataset_*.json (Karpathy's splits), nor captions.txt or captions.csv."
        )
    if not records:
        raise ValueError(f"{folder} holds no image with a caption{f' in the split {split!r}' if split else ''}.")
    _check_distinct(records, folder)
    return sorted(records, key=lambda r: (_rank(r.split), isinstance(r.image_id, str), r.image_id))


def fingerprint(records: Iterable[Record]) -> str:
    """A short hash of ids and captions, in their order: the same on every machine, another for another dataset."""
    digest = sha256()
    for record in records:
        digest.update(json.dumps([record.image_id, record.captions]).encode())
    return digest.hexdigest()[:16]


def open_image(path: str | Path) -> Image.Image:
    """A picture as people see it: RGB, 8 bits, upright. The one place that reads images.

    Transparent pixels are laid over white, 16-bit grey is scaled to 8 bits, EXIF rotation is carried out. Raises
    FileNotFoundError if there is no such file, ValueError if it cannot be read whole; nothing is replaced silently.
    """
    try:
        if Path(path).is_fifo():  # nobody may ever write into it
            raise ValueError("it is a pipe")
        with _strict():
            image = Image.open(path, formats=FORMATS)
        with image:
            image.load()
            with _strict():
                turn = UPRIGHT.get(image.getexif().get(ExifTags.Base.Orientation))
            picture = _to_rgb(image)
            return picture if turn is None else picture.transpose(turn)
    except FileNotFoundError:
        raise FileNotFoundError(f"No image at {path}: complete the dataset, or set DATA to where it lies.") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ValueError(f"{path} is refused, it is too large for a photograph: {error}") from None
    except Exception as error:  # decoders raise whatever they like: OSError, SyntaxError, struct.error, zlib.error ...
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(f"{path} cannot be read as an image ({reason}): replace or remove the file.") from error


_ALONE = threading.Lock()


@contextlib.contextmanager
def _strict() -> Iterator[None]:
    """Pillow's warnings: one of size is an error, one of damaged metadata nothing, as the pixels are whole.

    By one thread at a time, as the filters belong to all of them; while a picture is decoded, others may enter.
    """
    with _ALONE, warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        warnings.filterwarnings("ignore", category=UserWarning, module="PIL")
        yield


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # convert() would clip 16-bit grey at 255, not scale it
        levels = np.asarray(image)
        if levels.min() < 0 or levels.max() > 65535:
            raise ValueError("its grey levels do not fit 16 bits")
        image = Image.fromarray((levels // 257).astype(np.uint8))
    if image.mode == "F":
        raise ValueError("its grey levels are real numbers without an agreed range")
    if image.has_transparency_data:
        image = image if image.mode == "RGBA" else image.convert("RGBA")
        white = Image.new("RGB", image.size, "white")
        white.paste(image, mask=image)
        return white
    return image if image.mode == "RGB" else image.convert("RGB")


# --- the three layouts -------------------------------------------------------------------------------------------


def _load_coco(folder: Path, split: str | None, instances: bool) -> list[Record]:
    """COCO's own layout: `captions_train2014.json` is the split "train", its images lie in `train2014/`."""
    names: dict[str, str] = {}  # split -> name of its files and folder
    for file in sorted(folder.glob("annotations/captions_*.json")):
        name = file.stem.removeprefix("captions_")
        there = names.setdefault(re.sub(r"\d+$", "", name) or name, name)
        if there != name:
            raise ValueError(
                f"{folder / 'annotations'} holds the same split twice, as {there} and {name}: "
                "keep the files of one year in this folder."
            )
    records = []
    for part in _choose(split, names, folder):
        name = names[part]
        file = folder / "annotations" / f"captions_{name}.json"
        captions = _read_coco(file, "caption")
        objects = _read_instances(folder, name) if instances else COCO()
        images = _first_folder([folder / name, folder / "images" / name])
        for entry in captions.dataset["images"]:
            number = entry["id"]
            if said := captions.imgToAnns.get(number):
                records.append(
                    Record(
                        number,
                        _inside(images, _get(entry, "file_name", file), file),
                        part,
                        tuple(_clean(a["caption"], f"{file}: annotation {_shown(a['id'])}") for a in said),
                        *_size(entry, file),
                        _instances_of(objects, number),
                    )
                )
    return records


def _load_karpathy(folder: Path, file: Path, split: str | None, instances: bool) -> list[Record]:
    """The splits of Karpathy & Fei-Fei (2015), in which `restval` goes to training."""
    entries = []
    for entry in _list(_read_json(file), "images", file):
        part = _name(_get(entry, "split", file), file)
        entries.append(("train" if part == "restval" else part, entry))
    parts = _choose(split, {part for part, _ in entries}, folder)
    images: dict[str, Path] = {}  # "train2014" -> its folder; "" for Flickr, which has one folder
    objects: dict[str, COCO] = {}
    records = []
    for part, entry in entries:
        if part not in parts or not _list(entry, "sentences", file):
            continue
        number = _id(entry["cocoid"] if "cocoid" in entry else _get(entry, "imgid", file), file)
        name = entry.get("filepath", "") and _name(entry["filepath"], file)
        if name not in images:
            tried = [_inside(folder, f"{top}{name}", file) for top in ("", "images/")] if name else _flickr(folder)
            images[name] = _first_folder(tried)
            objects[name] = _read_instances(folder, name) if instances and name else COCO()
        size = objects[name].imgs.get(number, {})
        records.append(
            Record(
                number,
                _inside(images[name], _get(entry, "filename", file), file),
                part,
                tuple(_clean(_get(s, "raw", file), f"{file}: image {_shown(number)}") for s in entry["sentences"]),
                *_size(size, file),
                _instances_of(objects[name], number),
            )
        )
    return records


def _load_table(folder: Path, file: Path, split: str | None, seed: int) -> list[Record]:
    """A table with the header `image,caption`, a line per caption; the file's name is the image's id.

    The table knows no splits: images (never captions, or a test image would be trained on) are ranked by a hash of
    the seed and their name, and the first tenth is the test split, the second the validation split, the rest for
    training.
    """
    captions: dict[str, list[str]] = {}
    with file.open(encoding="utf-8-sig", newline="") as lines:
        rows = csv.reader(lines, skipinitialspace=True)
        try:
            header = [cell.strip().lower() for cell in next(rows, [])]
            if header != ["image", "caption"]:
                raise ValueError(
                    f"{file}: the first line must be the header image,caption, not {_shown(','.join(header))}."
                )
            for row in filter(None, rows):
                where = f"{file}, line {rows.line_num}"
                if len(row) != 2:
                    raise ValueError(f"{where}: {len(row)} cells, not 2; a caption with a comma must stand in quotes.")
                captions.setdefault(row[0].strip(), []).append(_clean(row[1], where))
        except (csv.Error, UnicodeDecodeError) as error:
            raise ValueError(f"{file}, line {rows.line_num + 1} is not CSV in UTF-8: {_line(error)}.") from None
    ranked = sorted(captions, key=lambda name: sha256(f"{seed} {name}".encode()).digest())
    tenth = max(1, round(len(ranked) / 10))
    split_of = dict.fromkeys(ranked, "train")
    split_of |= dict.fromkeys(ranked[:tenth], "test") | dict.fromkeys(ranked[tenth : 2 * tenth], "val")
    parts = _choose(split, split_of.values(), folder)
    images = _first_folder([*_flickr(folder), folder])
    return [
        Record(name, _inside(images, name, file), split_of[name], tuple(said))
        for name, said in captions.items()
        if split_of[name] in parts
    ]


# --- reading and checking ----------------------------------------------------------------------------------------


def _read_json(file: Path) -> Any:
    try:
        with file.open(encoding="utf-8-sig") as text:
            return json.load(text)
    except json.JSONDecodeError as error:
        reason = f"{file}, line {error.lineno}: broken JSON ({error.msg})"
    except UnicodeDecodeError as error:
        reason = f"{file} is not UTF-8 text ({_line(error)})"
    except (ValueError, RecursionError) as error:  # a number of thousands of digits, thousands of brackets
        reason = f"{file}: broken JSON ({_line(error)})"
    raise ValueError(f"{reason}; fetch or draw the file again.")


def _read_coco(file: Path, *needed: str) -> COCO:
    """One annotation file, checked, then indexed by pycocotools."""
    content = _read_json(file)
    known = {_id(_get(image, "id", file), file) for image in _list(content, "images", file)}
    for annotation in _list(content, "annotations", file):
        for name in ("image_id", "id", *needed):
            _get(annotation, name, file)
        number, image_id = _id(annotation["id"], file), _id(annotation["image_id"], file)
        if image_id not in known:
            raise ValueError(
                f"{file}: annotation {_shown(number)} is of image {_shown(image_id)}, which is not listed."
            )
    index = COCO()
    index.dataset = {"images": content["images"], "annotations": content["annotations"]}
    if "category_id" in needed:
        index.dataset["categories"] = _list(content, "categories", file)
        for category in index.dataset["categories"]:
            _id(_get(category, "id", file), file)
            _name(_get(category, "name", file), file)
        for annotation in content["annotations"]:
            _id(annotation["category_id"], file)
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints its progress
        index.createIndex()
    return index


def _read_instances(folder: Path, name: str) -> COCO:
    """The objects of a split, by image; none where there is no such file."""
    file = folder / "annotations" / f"instances_{name}.json"
    if not file.is_file():
        return COCO()
    index = _read_coco(file, "category_id", "bbox")
    for annotation in index.dataset["annotations"]:
        where = f"{file}: annotation {_shown(annotation['id'])}"
        if not _are_numbers(annotation["bbox"]) or len(annotation["bbox"]) != 4:
            raise ValueError(f"{where} has no box of four numbers.")
        if not _are_numbers([annotation.get("area", 0)]):
            raise ValueError(f"{where} has {_shown(annotation['area'])} for an area, which is no number.")
        if not isinstance(annotation.get("attributes", {}), dict):
            raise ValueError(f"{where} has {_shown(annotation['attributes'])} for attributes.")
        if annotation["category_id"] not in index.cats:
            raise ValueError(f"{where} is of category {_shown(annotation['category_id'])}, which is not listed.")
    return index


def _instances_of(objects: COCO, image_id: int | str) -> tuple[Instance, ...]:
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


def find(dataset: str | Path) -> Path:
    """The folder of a dataset, by its name in `DATA` or its path; FileNotFoundError if there is none."""
    for folder in (DATA / dataset, Path(dataset)):
        if folder.is_dir():
            return folder
    raise FileNotFoundError(
        f"No dataset at {DATA / dataset}: draw the sample with `python -m scripts.sample`, "
        "or say where your datasets lie with the environment variable DATA=..."
    )


def _choose(split: str | None, there: Iterable[str], folder: Path) -> list[str]:
    there = sorted(set(there), key=_rank)
    if split is not None and split not in there:
        raise ValueError(f"{folder} has no split {split!r}; it has {', '.join(there)}.")
    return there if split is None else [split]


def _rank(split: str) -> tuple[int, str]:
    return (SPLITS.index(split) if split in SPLITS else len(SPLITS)), split


def _only(files: Iterable[Path]) -> Path | None:
    files = sorted(files)
    if len(files) > 1:
        raise ValueError(f"{files[0].parent} holds both {files[0].name} and {files[1].name}: keep one of them.")
    return files[0] if files else None


def _flickr(folder: Path) -> list[Path]:
    return [folder / name for name in IMAGE_FOLDERS]


def _first_folder(folders: list[Path]) -> Path:
    for folder in folders:
        if folder.is_dir():
            return folder
    raise FileNotFoundError(f"No folder of images at {folders[0]}: put them there, or set DATA to where they lie.")


def _inside(folder: Path, name: Any, file: Path) -> Path:
    """folder / name, refused if it would lead out of the folder on any operating system."""
    path = PureWindowsPath(_name(name, file))  # knows both kinds of slashes, and drives
    if path.anchor or ".." in path.parts:
        raise ValueError(f"{file}: the file name {_shown(name)} leads out of the dataset's folder.")
    return folder / name


# Whatever an annotation file says passes through here; what is wrong is shown in at most 60 characters.


def _get(entry: Any, name: str, file: Path) -> Any:
    try:
        return entry[name]
    except (KeyError, TypeError, IndexError):
        raise ValueError(f"{file}: there is no field {name!r} in {_shown(entry)}.") from None


def _list(content: Any, name: str, file: Path) -> list[Any]:
    value = _get(content, name, file)
    if not isinstance(value, list):
        raise ValueError(f"{file}: the field {name!r} must be a list.")
    return value


def _id(value: Any, file: Path) -> int | str:
    if isinstance(value, bool) or not isinstance(value, int | str) or not _is_text(str(value)):
        raise ValueError(f"{file}: {_shown(value)} is no id: that is a whole number or a name.")
    return value


def _name(value: Any, file: Path) -> str:
    """A text that can name a file on any operating system."""
    if not _is_text(value) or len(value.encode()) > 255 or any(ord(c) < 32 for c in value):
        raise ValueError(f"{file}: the file name {_shown(value)} is not a name.")
    return value


def _size(image: dict[str, Any], file: Path) -> tuple[int, int]:
    """Width and height of an image, 0 where they are not told."""
    width, height = (image.get(side) or 0 for side in ("width", "height"))
    if type(width) is not int or type(height) is not int or not 0 <= width <= 10**6 or not 0 <= height <= 10**6:
        raise ValueError(f"{file}: width and height of an image are pixels, not {_shown(width)} and {_shown(height)}.")
    return width, height


def _clean(caption: Any, where: str) -> str:
    if not isinstance(caption, str) or not caption.strip():
        raise ValueError(f"{where} has an empty caption: write one, or remove it.")
    if not _is_text(caption):
        raise ValueError(f"{where} has half a character in its caption {_shown(caption)}: write it whole.")
    return caption.strip()


def _is_text(value: Any) -> bool:
    """True for a text that is not blank and can be written: JSON lets half a character pass."""
    return isinstance(value, str) and bool(value.strip()) and not re.search("[\ud800-\udfff]", value)


def _are_numbers(values: Any, most: float = 1e9) -> bool:
    """True for a list of numbers within bounds: neither NaN, nor infinite, nor absurd."""
    return isinstance(values, list) and all(type(v) in (int, float) and -most <= v <= most for v in values)


def _shown(value: Any) -> str:
    text = ascii(value) if isinstance(value, str) and not _is_text(value) else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _line(error: Exception) -> str:
    """What went wrong, without the thousand bytes it went wrong in."""
    return error.reason if isinstance(error, UnicodeError) else str(error).splitlines()[0]


def _check_distinct(records: list[Record], folder: Path) -> None:
    split_of: dict[int | str, str] = {}
    for record in records:
        if record.image_id in split_of:
            raise ValueError(
                f"{folder}: image {_shown(record.image_id)} is listed twice, in {split_of[record.image_id]} and "
                f"{record.split}; an image belongs to one split."
            )
        split_of[record.image_id] = record.split
