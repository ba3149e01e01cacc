"""Fetches real photographs: python -m scripts.download flickr8k; or coco --images 5000; or coco [--part val] …

The files go where the notebooks look, `data/<dataset>` (or the folder named by the environment variable DATA). A
stopped download goes on where it ended, and what is there already is not fetched again. Flickr8k is 1.1 GB. All of a
year of COCO is about 20 GB, and as much again while the largest archive is unpacked; with --images only so many of its
photographs are fetched, one by one, with their annotations (240 MB, and 165 kB a photograph).
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from dataset import paths
from dataset.download import PARTS, YEARS, check_year, download_part
from dataset.photographs import download_photographs, make_whole
from scripts.ending import one_sentence

USUAL = {"coco": ("annotations", "train", "val"), "flickr8k": ("captions", "images", "karpathy")}


def main(arguments: Sequence[str] | None = None) -> None:
    """Reads the command line and fetches."""
    parser = argparse.ArgumentParser(prog="python -m scripts.download", description=__doc__.split("\n\n")[0])
    parser.add_argument("dataset", choices=PARTS)
    parser.add_argument("--images", type=int, metavar="N", help="only so many of COCO's photographs, always the same")
    parser.add_argument("--year", default="2017", choices=YEARS, help="of COCO (default: 2017)")
    parser.add_argument("--part", action="append", help="annotations, train, val, karpathy; may be given again")
    parser.add_argument("--mirror", help="another address than the real one to fetch all from, as http://host/path")
    options = parser.parse_args(arguments)
    dataset, folder = options.dataset, paths.DATA / options.dataset
    parts = options.part or USUAL[dataset]
    if unknown := set(parts) - set(PARTS[dataset]):
        parser.error(f"{dataset} has no part {min(unknown)!r}: it has {', '.join(PARTS[dataset])}")
    if options.images is not None and options.images < 2:
        parser.error("--images must be 2 or more: one to learn from, one to validate on")
    if options.images and (options.part or dataset != "coco"):
        parser.error("--images goes with coco alone, and without --part")
    if dataset == "flickr8k":
        print(
            "Flickr8k's photographs belong to their photographers: for research and teaching only, not to be passed on"
        )
    if options.images:
        return download_photographs(folder, options.images, options.year, options.mirror)
    for part in parts:  # all, before anything is changed
        check_year(folder, part, options.year)
    if "annotations" in parts:
        make_whole(folder)
    for part in parts:
        download_part(folder, dataset, part, options.year, options.mirror)


if __name__ == "__main__":
    with one_sentence("stopped; the same command goes on from here"):
        main()
