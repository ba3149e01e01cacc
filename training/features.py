"""Pictures -> a frozen encoder, once -> features on disk, memory-mapped.

Comes in: records and an encoder that does not learn. Goes out: `Features`, a mapping from image id to its regions (R,
E), backed by one `.npy` file of float16 that is never read whole. Beside it lies a small JSON, `Metadata`. An
interrupted extraction goes on, and any number of processes make one file together (training/shards.py). What it does
not know: captions.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader

from dataset import files
from dataset.progress import shown
from dataset.records import Record
from model import EncoderCNN
from training import world
from training.shards import ClaimedRows, Shards, create
from training.views import ViewOfPictures

MARK_EVERY = 2.0  # seconds of work that a killed run may lose


@dataclass
class Metadata:
    """What a file of features holds, and how much of it is there: the JSON beside it."""

    image_ids: list[int | str]
    shape: list[int]  # images, R, E
    encoder: dict[str, Any]  # its settings, the transform of pictures among them
    fingerprint: str  # of its weights and settings
    files: list[int | None]  # bytes of each picture's file; None where there was none
    view: int = 0  # 0: whole pictures
    broken: list[list[Any]] = field(default_factory=list)  # [image id, why its picture cannot be read]
    done: int = 0  # rows

    @property
    def finished(self) -> bool:
        """All rows are there."""
        return self.done == len(self.image_ids)

    @classmethod
    def read(cls, path: Path) -> Metadata | None:
        """Of the features at `path` (.npy); None where there are none. ValueError for a JSON that is damaged."""
        json_path = path.with_suffix(".json")
        if not json_path.is_file():
            return None
        try:
            content = json.loads(json_path.read_text(encoding="utf-8"))
            metadata = cls(**{"files": [None] * len(content["image_ids"])} | content)
            rows, lists = metadata.shape[0], (metadata.image_ids, metadata.files)
            dict(metadata.broken)
            if all(len(each) == rows for each in lists) and 0 <= metadata.done <= rows:
                return metadata
            reason = "its lists are not equally long"
        except (ValueError, KeyError, TypeError, IndexError, RecursionError) as error:
            reason = str(error)
        raise ValueError(f"{json_path}: broken JSON ({reason}); delete it and extract the features again")

    def write(self, path: Path) -> None:
        """Beside the features at `path`; the same bytes, also where the extraction was interrupted."""
        files.write(path.with_suffix(".json"), json.dumps(vars(self), sort_keys=True))

    def difference(self, wanted: Metadata) -> str | None:
        """What these features are of, if they do not serve as those that are wanted; None if they do.

        Finished features of more images serve, too.
        """
        if self.fingerprint != wanted.fingerprint:
            return "another encoder, or of one with other weights"
        if self.view != wanted.view:
            return f"view {self.view}, not {wanted.view}"
        holds_all = self.finished and set(wanted.image_ids) <= set(self.image_ids)
        if self.image_ids != wanted.image_ids and not holds_all:
            return "other images"
        then = dict(zip(self.image_ids, self.files, strict=True))
        for image_id, size in zip(wanted.image_ids, wanted.files, strict=True):
            before = then[image_id]
            if size != before and size is not None and before is not None:
                return f"other images: the file of image {image_id} had {before:,} bytes, now it has {size:,}"
        return None


class Features(Mapping):
    """Image id -> regions (R, E) float16, read from the memory map when asked for. Safe to pickle into workers.

    `broken` holds the images that have none, as their pictures could not be read: image id -> what was wrong.
    """

    def __init__(self, path: Path):
        self._open(Path(path))

    def _open(self, path: Path) -> None:
        self.path, metadata = path, Metadata.read(path)
        if metadata is None or not path.is_file():
            raise FileNotFoundError(f"{path}: no features here; make them with python -m scripts.features")
        if not metadata.finished:
            shards = Shards(path, metadata.shape[0])
            raise ValueError(f"{path}: only {shards.done()} of {shards.rows} images are done; run it again")
        self.broken: dict[int | str, str] = dict(metadata.broken)
        self.row = {image_id: i for i, image_id in enumerate(metadata.image_ids) if image_id not in self.broken}
        self.shape = tuple(metadata.shape[1:])
        self.encoder = metadata.encoder
        self._map = _open_map(path, metadata.shape, "r")

    def __getitem__(self, image_id: int | str) -> np.ndarray:
        return np.array(self._map[self.row[image_id]])

    def __contains__(self, image_id: object) -> bool:
        return image_id in self.row

    def __iter__(self) -> Iterator[int | str]:
        return iter(self.row)

    def __len__(self) -> int:
        return len(self.row)

    def __getstate__(self) -> Path:
        return self.path

    def __setstate__(self, path: Path) -> None:
        self._open(path)


def fingerprint(encoder: EncoderCNN) -> str:
    """A short hash of the encoder's weights and settings: features of another encoder are refused, not mixed in."""
    digest = hashlib.sha256(json.dumps(encoder.cache_key, sort_keys=True).encode())
    for name, value in sorted(encoder.state_dict().items()):
        digest.update(name.encode() + value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def file_of(folder: str | Path, encoder: EncoderCNN, split: str, view: int = 0) -> Path:
    """Where an encoder's features of a split lie in a run's folder, as in `resnet50-224px-7x7-train.npy`.

    The stroke in the names of timm's encoders is no folder.
    """
    side, of_view = round(encoder.feature_regions**0.5), f"-view{view}" if view else ""
    return Path(folder) / f"{encoder.name.replace('/', '-')}-{encoder.image_size}px-{side}x{side}-{split}{of_view}.npy"


def extract(
    records: Sequence[Record],
    encoder: EncoderCNN,
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

    View 0 is the whole picture; 1, 2, ... are parts of it, varied (training/views.py), for training.

    Finished features of more images than these serve as they are. Where those at `path` are of other images (other ids,
    or files of other sizes) or of another encoder, these get a file beside it, named by a digest of what they are of;
    with `replace` they take its place. Several processes share the work, started together or not. A picture that cannot
    be read is left out and reported ("skip"), or stops the run with its ValueError ("stop"); one that is missing always
    does, with FileNotFoundError.

    Raises ValueError if the encoder learns, or if features are not finite in float16 or all zero; OSError if the disk
    has no room for the file.
    """
    path = Path(path)
    if not encoder.frozen:
        raise ValueError(
            "features are computed once, but this encoder learns: set finetune=0 or train from the pictures"
        )
    if not records:
        raise ValueError("no records to extract features from: the split is empty")
    wanted = _metadata_of(records, encoder, view)
    places = [path] if replace else [path, _beside(path, wanted)]
    with world.first():
        for place in places:
            if (there := _read(place)) and there.finished and there.difference(wanted) is None:
                print(f"{place}: the features of {len(there.image_ids):,} images, from before")
                return Features(place)
        with _reserved(places, wanted) as path:
            metadata, shards = _find_or_create(path, wanted), Shards(path, len(records))
            if not metadata.finished:
                shards.begin(metadata.done)
    pictures = ViewOfPictures(records, encoder, view)
    bar = shown(None, "features", "image", not progress, total=len(records), initial=shards.done())
    device = next(encoder.buffers()).device
    encoder.eval()
    with torch.inference_mode(), torch.autocast(device.type, autocast, enabled=autocast is not None), bar:
        while any(shards.unfinished()):
            rows = ClaimedRows(shards, batch_size)
            loader = DataLoader(pictures, batch_sampler=rows, num_workers=workers, pin_memory=torch.cuda.is_available())
            _fill(shards, metadata, encoder, loader, broken, bar)
            shards.wait()
            bar.update(shards.done() - bar.n)
    metadata = _finished(path, metadata, shards)
    if metadata.broken:
        print(f"{path}: {len(metadata.broken):,} of {len(records):,} pictures left out, they cannot be read")
    return Features(path)


def _metadata_of(records: Sequence[Record], encoder: EncoderCNN, view: int) -> Metadata:
    """Of features that are yet to be made."""
    return Metadata(
        image_ids=[record.image_id for record in records],
        shape=[len(records), encoder.feature_regions, encoder.feature_size],
        encoder=encoder.cache_key,
        fingerprint=fingerprint(encoder),
        files=[record.path.stat().st_size if record.path.is_file() else None for record in records],
        view=view,
    )


def _read(path: Path) -> Metadata | None:
    """Of features that are there, finished or not; else None."""
    return Metadata.read(path) if path.is_file() else None


def _beside(path: Path, wanted: Metadata) -> Path:
    """Another name, for these features alone."""
    made_of = [wanted.fingerprint, wanted.view, wanted.image_ids, wanted.files]
    digest = hashlib.sha256(json.dumps(made_of).encode()).hexdigest()[:8]
    return path.with_name(f"{path.stem}-{digest}{path.suffix}")


@contextlib.contextmanager
def _reserved(places: list[Path], wanted: Metadata) -> Iterator[Path]:
    """The first of these places that holds nothing else than is wanted, or the last one, for this process alone."""
    for place in places:
        if place == places[-1] or not _holds_others(place, wanted):
            with files.locked(_lock_of(place), f"{place}: another run is at it; this one waits"):
                if place == places[-1] or not _holds_others(place, wanted):  # than a moment ago
                    yield place
                    return
        print(f"{place} holds features of {_holds_others(place, wanted)}: these go to a file beside it")


def _lock_of(path: Path) -> Path:
    """Whoever has it may create the file at `path` or finish it."""
    return path.with_name(f".{path.name}.lock")


def _holds_others(place: Path, wanted: Metadata) -> str | None:
    """What the features are of that are there, if they are not those that are wanted."""
    there = _read(place)
    return None if there is None else there.difference(wanted)


def _find_or_create(path: Path, wanted: Metadata) -> Metadata:
    """The metadata of the features that are there, finished or not; if they are none of these, of an empty file."""
    there = _read(path)
    if there is not None and there.difference(wanted) is None:
        return there
    _check_room(path, wanted.shape)
    path.with_suffix(".json").unlink(missing_ok=True)  # wherever this is interrupted, no older marks are believed
    create(path, wanted.shape)
    wanted.write(path)
    return wanted


def _fill(shards: Shards, metadata: Metadata, encoder: EncoderCNN, loader: DataLoader, broken: str, bar: Any) -> None:
    """Write the rows that this process claims, and mark, every few seconds and where a shard ends, which are there."""
    rows, device = _open_map(shards.path, metadata.shape, "r"), next(encoder.buffers()).device
    marked = time.monotonic()
    # written, not mapped: another machine may write other rows of the same page of memory
    with open(shards.path, "r+b") as file, contextlib.ExitStack() as at_the_end:
        at_the_end.callback(shards.leave, file)
        for places, images, errors in loader:
            missed, first = [], int(places[0])
            regions = encoder.forward_features(images.to(device, non_blocking=True)).float().half().cpu().numpy()
            for i, error in enumerate(errors):
                image_id = metadata.image_ids[first + i]
                if error and broken == "stop":
                    raise ValueError(error)
                if error:
                    world.aloud(f"left out: {error}")
                    missed.append([image_id, error])
                    regions[i] = 0
                else:
                    _check_regions(regions[i], image_id)
            file.seek(rows.offset + first * rows[0].nbytes)
            file.write(regions.tobytes())
            if shards.made(first, len(regions), missed) or time.monotonic() - marked > MARK_EVERY:
                shards.mark(file)
                marked = time.monotonic()
            bar.update(len(regions))


def _finished(path: Path, wanted: Metadata, shards: Shards) -> Metadata:
    """The metadata of a file whose rows are all made; the first process that sees it writes them."""
    with files.locked(_lock_of(path), f"{path}: another run is at it; this one waits"):
        metadata = _read(path)
        if metadata is None or metadata.difference(wanted) or shards.replaced:
            raise ValueError(f"{path} was replaced meanwhile by another run: run this one again")
        if not metadata.finished:
            metadata.broken += shards.notes_of_all()
            metadata.done = len(metadata.image_ids)
            metadata.write(path)
        shards.finish()
    return metadata


def _check_regions(regions: np.ndarray, image_id: int | str) -> None:
    """ValueError for features (R, E) that are of no use."""
    if not np.isfinite(regions).all():
        raise ValueError(f"image {image_id}: features not finite in float16; check the encoder's weights")
    if not regions.any():
        raise ValueError(f"image {image_id}: features are all zero; check the encoder's weights")


def _check_room(path: Path, shape: Sequence[int]) -> None:
    """OSError if the disk has no room for the file."""
    size = 2 * int(np.prod(shape)) + 128
    folder = next(p for p in path.resolve().parents if p.exists())
    free = shutil.disk_usage(folder).free
    print(f"{path}: {size / 1e6:,.0f} MB of features for {shape[0]:,} images")
    if size > free:
        raise OSError(
            f"{path} needs {size / 1e9:.1f} GB and the disk has {free / 1e9:.1f} GB free: make room or choose grid=…"
        )


def _open_map(path: Path, shape: Sequence[int], mode: Any) -> np.memmap:
    """The file's rows (images, R, E), of which only those asked for are read. ValueError if it holds something else."""
    try:
        rows = np.lib.format.open_memmap(path, mode=mode)
        if rows.dtype == np.float16 and rows.shape == tuple(shape):
            return rows
    except (ValueError, EOFError):
        pass
    raise ValueError(f"{path} is damaged: delete it and extract the features again")
