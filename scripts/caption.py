"""Captions pictures with a trained model: python -m scripts.caption PICTURE … [--checkpoint runs/sample/model]

A PICTURE is a file, a folder (the pictures in it, not deeper), or a pattern as "holiday/*.jpg". Prints a line for each:
the caption and how sure the model was of it, word by word. What cannot be read is answered by one sentence, the others
are captioned all the same, and the exit status is 1. `--output captions.csv` (or .json) keeps them in a table.
`--figure look.png` draws where it looked, `--figure look.gif` word after word; for the `adaptive` preset also
look-looks.png: how much each word looked at the picture at all. A model without attention is asked by occlusion
instead: what it needs to see for each word. Ctrl-C keeps the captions so far.
`torchrun --nproc-per-node 4 -m scripts.caption …` does it with four processes.
"""

from __future__ import annotations

import argparse
import csv
import glob
import io
import json
import math
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from PIL import Image
from tqdm.auto import tqdm

from dataset import files
from dataset.paths import RUNS
from dataset.pictures import open_image
from dataset.progress import shown
from decoding.trace import CaptionTrace, Exploration
from figures.attention import attention_figure, attention_film, attention_mass
from models import checkpoint
from models.checkpoint import Checkpoint
from models.devices import best_device
from scripts.arguments import add_device, add_length_penalty, count, length_penalty
from scripts.ending import STOPPED, one_sentence
from training import world

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".heic", ".heif"}  # in a folder
FIGURES = (".png", ".jpg", ".jpeg", ".pdf", ".svg", ".gif")
Row = dict[str, str | float]


def main(arguments: list[str] | None = None) -> None:
    """Reads the command line and captions; exits with 1 if a picture could not be read."""
    options = _options(arguments)
    captioner = checkpoint.load(options.checkpoint, best_device(options.device))
    for file in filter(None, (options.output, options.figure)):
        files.check_writable(file)
    paths, wrong = _pictures(options.pictures)
    for sentence in wrong:
        print(sentence, file=sys.stderr)
    own = _own(captioner, paths[slice(world.rank(), None, world.size())], options)
    every = world.everything(own)
    done = [path for path in paths if path in every]
    for path in done:
        if path not in own:  # another process captioned it
            _say(path, every[path])
    rows = [row for path in done if not isinstance(row := every[path], str)]
    wrong += [why for why in every.values() if isinstance(why, str)]
    if world.rank() > 0:
        return
    if options.output and rows:
        files.write(options.output, _table(rows, options.output))
        print(f"{len(rows):,} captions in {options.output}")
    if len(done) < len(paths):
        print(f"stopped after {len(done):,} of {len(paths):,} pictures", file=sys.stderr)
        sys.exit(STOPPED)
    if wrong:
        sys.exit(1)


def _own(captioner: Checkpoint, paths: Sequence[Path], options: argparse.Namespace) -> dict[Path, Row | str]:
    """The row of each picture, or why it cannot be read, said as soon as it is known; after Ctrl-C those so far."""
    own: dict[Path, Row | str] = {}
    try:
        for path in shown(paths, unit="picture", disable=len(paths) < 2):
            try:
                own[path] = _caption(captioner, path, options)
            except (ValueError, OSError) as error:
                own[path] = str(error)
            _say(path, own[path])
    except KeyboardInterrupt:
        if world.size() > 1:  # the others wait for all of it
            raise
    return own


def _say(path: Path, row: Row | str) -> None:
    """A line for a picture: its caption, or why there is none."""
    if isinstance(row, str):
        tqdm.write(row, file=sys.stderr)
    else:
        tqdm.write(f"{path.name}: {row['caption']}   (p = {row['probability']:.1g})")


def _pictures(given: Sequence[str]) -> tuple[list[Path], list[str]]:
    """Files, folders and patterns -> the files, each once; and a sentence for each that leads to none.

    Windows leaves patterns to the program; a name that looks like one may also be a file's.
    """
    paths: list[Path] = []
    wrong: list[str] = []
    for name in given:
        path = Path(name)
        if "://" in name:
            wrong.append(f"{name} is an address, not a file: download the picture first")
        elif path.is_dir():
            found = sorted(p for p in path.iterdir() if p.suffix.lower() in SUFFIXES and not p.is_dir())
            found = [p for p in found if not p.name.startswith("._")]  # macOS's, beside each file of an archive
            wrong += (
                [] if found else [f"{name} is a folder without pictures: name one that has them, as {name}/*/*.jpg"]
            )
            paths += found
        elif not path.exists() and glob.has_magic(name):
            matching = sorted(Path(p) for p in glob.glob(name, recursive=True) if not Path(p).is_dir())
            wrong += [] if matching else [f"{name}: no file matches this pattern"]
            paths += matching
        elif not path.exists():
            wrong.append(f"{name}: no such file")
        else:
            paths.append(path)
    return list(dict.fromkeys(paths)), wrong


def _caption(captioner: Checkpoint, path: Path, options: argparse.Namespace) -> Row:
    """The row of one picture; of the first one also the figure that was asked for."""
    picture = open_image(path)
    exploration = Exploration(captioner, picture)
    hypothesis = exploration.decode(num_beams=options.num_beams, length_penalty=length_penalty(options))
    text = captioner.vocabulary.decode(hypothesis.ids)
    if options.figure and world.rank() == 0:
        if not text:
            sys.exit(f"{options.checkpoint} says nothing of {path}: there is no map to draw; train it longer")
        trace, file = exploration.trace(hypothesis), Path(options.figure)
        _draw(picture, trace, len(hypothesis.ids) - hypothesis.finished, file)
        if trace.occlusion:
            tqdm.write(f"{options.checkpoint} has no attention: {file} shows what it needs to see (occlusion)")
        options.figure = None  # of the first picture only
    name = os.fsencode(path).decode("utf-8", "backslashreplace")  # not every name on a disk is text
    return {"picture": name, "caption": text, "probability": math.exp(sum(hypothesis.logprobs))}


def _table(rows: Sequence[Row], file: str) -> str:
    """The rows as the file's name asks for: a table with a header, or JSON."""
    if file.lower().endswith(".json"):
        return json.dumps(rows, indent=1, ensure_ascii=False)
    table = io.StringIO()
    writer = csv.DictWriter(table, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(row | {"probability": f"{row['probability']:.6f}"} for row in rows)
    return table.getvalue()


def _table_name(name: str) -> str:
    """The name of a file for captions."""
    if not name.lower().endswith((".csv", ".json")):
        raise argparse.ArgumentTypeError(f"{name} must end in .csv or .json")
    return name


def _figure_name(name: str) -> str:
    """The name of a file for a figure."""
    if not name.lower().endswith(FIGURES):
        raise argparse.ArgumentTypeError(f"{name} must end in {', '.join(FIGURES[:-1])} or {FIGURES[-1]}")
    return name


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m scripts.caption", description=__doc__.split("\n\n")[0])
    parser.add_argument("pictures", nargs="+", metavar="PICTURE", help="file, folder or pattern; JPEG, PNG, …")
    parser.add_argument("--checkpoint", default=str(RUNS / "sample/model"), help="a folder (default: %(default)s)")
    parser.add_argument("--output", metavar="FILE", type=_table_name, help="keep the captions: .csv, or .json")
    parser.add_argument("--num-beams", type=count, default=5, help="beam width; 1: greedy (default: 5)")
    add_length_penalty(parser)
    parser.add_argument(
        "--figure",
        metavar="FILE",
        type=_figure_name,
        help="save where the model looked at the first picture: .png, or .gif",
    )
    add_device(parser)
    options = parser.parse_args(arguments)
    if options.num_beams == 1 and options.length_penalty is not None:
        parser.error("--length-penalty is for a beam: leave it out with --num-beams 1")
    return options


def _draw(picture: Image.Image, trace: CaptionTrace, count: int, file: Path) -> None:
    """Saves where the model looked for the first `count` words, as a film (.gif) or as a figure."""
    words, maps = trace.words[:count], trace.maps[:count]
    shown = (picture, words, maps, trace.probabilities[:count])
    file.parent.mkdir(parents=True, exist_ok=True)
    if file.suffix.lower() == ".gif":
        film = attention_film(*shown)
        film[0].save(file, save_all=True, append_images=film[1:], duration=900, loop=0)
    else:
        attention_figure(*shown).savefig(file)
    shares = maps.sum(-1)
    if not trace.occlusion and shares.min() < 0.99:  # a sentinel took the rest
        attention_mass(words, shares.tolist()).savefig(file.with_name(f"{file.stem}-looks.png"))


if __name__ == "__main__":
    with one_sentence(), world.joined():
        main()
