"""Runs a frozen encoder once over a dataset: python -m scripts.features [--dataset flickr8k] [--encoder resnet50] …

The features go to a file in `runs/<dataset>`, where scripts.train and the notebooks look for them. Goes on
where a stopped run ended.
"""

from __future__ import annotations

import argparse
import sys

from dataset.loading import load_records
from model import EncoderCNN
from models.devices import best_device, best_precision
from scripts.train import count, home_of
from training import config
from training.features import extract, file_of


def main(arguments: list[str] | None = None) -> None:
    """Reads the command line and extracts."""
    default = config.PHOTOGRAPHS
    parser = argparse.ArgumentParser(prog="python -m scripts.features", description=__doc__.split("\n\n")[0])
    parser.add_argument(
        "--dataset", default="sample", help='"sample", "coco", "flickr8k" or a folder (default: sample)'
    )
    parser.add_argument(
        "--split", action="append", help="train, val or test; may be given again (default: all there are)"
    )
    parser.add_argument(
        "--encoder", default=default.encoder, help=f"a torchvision classifier (default: {default.encoder})"
    )
    parser.add_argument(
        "--weights", default=default.weights, help=f"torchvision's name or a file (default: {default.weights})"
    )
    parser.add_argument("--image-size", type=int, help="pixels (default: what the encoder was made for)")
    parser.add_argument("--grid", type=int, help="regions per side (default: the encoder's own)")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--workers", type=int, default=0, help="processes that read pictures (default: 0)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, mps (default: auto)")
    parser.add_argument(
        "--broken", choices=("skip", "stop"), default="skip", help="pictures that cannot be read (default: skip)"
    )
    parser.add_argument("--views", type=count, default=1, help="so many of each training picture (default: 1)")
    parser.add_argument("--limit", type=count, help="only the first so many images of each split")
    options = parser.parse_args(arguments)
    records = load_records(options.dataset, instances=False)
    device = best_device(options.device)
    weights = None if options.weights == "none" else options.weights
    encoder = EncoderCNN(options.encoder, weights, options.image_size, options.grid, finetune=0).to(device)
    for split in options.split or dict.fromkeys(record.split for record in records):
        of_split = [record for record in records if record.split == split][: options.limit]
        for view in range(options.views if split == "train" else 1):
            path = file_of(home_of(options.dataset), encoder, split, view)
            made = extract(
                of_split,
                encoder,
                path,
                batch_size=options.batch_size,
                workers=options.workers,
                autocast=best_precision(device),
                broken=options.broken,
                view=view,
            )
            print(f"{path}: {len(made):,} images, {made.shape[0]} regions of {made.shape[1]} numbers")


if __name__ == "__main__":
    try:
        main()
    except (ValueError, OSError) as error:
        sys.exit(str(error))
