"""Pictures -> a frozen encoder, once -> features on disk, memory-mapped.

Comes in: records and an encoder that does not learn. Goes out: `Features`, a mapping from image id to its regions (R,
E), backed by one `.npy` file of float16 that is never read whole. Beside it a small JSON says which images, which
encoder, which transform, and how many rows are done, so that an interrupted extraction goes on. What it does not know:
captions.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset
from tqdm.auto import tqdm

from coco import Record, open_image
from data_loader import Transform


class Features(Mapping):
    """Image id -> regions (R, E) float16, read from the memory map when asked for. Safe to pickle into workers."""

    def __init__(self, path: Path):
        self.path = Path(path)
        about = _about(self.path)
        if about is None or not self.path.is_file():
            raise FileNotFoundError(f"{self.path}: no features here; make them with python -m scripts.features")
        if about["done"] < len(about["image_ids"]):
            raise ValueError(
                f"{self.path}: only {about['done']} of {len(about['image_ids'])} images are done; run it again"
            )
        self.row = {image_id: i for i, image_id in enumerate(about["image_ids"])}
        self.shape = tuple(about["shape"][1:])
        self.encoder = about["encoder"]
        self._map = np.load(self.path, mmap_mode="r")

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
    def __init__(self, records: Sequence[Record], transform: Transform):
        self.records, self.transform = records, transform

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, i: int) -> torch.Tensor:
        return self.transform(open_image(self.records[i].path))


def fingerprint(encoder: torch.nn.Module) -> str:
    """A short hash of the encoder's weights and settings: features of another encoder are refused, not mixed in."""
    digest = hashlib.sha256(json.dumps(encoder.seeing, sort_keys=True).encode())
    for name, value in sorted(encoder.state_dict().items()):
        digest.update(name.encode() + value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def file_of(folder: str | Path, encoder: torch.nn.Module, split: str) -> Path:
    """Where an encoder's features of a split lie in a run's folder, as in `resnet50-224px-7x7-train.npy`."""
    side = round(encoder.seen_regions**0.5)
    return Path(folder) / f"{encoder.name}-{encoder.image_size}px-{side}x{side}-{split}.npy"


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
) -> Features:
    """Run every record's picture through the encoder into `path` (.npy), going on where an earlier run was stopped.

    Finished features of more images than these serve as they are. Features of other images or of another encoder are
    refused, or with `replace` made anew: the right thing for an encoder of one's own, which changes whenever it is
    trained.

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
    shape = (len(records), encoder.seen_regions, encoder.feature_size)
    about = {
        "image_ids": image_ids,
        "shape": list(shape),
        "encoder": encoder.seeing,
        "fingerprint": fingerprint(encoder),
    }
    before = _about(path) if path.is_file() else None
    done = before.pop("done") if before is not None else 0
    finished = before is not None and done == len(before["image_ids"])
    if finished and before["fingerprint"] == about["fingerprint"] and set(image_ids) <= set(before["image_ids"]):
        return Features(path)
    if before is not None and before != about:
        if not replace:
            raise ValueError(
                f"{path} holds features of other images or of another encoder: delete it or choose another name"
            )
        before = None
    if before is not None:
        rows = np.lib.format.open_memmap(path, mode="r+")
    else:
        done = 0
        _check_room(path, shape)
        path.parent.mkdir(parents=True, exist_ok=True)
        _write_about(path, about | {"done": 0})  # whatever stood there before no longer counts
        rows = np.lib.format.open_memmap(path, mode="w+", dtype=np.float16, shape=shape)
    device = next(encoder.buffers()).device
    encoder.eval()
    todo = _Pictures(records[done:], Transform(encoder.image_size))
    bar = tqdm(total=len(records), initial=done, unit="image", desc="features", disable=not progress)
    with torch.inference_mode(), torch.autocast(device.type, autocast, enabled=autocast is not None), bar:
        for images in DataLoader(todo, batch_size, num_workers=workers):
            regions = encoder.see(images.to(device)).float().half().cpu().numpy()
            _check_finite(regions, image_ids[done : done + len(regions)])
            rows[done : done + len(regions)] = regions
            rows.flush()
            done += len(regions)
            _write_about(path, about | {"done": done})
            bar.update(len(regions))
    return Features(path)


def _check_finite(regions: np.ndarray, image_ids: Sequence[int | str]) -> None:
    for image_id, of_image in zip(image_ids, regions, strict=True):
        if not np.isfinite(of_image).all():
            raise ValueError(f"image {image_id}: features not finite in float16; check the encoder's weights")
        if not of_image.any():
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


def _about(path: Path) -> dict | None:
    json_path = path.with_suffix(".json")
    if not json_path.is_file():
        return None
    try:
        return json.loads(json_path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{json_path}: broken JSON ({error}); delete it and extract the features again") from None


def _write_about(path: Path, about: dict) -> None:
    half = path.with_suffix(".json.part")
    half.write_text(json.dumps(about), encoding="utf-8")
    os.replace(half, path.with_suffix(".json"))
