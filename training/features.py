"""Pictures -> a frozen encoder, once -> features on disk, memory-mapped.

Comes in: records and an encoder that does not learn. Goes out: `Features`, a mapping from image id to its regions (R,
E), backed by one `.npy` file of float16 that is never read whole. Beside it a small JSON says which images (with the
sizes of their files), which encoder, which transform, which pictures could not be read, and how many rows are done, so
that an interrupted extraction goes on. What it does not know: captions.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset
from tqdm.auto import tqdm

from data_loader import RandomCropFlip, Transform, in_threads
from dataset import files
from dataset.pictures import open_image
from dataset.records import Record

MARK_EVERY = 2.0  # seconds of work that a killed run may lose: the marks name every image, and go to the disk each time


class Features(Mapping):
    """Image id -> regions (R, E) float16, read from the memory map when asked for. Safe to pickle into workers.

    `broken` holds the images that have none, as their pictures could not be read: image id -> what was wrong.
    """

    def __init__(self, path: Path):
        self.path = Path(path)
        metadata = _metadata(self.path)
        if metadata is None or not self.path.is_file():
            raise FileNotFoundError(f"{self.path}: no features here; make them with python -m scripts.features")
        if metadata["done"] < len(metadata["image_ids"]):
            raise ValueError(
                f"{self.path}: only {metadata['done']} of {len(metadata['image_ids'])} images are done; run it again"
            )
        self.broken = dict(metadata["broken"])
        self.row = {image_id: i for i, image_id in enumerate(metadata["image_ids"]) if image_id not in self.broken}
        self.shape = tuple(metadata["shape"][1:])
        self.encoder = metadata["encoder"]
        self._map = _open(self.path, metadata, "r")

    def __getitem__(self, image_id: int | str) -> np.ndarray:
        return np.array(self._map[self.row[image_id]])

    def __contains__(self, image_id: object) -> bool:
        return image_id in self.row

    def __iter__(self):
        return iter(self.row)

    def __len__(self) -> int:
        return len(self.row)

    def __getstate__(self) -> Path:
        return self.path

    def __setstate__(self, path: Path) -> None:
        self.__init__(path)


class _Pictures(Dataset):
    """The pictures from the `first` on, whole (view 0) or varied: another view, other random numbers."""

    def __init__(self, records: Sequence[Record], size: int, view: int, first: int):
        self.records, self.view, self.first = records, view, first
        self.transform = RandomCropFlip(size) if view else Transform(size)

    def __len__(self) -> int:
        return len(self.records) - self.first

    def __getitems__(self, numbers: Sequence[int]) -> list[tuple[torch.Tensor, str]]:
        """A batch, read on all cores."""
        return in_threads(self.__getitem__, numbers)

    def __getitem__(self, i: int) -> tuple[torch.Tensor, str]:
        """A picture; or, where it cannot be read, a black one and why."""
        place = self.first + i
        try:
            picture = open_image(self.records[place].path)
            return self.transform(picture, np.random.default_rng((self.view, place))), ""
        except ValueError as error:
            return torch.zeros(3, self.transform.size, self.transform.size, dtype=torch.uint8), str(error)


def fingerprint(encoder: torch.nn.Module) -> str:
    """A short hash of the encoder's weights and settings: features of another encoder are refused, not mixed in."""
    digest = hashlib.sha256(json.dumps(encoder.cache_key, sort_keys=True).encode())
    for name, value in sorted(encoder.state_dict().items()):
        digest.update(name.encode() + value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def file_of(folder: str | Path, encoder: torch.nn.Module, split: str, view: int = 0) -> Path:
    """Where an encoder's features of a split lie in a run's folder, as in `resnet50-224px-7x7-train.npy`."""
    side, of_view = round(encoder.feature_regions**0.5), f"-view{view}" if view else ""
    return Path(folder) / f"{encoder.name}-{encoder.image_size}px-{side}x{side}-{split}{of_view}.npy"


def extract(
    records: Sequence[Record],
    encoder: torch.nn.Module,
    path: str | Path,
    *,
    batch_size: int = 32,
    workers: int = 0,
    autocast: torch.dtype | None = None,
    replace: bool = False,
    progress: bool = True,
    broken: str = "skip",
    view: int = 0,
) -> Features:
    """Run every record's picture through the encoder into `path` (.npy), going on where an earlier run was stopped.

    View 0 is the whole picture; 1, 2, ... are parts of it, varied (data_loader.RandomCropFlip), for training.

    Finished features of more images than these serve as they are. Features of other images (other ids, or files of
    other sizes) or of another encoder are refused, or with `replace` made anew: the right thing for an encoder of one's
    own, which changes whenever it is trained. A picture that cannot be read is left out and reported ("skip"), or stops
    the run with its ValueError ("stop"); one that is missing always does, with FileNotFoundError.

    Raises ValueError if the encoder learns, if the file belongs to other images or another encoder, or if features are
    not finite in float16 or all zero; OSError if the disk has no room for the file.
    """
    path = Path(path)
    if not encoder.frozen:
        raise ValueError(
            "features are computed once, but this encoder learns: set finetune=0 or train from the pictures"
        )
    if not records:
        raise ValueError("no records to extract features from: the split is empty")
    image_ids = [record.image_id for record in records]
    shape = (len(records), encoder.feature_regions, encoder.feature_size)
    metadata = {
        "image_ids": image_ids,
        "files": [record.path.stat().st_size if record.path.is_file() else None for record in records],
        "shape": list(shape),
        "encoder": encoder.cache_key,
        "fingerprint": fingerprint(encoder),
        "view": view,
        "broken": [],
        "done": 0,
    }
    before = _metadata(path) if path.is_file() else None
    if before is not None and (other := _other(before, metadata)) is not None:
        if not replace:
            raise ValueError(f"{path} holds features of {other}: delete it or choose another name")
        before = None
    if before is not None and before["done"] == len(before["image_ids"]):
        return Features(path)
    if before is None:
        _check_room(path, shape)
        _create(path, metadata)
    metadata = before or metadata
    rows = _open(path, metadata, "r+")
    device = next(encoder.buffers()).device
    encoder.eval()
    todo = _Pictures(records, encoder.image_size, view, first=metadata["done"])
    bar = tqdm(total=len(records), initial=metadata["done"], unit="image", desc="features", disable=not progress)

    def mark() -> None:
        rows.flush()
        _write_metadata(path, metadata)

    marked = time.monotonic()
    try:
        with torch.inference_mode(), torch.autocast(device.type, autocast, enabled=autocast is not None), bar:
            for images, errors in DataLoader(todo, batch_size, num_workers=workers):
                done, missed = metadata["done"], []
                regions = encoder.forward_features(images.to(device)).float().half().cpu().numpy()
                for i, (image_id, error) in enumerate(zip(image_ids[done:], errors, strict=False)):
                    if error and broken == "stop":
                        raise ValueError(error)
                    if error:
                        print(f"left out: {error}", flush=True)
                        missed.append([image_id, error])
                        regions[i] = 0
                    else:
                        _check_finite(regions[i], image_id)
                rows[done : done + len(regions)] = regions
                metadata["done"], metadata["broken"] = done + len(regions), metadata["broken"] + missed
                if time.monotonic() - marked > MARK_EVERY:
                    mark()
                    marked = time.monotonic()
                bar.update(len(regions))
    finally:
        mark()
    if metadata["broken"]:
        print(f"{path}: {len(metadata['broken']):,} of {len(records):,} pictures left out, they cannot be read")
    return Features(path)


def _other(before: dict, metadata: dict) -> str | None:
    """What earlier features are of, if they are not those that are asked for."""
    if before["fingerprint"] != metadata["fingerprint"]:
        return "another encoder, or of one with other weights"
    if before["view"] != metadata["view"]:
        return f"view {before['view']}, not {metadata['view']}"
    finished = before["done"] == len(before["image_ids"])
    if before["image_ids"] != metadata["image_ids"] and not (
        finished and set(metadata["image_ids"]) <= set(before["image_ids"])
    ):
        return "other images"
    then = dict(zip(before["image_ids"], before["files"], strict=True))
    for image_id, size in zip(metadata["image_ids"], metadata["files"], strict=True):
        if size != then[image_id] and None not in (size, then[image_id]):  # None: there is, or was, no such file
            return f"other images: the file of image {image_id} had {then[image_id]:,} bytes, now it has {size:,}"
    return None


def _check_finite(regions: np.ndarray, image_id: int | str) -> None:
    if not np.isfinite(regions).all():
        raise ValueError(f"image {image_id}: features not finite in float16; check the encoder's weights")
    if not regions.any():
        raise ValueError(f"image {image_id}: features are all zero; check the encoder's weights")


def _check_room(path: Path, shape: tuple[int, ...]) -> None:
    size = 2 * int(np.prod(shape)) + 128
    folder = next(p for p in path.resolve().parents if p.exists())
    free = shutil.disk_usage(folder).free
    print(f"{path}: {size / 1e6:,.0f} MB of features for {shape[0]:,} images")
    if size > free:
        raise OSError(
            f"{path} needs {size / 1e9:.1f} GB and the disk has {free / 1e9:.1f} GB free: make room or choose grid=…"
        )


def _create(path: Path, metadata: dict) -> None:
    """An empty map in its full size; wherever this is interrupted, no older marks are believed of newer rows."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.with_suffix(".json").unlink(missing_ok=True)
    half = path.with_name(path.name + ".part")
    np.lib.format.open_memmap(half, mode="w+", dtype=np.float16, shape=tuple(metadata["shape"]))
    if hasattr(os, "posix_fallocate"):  # a disk that fills up later would end the process without a word
        with half.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, half.stat().st_size)
    os.replace(half, path)
    _write_metadata(path, metadata)


def _open(path: Path, metadata: dict, mode: str) -> np.memmap:
    try:
        rows = np.lib.format.open_memmap(path, mode=mode)
        if rows.dtype == np.float16 and rows.shape == tuple(metadata["shape"]):
            return rows
    except (ValueError, EOFError):
        pass
    raise ValueError(f"{path} is damaged: delete it and extract the features again")


def _metadata(path: Path) -> dict | None:
    json_path = path.with_suffix(".json")
    if not json_path.is_file():
        return None
    try:
        metadata = json.loads(json_path.read_text(encoding="utf-8"))
        metadata = {"files": [None] * len(metadata["image_ids"]), "broken": [], "view": 0} | metadata
        if (
            len(metadata["files"]) == len(metadata["image_ids"]) == metadata["shape"][0]
            and 0 <= metadata["done"] <= metadata["shape"][0]
        ):
            metadata["fingerprint"], metadata["encoder"], dict(metadata["broken"])
            return metadata
        error = "its lists are not equally long"
    except (ValueError, KeyError, TypeError, IndexError) as reason:
        error = reason
    raise ValueError(f"{json_path}: broken JSON ({error}); delete it and extract the features again")


def _write_metadata(path: Path, metadata: dict) -> None:
    files.write(path.with_suffix(".json"), json.dumps(metadata, sort_keys=True))  # the same bytes, also when it goes on
