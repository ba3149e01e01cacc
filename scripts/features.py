"""Runs a frozen encoder once over a dataset: python -m scripts.features [--dataset flickr8k] [--encoder resnet50] …

The features go to a file in `runs/<dataset>`, where scripts.train and the notebooks look for them. Goes on
where a stopped run ended. `torchrun --nproc-per-node 4 -m scripts.features …` does it with four processes.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from dataset.loading import load_records
from model import EncoderCNN
from models.devices import best_device, best_precision, memory_explained
from scripts.arguments import add_broken, add_dataset, add_device, count
from scripts.ending import one_sentence
from training import world
from training.experiment import home_of
from training.features import extract, file_of
from training.presets import PHOTOGRAPHS, for_dataset


def main(arguments: Sequence[str] | None = None) -> None:
    """Reads the command line and extracts."""
    options = parse(arguments)
    records = load_records(options.dataset, instances=False, missing=options.broken or "stop")
    splits = dict.fromkeys(record.split for record in records)
    if unknown := next((split for split in options.split or () if split not in splits), None):
        raise ValueError(f"{options.dataset} has no split {unknown!r}; it has {', '.join(splits)}")
    device = best_device(options.device)
    given = {name: value for name in ("encoder", "weights") if (value := getattr(options, name)) is not None}
    cfg = for_dataset(PHOTOGRAPHS.dataset, "photographs", given)
    if cfg.encoder == "small" and options.weights is None:
        raise ValueError(
            "nobody publishes weights of the encoder small: give --weights FILE, as a small_cnn-….pth that a training "
            "has left in its folder of runs; or none, for random ones"
        )
    encoder = EncoderCNN(cfg.encoder, cfg.weights, options.image_size, options.grid, finetune=0).to(device)
    for split in options.split or splits:
        of_split = [record for record in records if record.split == split][: options.limit]
        for view in range(options.views if split == "train" else 1):
            path = file_of(home_of(options.dataset), encoder, split, view)
            with memory_explained("take a smaller --batch-size or --image-size"):
                made = extract(
                    of_split,
                    encoder,
                    path,
                    batch_size=options.batch_size,
                    workers=options.workers,
                    autocast=best_precision(device),
                    broken=options.broken or "skip",
                    view=view,
                )
            print(f"{made.path}: {len(made):,} images, {made.shape[0]} regions of {made.shape[1]} numbers")


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m scripts.features", description=(__doc__ or "").split("\n\n")[0])
    add, usual = parser.add_argument, PHOTOGRAPHS
    add_dataset(parser)
    add("--split", action="append", help="train, val or test; may be given again (default: all there are)")
    add("--encoder", default=usual.encoder, help=f"torchvision's, or timm/NAME (default: {usual.encoder})")
    add("--weights", help=f"their name, DEFAULT, or a file (default: {usual.weights}, of timm's DEFAULT)")
    add("--image-size", type=count, help="pixels (default: what the encoder was made for)")
    add("--grid", type=count, help="regions per side (default: the encoder's own)")
    add("--batch-size", type=count, default=32)
    add("--workers", type=int, default=0, help="processes that read pictures (default: 0)")
    add_device(parser)
    add_broken(parser)
    add("--views", type=count, default=1, help="so many of each training picture (default: 1)")
    add("--limit", type=count, help="only the first so many images of each split")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    with one_sentence(), world.joined():
        main()
