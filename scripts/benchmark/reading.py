"""Text, data and pictures: tokenising, waiting for batches, running an encoder over files."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from nltk.tokenize import NLTKWordTokenizer
from PIL import Image

from data_loader import Batch, Loader, Transform, get_loader, in_threads
from dataset.loading import load_records
from dataset.pictures import open_image
from dataset.records import Record
from model import Captioner, EncoderCNN
from models.devices import best_precision
from scripts.benchmark.learning import our_loss, random_decoder, step
from scripts.benchmark.table import Clock, compare, medians, show
from training.features import extract
from vocabulary import Vocabulary, tokenize


def captions_at_hand() -> tuple[list[str], str]:
    """COCO's captions if they are there, else those of the drawn sample; and what they are."""
    for dataset in ("coco", "sample"):
        try:
            records = load_records(dataset, instances=False)
        except (OSError, ValueError):
            continue
        captions = [caption for record in records for caption in record.captions]
        return captions, f"{len(captions):,} captions of {dataset}"
    raise FileNotFoundError("no captions to measure with: draw the sample with python -m scripts.sample")


def text(clock: Clock, quick: bool) -> None:
    """`tokenize` beside NLTK's tokeniser on its own."""
    captions, what = captions_at_hand()
    captions = captions[:5_000] if quick else captions
    treebank = NLTKWordTokenizer()
    compare(
        f"Splitting captions into words ({what})",
        {
            "NLTK's tokeniser": lambda: [treebank.tokenize(caption.lower()) for caption in captions],
            "tokenize": lambda: [tokenize(caption) for caption in captions],
        },
        {"NLTK's tokeniser": len(captions), "tokenize": len(captions)},
        1 if quick else 3,
        clock,
        "captions",
    )


def photographs(folder: Path, count: int, size: tuple[int, int] = (640, 480)) -> list[Record]:
    """JPEGs of COCO's usual size, smooth noise and so about as large on disk as photographs; one caption each."""
    random, records = np.random.default_rng(0), []
    words = [f"w{chr(97 + i // 26)}{chr(97 + i % 26)}" for i in range(400)]
    for i in range(count):
        coarse = Image.fromarray(random.integers(0, 256, (60, 80, 3), dtype=np.uint8)).resize(size)
        grain = np.asarray(coarse, dtype=np.int16) + random.normal(0, 12, (size[1], size[0], 3)).astype(np.int16)
        path = folder / f"{i}.jpg"
        Image.fromarray(grain.clip(0, 255).astype(np.uint8)).save(path, quality=90)
        captions = [" ".join(random.choice(words, random.integers(7, 13))) for _ in range(5)]
        records.append(Record(i, path, "train", tuple(captions)))
    return records


def random_encoder(name: str) -> EncoderCNN:
    """An encoder of random weights whose batch-norms have seen noise: without, its features fade to zero."""
    encoder = EncoderCNN(name, finetune=0)
    encoder.blocks.train()
    size = encoder.image_size
    with torch.inference_mode():
        for _ in range(3):
            encoder.forward_features(torch.randint(0, 256, (8, 3, size, size), dtype=torch.uint8))
    return encoder.eval()


class Waits:
    """A loader that counts the seconds its reader waits for batches."""

    def __init__(self, loader: Loader, clock: Clock):
        self.loader, self.clock, self.seconds = loader, clock, 0.0

    def __iter__(self) -> Iterator[Batch]:
        batches = iter(self.loader)
        while True:
            began = self.clock()
            batch = next(batches, None)
            self.seconds += self.clock() - began
            if batch is None:
                return
            yield batch


def data(clock: Clock, quick: bool) -> None:
    """The share of a training epoch that waits for data: from kept features, and from JPEGs; and decoding them."""
    with tempfile.TemporaryDirectory() as folder:
        records = photographs(Path(folder), 32 if quick else 128)
        size = sum(record.path.stat().st_size for record in records) / len(records) / 1e3
        vocabulary = Vocabulary(c for record in records for c in record.captions)
        encoder = random_encoder("mobilenet_v2")
        precision = best_precision(torch.device("cpu"))
        kept = extract(records, encoder, Path(folder) / "kept.npy", autocast=precision, progress=False)
        rows: list[list[str]] = []
        sources: dict[str, dict[str, Any]] = {
            "kept features, 7 x 7 x 1280": {"features": kept},
            f"JPEGs, 640 x 480, {size:.0f} kB, through MobileNetV2": {"transform": Transform(encoder.image_size)},
        }
        for name, pictures in sources.items():
            decoder = random_decoder(features=encoder.feature_size, words=len(vocabulary))
            model = Captioner(encoder, decoder)
            adam = torch.optim.Adam(decoder.parameters(), 4e-4, fused=True)
            waits = Waits(get_loader(records, vocabulary, **pictures, images_per_batch=16), clock)
            began = clock()
            for batch in waits:
                with torch.autocast("cpu", precision, enabled=precision is not None):
                    batch.features = model.regions(batch)
                step(decoder, partial(our_loss, decoder, batch, precision), adam)()
            rows.append([name, f"{100 * waits.seconds / (clock() - began):.1f} %"])
        show("Waiting for data, share of an epoch of show_attend_tell (D = 512)", ("", "waiting"), rows)
        transform, some = Transform(encoder.image_size), records[:16]

        def plain() -> None:
            for record in some:
                Image.open(record.path).convert("RGB").resize((224, 224), Image.Resampling.BILINEAR)

        def ours(record: Record) -> torch.Tensor:
            return transform(open_image(record.path))

        tasks: dict[str, Callable[[], object]] = {
            "plain Pillow": plain,
            "open_image and Transform": lambda: [ours(record) for record in some],
            "the same on all cores": lambda: in_threads(ours, some),
        }
        count = dict.fromkeys(tasks, len(some))
        compare(f"A JPEG of 640 x 480 ({size:.0f} kB) -> 224 x 224", tasks, count, 3, clock, "images")


def extraction(clock: Clock, quick: bool) -> None:
    """Files through a frozen encoder, beside the bare network's rate and that of decoding."""
    precision = best_precision(torch.device("cpu"))
    with tempfile.TemporaryDirectory() as folder:
        records = photographs(Path(folder), 16 if quick else 64)
        size = sum(record.path.stat().st_size for record in records) / len(records) / 1e3
        rows = []
        for name in ("mobilenet_v2",) if quick else ("mobilenet_v2", "resnet101"):
            encoder = random_encoder(name)
            transform = Transform(encoder.image_size)
            pictures = torch.stack([transform(open_image(record.path)) for record in records[:16]])

            def forward(encoder: EncoderCNN = encoder, pictures: torch.Tensor = pictures) -> None:
                with torch.inference_mode(), torch.autocast("cpu", precision, enabled=precision is not None):
                    encoder.forward_features(pictures)

            def whole(encoder: EncoderCNN = encoder, name: str = name) -> None:
                path = Path(folder) / f"{name}-{time.monotonic_ns()}.npy"
                extract(records, encoder, path, batch_size=16, autocast=precision, progress=False)

            def read(transform: Transform = transform) -> None:
                in_threads(lambda path: transform(open_image(path)), [r.path for r in records[:16]])

            seconds = medians({"forward": forward, "read": read, "whole": whole}, 1 if quick else 3, clock)
            forwards, reads, all_of_it = (
                seconds["forward"] / 16,
                seconds["read"] / 16,
                seconds["whole"] / len(records),
            )
            shares = [f"{100 * best / all_of_it:.0f} %" for best in (forwards, forwards + reads)]
            rows.append([name, *(f"{1 / x:.1f}" for x in (forwards, reads, all_of_it)), *shares])
        show(
            f"Extraction, images a second; JPEGs of 640 x 480, {size:.0f} kB",
            ("", "bare forward", "decoding", "extract", "of bare forward", "of 1 / (decoding + forward)"),
            rows,
        )
