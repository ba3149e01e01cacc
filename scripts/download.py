"""Fetches COCO: python -m scripts.download coco [--year 2017] [--part annotations] [--part train] …

The files go where the notebooks look, `data/coco` (or the folder named by the environment variable DATA). A stopped
download goes on where it ended, and what is there already is not fetched again. All of a year is about 20 GB, and as
much again while the largest archive is unpacked.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from dataset import paths
from dataset.download import PARTS, YEARS, download_part


def main(arguments: Sequence[str] | None = None) -> None:
    """Reads the command line and fetches."""
    parser = argparse.ArgumentParser(prog="python -m scripts.download", description=__doc__.split("\n\n")[0])
    parser.add_argument("dataset", choices=["coco"])
    parser.add_argument("--year", default="2017", choices=YEARS, help="default: 2017")
    parser.add_argument("--part", action="append", choices=PARTS, help="may be given again (default: all but karpathy)")
    parser.add_argument("--mirror", help="another address than the real one to fetch all from, as http://host/path")
    options = parser.parse_args(arguments)
    for part in options.part or ("annotations", "train", "val"):
        download_part(paths.DATA / options.dataset, part, options.year, options.mirror)


if __name__ == "__main__":
    try:
        main()
    except (ValueError, OSError) as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit("stopped; the same command goes on from here")
