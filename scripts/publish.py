"""Gives a trained model to others: python -m scripts.publish FOLDER [--archive FILE.zip | --hub OWNER/NAME]

An archive holds the files of the checkpoint and nothing else that lies in its folder; who unpacks it has a folder for
--checkpoint. On the Hugging Face Hub anybody has it as --checkpoint hf:OWNER/NAME. Only a checkpoint that can be loaded
is given away, and what it notes about its training (names of folders, ids of pictures) goes with it.
"""

from __future__ import annotations

import argparse
import io
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from dataset import files
from models import checkpoint, hub
from scripts.ending import one_sentence


def main(arguments: Sequence[str] | None = None) -> None:
    """Reads the command line, loads the checkpoint as anybody will, packs or uploads it."""
    parser = argparse.ArgumentParser(prog="python -m scripts.publish", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("folder", metavar="FOLDER", help="a checkpoint")
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--archive", metavar="FILE", help="a zip file (default: FOLDER.zip)")
    where.add_argument("--hub", metavar="OWNER/NAME", help="upload it there instead; hf auth login comes first")
    parser.add_argument(
        "--private", action="store_true", help="on the Hub: a repository that only you see, if it is new"
    )
    options = parser.parse_args(arguments)
    folder = Path(options.folder)
    checkpoint.load(folder)
    contents = {name: (folder / name).read_bytes() for name in checkpoint.FILES}
    size = sum(map(len, contents.values())) / 1e6
    if options.hub:
        commit = hub.upload(contents, options.hub, options.private)
        print(f"{size:,.1f} MB uploaded: --checkpoint hf:{options.hub}@{commit}")
    else:
        name = folder.resolve().name
        file = Path(options.archive or folder.resolve().with_name(f"{name}.zip"))
        files.write(file, packed(contents, name))
        print(f"{size:,.1f} MB in {file}")


def packed(contents: Mapping[str, bytes], folder: str) -> bytes:
    """A zip file of these files in a folder; the same bytes for the same files."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as target:
        for name, content in contents.items():
            target.writestr(zipfile.ZipInfo(f"{folder}/{name}"), content, zipfile.ZIP_DEFLATED)
    return archive.getvalue()


if __name__ == "__main__":
    with one_sentence():
        main()
