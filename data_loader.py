"""Records -> batches: the picture transform, grouping by length, collating, `get_loader`.

Comes in: records (dataset/records.py), a vocabulary, and either pictures or the features computed from them
(training/features.py). Goes out: a DataLoader of `Batch`: N pictures with k captions each, the captions ordered by
length. What it does not know: models.

Nothing here depends on the number of workers: every random choice is seeded by (seed, epoch, image).
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from copy import copy
from dataclasses import dataclass, field
from functools import partial
from itertools import islice, pairwise
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence
from torch.utils.data import DataLoader, Dataset, Sampler

from dataset.pictures import Opened, upright
from dataset.records import Record
from vocabulary import Vocabulary


class Looks(Protocol):
    """What a picture is made ready for: an encoder, as far as `Transform` knows it."""

    image_size: int  # pixels a side
    interpolation: str


@dataclass(frozen=True)
class Transform:
    """A picture as the encoder wants it: the whole picture resized to a square, never cropped, never flipped.

    What the caption names stays in the picture, left stays left, and the encoder's grid maps onto what the student
    sees. For training, brightness and contrast may vary by the share `jitter`, and up to that share of height and width
    is added on each side (the edge repeated), so that things appear elsewhere and smaller; colours keep their names.
    `interpolation` is one of Pillow's, in small letters.
    """

    size: int
    jitter: float = 0.0
    interpolation: str = "bilinear"

    def __post_init__(self) -> None:
        if self.interpolation.upper() not in Image.Resampling.__members__:
            known = ", ".join(name.lower() for name in Image.Resampling.__members__)
            raise ValueError(f"interpolation is one of {known}, not {self.interpolation!r}")

    @classmethod
    def of(cls, encoder: Looks, jitter: float = 0.0) -> Transform:
        """The transform that an encoder asks for."""
        return cls(encoder.image_size, jitter, encoder.interpolation)

    def __call__(self, picture: Image.Image, random: np.random.Generator | None = None) -> Tensor:
        """A picture of any size -> (3, size, size) uint8."""
        picture = upright(picture)
        if self.jitter and random is not None:
            sides = (picture.height, picture.height, picture.width, picture.width)
            top, bottom, left, right = (random.uniform(0, self.jitter, 4) * sides).astype(int)
            wider = np.pad(np.asarray(picture), ((top, bottom), (left, right), (0, 0)), mode="edge")
            picture = Image.fromarray(wider)
        pixels = np.array(picture.resize((self.size, self.size), Image.Resampling[self.interpolation.upper()]))
        if self.jitter and random is not None:
            light, contrast = 1 + self.jitter * random.uniform(-1, 1, 2)
            levels = light * (contrast * np.arange(256) + (1 - contrast) * pixels.mean())
            pixels = levels.clip(0, 255).astype(np.uint8).take(pixels)
        return torch.from_numpy(pixels).permute(2, 0, 1)


@dataclass
class Batch:
    """N pictures and their B captions, longest first. The one place where a caption is shifted, masked and packed.

    The pictures are there as `pixels`, or as the `features` that a frozen encoder made of them before; the other of the
    two is None. `inputs` is what the decoder is fed, every token but the last, and `targets` what it should say next,
    every token but `<start>`: L ids each, packed by time, no padding among them.
    """

    image_ids: list[int | str]
    image_of: Tensor  # (B,) the picture that caption b belongs to, 0 to N - 1; stays on the CPU
    captions: Tensor  # (B, T + 1) ids: <start>, words, <end> unless it was cut; then <pad>
    lengths: Tensor  # (B,) targets of each caption, <end> counted; falling; stays on the CPU
    pixels: Tensor | None = None  # (N, 3, H, W) uint8
    features: Tensor | None = None  # (N, R, E) float16
    broken: dict[int | str, Exception] = field(default_factory=dict)  # pictures left out: image id -> what is wrong
    inputs: PackedSequence = field(init=False)
    targets: Tensor = field(init=False)  # (L,) in the order of `inputs.data`

    def __post_init__(self) -> None:
        if self.image_ids:
            self.inputs = pack_padded_sequence(self.captions[:, :-1], self.lengths, batch_first=True)
            self.targets = pack_padded_sequence(self.captions[:, 1:], self.lengths, batch_first=True).data
        else:
            self.targets = self.captions  # none

    @classmethod
    def of(
        cls,
        image_ids: Sequence[int | str],
        captions: Sequence[Sequence[Sequence[int]]],
        pixels: Tensor | None = None,
        features: Tensor | None = None,
    ) -> Batch:
        """A batch of pictures with the captions of each, as `Vocabulary.encode` gives them."""
        rows = [(caption, n) for n, of_image in enumerate(captions) for caption in of_image]
        rows.sort(key=lambda row: -len(row[0]))
        lengths = torch.tensor([len(caption) - 1 for caption, _ in rows])
        padded = torch.zeros(len(rows), int(lengths.max()) + 1, dtype=torch.long)  # <pad> is 0
        for row, (caption, _) in zip(padded, rows, strict=True):
            row[: len(caption)] = torch.tensor(caption)
        return cls(list(image_ids), torch.tensor([n for _, n in rows]), padded, lengths, pixels, features)

    def to(self, device: torch.device | str) -> Batch:
        """The batch on another device (asynchronously from pinned memory)."""
        return self._each(lambda value: value.to(device, non_blocking=True))

    def pin_memory(self) -> Batch:
        """Called by DataLoader(pin_memory=True)."""
        return self._each(lambda value: value.pin_memory())

    def _each(self, move: Callable) -> Batch:
        moved = copy(self)
        for name in ("captions", "pixels", "features", "inputs", "targets"):
            value = getattr(self, name, None)  # a batch without pictures has no inputs
            setattr(moved, name, None if value is None else move(value))
        return moved


Item = tuple[int | str, Tensor | Exception, list[list[int]]]  # image id, picture or why it cannot be read, captions


class CaptionDataset(Dataset[Item]):
    """Pictures (or their features) with encoded captions; an item is asked for as (epoch, index)."""

    def __init__(
        self,
        records: Sequence[Record],
        vocabulary: Vocabulary,
        transform: Transform | None,
        views: Sequence[Mapping],
        captions_per_image: int,
        max_words: int | None,
        seed: int,
        cache_dir: str | Path | None = None,
    ):
        self.records, self.transform, self.views = list(records), transform, views
        self.captions_per_image, self.seed = captions_per_image, seed
        self.opened = Opened()
        every = iter(
            vocabulary.encode_all([c for record in self.records for c in record.captions], max_words, cache_dir)
        )
        self.encoded = [list(islice(every, len(record.captions))) for record in self.records]

    def __len__(self) -> int:
        return len(self.records)

    def captions_for(self, epoch: int, index: int) -> list[list[int]]:
        """The captions of one picture in one epoch: all, or `captions_per_image` of them drawn without replacement."""
        captions = self.encoded[index]
        if len(captions) <= self.captions_per_image:
            return captions
        drawn = self._random(epoch, index, 0).choice(len(captions), self.captions_per_image, replace=False)
        return [captions[i] for i in sorted(drawn)]

    def __getitems__(self, items: Sequence[tuple[int, int]]) -> list:
        """A batch, its pictures read on all cores."""
        return [self[item] for item in items] if self.views else in_threads(self.__getitem__, items)

    def __getitem__(self, item: tuple[int, int]) -> Item:
        """Image id, picture (or why it cannot be read), captions."""
        epoch, index = item
        record = self.records[index]
        picture: Tensor | Exception
        if self.views:
            view = int(self._random(epoch, index, 2).integers(len(self.views))) if len(self.views) > 1 else 0
            picture = torch.from_numpy(self.views[view][record.image_id])  # (R, E)
        else:
            assert self.transform is not None, "get_loader gives a transform or views"
            try:
                picture = self.transform(self.opened[record.path], self._random(epoch, index, 1))
            except (ValueError, OSError) as error:  # whether to go on without it is for `Loader` to decide
                picture = error
        return record.image_id, picture, self.captions_for(epoch, index)

    def _random(self, epoch: int, index: int, purpose: int) -> np.random.Generator:
        return np.random.default_rng((self.seed, epoch, index, purpose))


def in_threads(read: Callable, items: Sequence) -> list:
    """read(item) for each, in their order, by as many threads as torch has: Pillow decodes in parallel.

    Each takes one stretch of the items: small pictures are mostly Python's own work, which handing them out one by one
    makes dearer.
    """
    threads = min(torch.get_num_threads(), len(items))
    if threads < 2:
        return [read(item) for item in items]
    ends = [len(items) * i // threads for i in range(threads + 1)]
    stretches = [items[start:end] for start, end in pairwise(ends)]
    with ThreadPoolExecutor(threads) as pool:
        return [one for done in pool.map(lambda some: [read(item) for item in some], stretches) for one in done]


class LengthBucketSampler(Sampler[list[tuple[int, int]]]):
    """Batches of pictures whose captions are about equally long, in a new random order each epoch.

    With one caption an image the batches are pure length buckets, but for those of the pictures left over, too few of
    their length to fill one. `Loader.set_epoch` says which epoch comes next, and how many of its batches to pass over.

    `share` is (this process, of n): batches that are shuffled are those of one process, and of each this one has every
    n-th picture, perhaps none; in their order, they are batches of every n-th picture of all.
    """

    def __init__(self, dataset: CaptionDataset, images_per_batch: int, shuffle: bool, share: tuple[int, int] = (0, 1)):
        if min(images_per_batch, dataset.captions_per_image) < 1:
            raise ValueError("images_per_batch and captions_per_image must be at least 1")
        self.dataset, self.images_per_batch, self.shuffle = dataset, images_per_batch, shuffle
        self.own = slice(share[0], None, share[1])
        self.in_step = shuffle and share[1] > 1  # with other processes, batch by batch
        self.epoch = self.start = 0

    def __len__(self) -> int:
        pictures = range(len(self.dataset))
        return -(-len(pictures if self.shuffle else pictures[self.own]) // self.images_per_batch)

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        order, own = np.arange(len(self.dataset)), self.own
        size = self.images_per_batch
        if self.shuffle:
            random = np.random.default_rng((self.dataset.seed, self.epoch))
            random.shuffle(order)
            lengths = [[len(caption) for caption in self.dataset.captions_for(self.epoch, i)] for i in order.tolist()]
            longest, total = np.array([max(of_image) for of_image in lengths]), np.array([sum(n) for n in lengths])
            by_length = np.lexsort((total, longest))
            order, steps = order[by_length], np.diff(longest[by_length])
            buckets = np.split(order, np.flatnonzero(steps) + 1)
            left = [len(bucket) % size for bucket in buckets]
            whole = [bucket[n:] for bucket, n in zip(buckets, left, strict=True)]
            rest = [bucket[:n] for bucket, n in zip(buckets, left, strict=True)]
            order = np.concatenate(whole + rest)
        else:
            order, own = order[own], slice(None)
        batches = [order[i : i + size] for i in range(0, len(order), size)]
        if self.shuffle:
            random.shuffle(batches)
        yield from ([(self.epoch, int(i)) for i in batch[own]] for batch in batches[self.start :])


def collate(items: Sequence[Item], kind: str = "pixels") -> Batch:
    """Items with "pixels" or "features" -> one Batch; without pictures if none of them could be read."""
    broken = {image_id: picture for image_id, picture, _ in items if isinstance(picture, Exception)}
    items = [item for item in items if item[0] not in broken]
    if not items:
        nothing = torch.zeros(0, dtype=torch.long)
        return Batch([], nothing, nothing, nothing, broken=broken)
    image_ids, pictures, captions = zip(*items, strict=True)
    batch = Batch.of(image_ids, captions, **{kind: torch.stack(pictures)})
    batch.broken = broken
    return batch


class Loader(DataLoader[Item]):
    """A DataLoader of `Batch` that leaves out pictures that cannot be read, and says so; or stops at the first.

    Each is reported once and kept in `left_out` (image id -> what is wrong); at the end of an epoch they are counted.
    `position` is how many of the epoch's batches lie behind, those passed over and those without a picture counted.
    A batch without a picture is served only to keep in step with other processes. `say` prints.
    """

    say: Callable[[str], None] = staticmethod(partial(print, flush=True))

    def __init__(self, buckets: LengthBucketSampler, *, stop_at_broken: bool, **options: Any):
        super().__init__(buckets.dataset, batch_sampler=buckets, **options)
        self.buckets, self.stop_at_broken, self.position = buckets, stop_at_broken, 0
        self.left_out: dict[int | str, str] = {}

    def set_epoch(self, epoch: int, start: int = 0) -> None:
        """Which epoch comes next, and how many of its batches to pass over: for a run that goes on."""
        self.buckets.epoch, self.buckets.start = epoch, start

    def __iter__(self) -> Iterator[Batch]:  # type: ignore[override]  # torch names a class of its own there
        served, missed, start = 0, 0, self.buckets.start
        for self.position, batch in enumerate(super().__iter__(), start + 1):
            for image_id, error in batch.broken.items():
                if self.stop_at_broken or isinstance(error, FileNotFoundError):  # a dataset that is not complete
                    raise error
                if image_id not in self.left_out:
                    self.say(f"left out: {error}")
                self.left_out[image_id] = str(error)
            served, missed = served + len(batch.image_ids), missed + len(batch.broken)
            if batch.image_ids or self.buckets.in_step:
                yield batch
        if missed and not served and not start and self.buckets.own == slice(0, None, 1):  # others may have some
            raise ValueError(f"none of the {missed:,} pictures can be read, among them: {error}")
        if missed:
            self.say(f"left out of this epoch: {missed:,} of {served + missed:,} pictures")


def _let_the_main_process_stop(worker: int) -> None:
    """Ctrl-C reaches the workers, too; they go on serving, or a notebook could not use its loader again."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def get_loader(
    records: Sequence[Record],
    vocabulary: Vocabulary,
    *,
    transform: Transform | None = None,
    features: Mapping | Sequence[Mapping] | None = None,
    images_per_batch: int = 32,
    captions_per_image: int = 5,
    max_words: int | None = None,
    shuffle: bool = True,
    seed: int = 0,
    workers: int = 0,
    broken: str = "skip",
    cache_dir: str | Path | None = None,
    share: tuple[int, int] = (0, 1),
) -> Loader:
    """A DataLoader of `Batch`: `images_per_batch` pictures with up to `captions_per_image` captions each.

    The pictures come from the files through `transform`, or from `features` (image id -> (R, E)); give one of the two.
    Several `features` are so many views of the same pictures: each epoch draws one for each picture. Of captions the
    first `max_words` words are read, of longer ones no `<end>`. A picture that cannot be read is left out and reported
    ("skip"), or ends the epoch with its ValueError ("stop"); one that is missing always does, with FileNotFoundError.
    `cache_dir` is a folder for the captions' ids, which are then read when they are needed again. `share` is (this
    process, of how many): all get the same records and read their part, of shuffled batches a part of each. Raises
    ValueError if there are no records, one has no caption or features, or two have one id.
    """
    if broken not in ("skip", "stop"):
        raise ValueError(f'broken says what to do with a picture that cannot be read: "skip" or "stop", not {broken!r}')
    views = [] if features is None else [features] if isinstance(features, Mapping) else list(features)
    if (transform is None) == (not views):
        raise ValueError(
            "get_loader takes pictures through `transform` or `features` from the cache: give one of the two"
        )
    if not records:
        raise ValueError("get_loader was given no records: the split is empty")
    _check(records)
    broken_in_view = {image_id: why for view in views for image_id, why in getattr(view, "broken", {}).items()}
    left_out = {r.image_id: broken_in_view[r.image_id] for r in records if r.image_id in broken_in_view}
    for why in left_out.values():  # already when their features were computed
        if broken == "stop" or len(left_out) == len(records):
            raise ValueError(why)
        print(f"left out: {why}", flush=True)
    records = [r for r in records if r.image_id not in left_out]
    unseen = next((r for r in records for view in views if r.image_id not in view), None)
    if unseen is not None:
        raise ValueError(f"image {unseen.image_id} ({unseen.path}) has no features: extract those of this split")
    dataset = CaptionDataset(records, vocabulary, transform, views, captions_per_image, max_words, seed, cache_dir)
    return Loader(
        LengthBucketSampler(dataset, images_per_batch, shuffle, share),
        stop_at_broken=broken == "stop",
        collate_fn=partial(collate, kind="features" if views else "pixels"),
        num_workers=workers,
        worker_init_fn=_let_the_main_process_stop,
        persistent_workers=workers > 0,
        pin_memory=torch.cuda.is_available(),
        generator=torch.Generator(),  # its own, lest the number of workers shift the model's random numbers
    )


def _check(records: Sequence[Record]) -> None:
    """ValueError if a record has no caption, or two have one id, by which features are found."""
    known: dict[int | str, Path] = {}
    for record in records:
        if not record.captions:
            raise ValueError(f"image {record.image_id} ({record.path}) has no caption: leave it out before batching")
        if record.image_id in known:
            raise ValueError(
                f"image {record.image_id} is given twice ({known[record.image_id]}, {record.path}): each record needs "
                "an id of its own"
            )
        known[record.image_id] = record.path


def padded_share(loader: Loader) -> float:
    """The share of a (B, T) rectangle that is padding, over one epoch of batches: the work that packing saves."""
    dataset, real, padded = loader.buckets.dataset, 0, 0
    for batch in loader.buckets:
        lengths = [len(caption) - 1 for epoch, index in batch for caption in dataset.captions_for(epoch, index)]
        real, padded = real + sum(lengths), padded + max(lengths) * len(lengths)
    return 1 - real / padded
