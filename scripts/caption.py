"""Captions pictures with a trained model: python -m scripts.caption PICTURE … [--checkpoint runs/sample/model]

Prints a line per picture: the caption and how sure the model was of it, word by word. A picture that cannot be read is
answered by one sentence, and the others are captioned all the same. `--figure look.png` draws where it looked,
`--figure look.gif` word after word; for the `adaptive` preset also look-looks.png: how much each word looked at the
picture at all. A model without attention is asked by occlusion instead: what it needs to see for each word.
"""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path

from PIL import Image

from dataset.pictures import open_image
from decoding.trace import CaptionTrace, Exploration
from figures.attention import attention_figure, attention_film, attention_mass
from models import checkpoint
from models.devices import best_device
from scripts.arguments import add_device, count


def main(arguments: list[str] | None = None) -> None:
    """Reads the command line and captions; exits with 1 if a picture could not be read."""
    options = _options(arguments)
    captioner = checkpoint.load(options.checkpoint, best_device(options.device))
    unread = 0
    for path in options.pictures:
        try:
            picture = open_image(path)
        except (ValueError, OSError) as error:
            print(error, file=sys.stderr)
            unread += 1
            continue
        exploration = Exploration(captioner, picture)
        hypothesis = exploration.decode(num_beams=options.num_beams, length_penalty=options.length_penalty)
        text = captioner.vocabulary.decode(hypothesis.ids)
        print(f"{Path(path).name}: {text}   (p = {math.exp(sum(hypothesis.logprobs)):.3f})")
        if options.figure:
            if not text:
                sys.exit(f"{options.checkpoint} says nothing of {path}: there is no map to draw; train it longer")
            trace, file = exploration.trace(hypothesis), Path(options.figure)
            _draw(picture, trace, len(hypothesis.ids) - hypothesis.finished, file)
            if trace.occlusion:
                print(f"{options.checkpoint} has no attention: {file} shows what it needs to see (occlusion)")
            options.figure = None  # of the first picture only
    if unread:
        sys.exit(1)


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m scripts.caption", description=__doc__.split("\n\n")[0])
    parser.add_argument("pictures", nargs="+", metavar="PICTURE", help="JPEG, PNG, … of any size")
    parser.add_argument("--checkpoint", default="runs/sample/model", help="a folder (default: runs/sample/model)")
    parser.add_argument("--num-beams", type=count, default=5, help="beam width; 1: greedy (default: 5)")
    parser.add_argument("--length-penalty", type=float, default=0.7, help="0 favours short captions (default: 0.7)")
    parser.add_argument(
        "--figure", metavar="FILE", help="save where the model looked at the first picture: .png, or .gif"
    )
    add_device(parser)
    return parser.parse_args(arguments)


def _draw(picture: Image.Image, trace: CaptionTrace, count: int, file: Path) -> None:
    """Saves where the model looked for the first `count` words, as a film (.gif) or as a figure."""
    words, maps = trace.words[:count], trace.maps[:count]
    shown = (picture, words, maps, trace.probabilities[:count])
    if file.suffix.lower() == ".gif":
        film = attention_film(*shown)
        film[0].save(file, save_all=True, append_images=film[1:], duration=900, loop=0)
    else:
        attention_figure(*shown).savefig(file)
    shares = maps.sum(-1)
    if not trace.occlusion and shares.min() < 0.99:  # a sentinel took the rest
        attention_mass(words, shares.tolist()).savefig(file.with_name(f"{file.stem}-looks.png"))


if __name__ == "__main__":
    try:
        main()
    except (ValueError, OSError) as error:
        sys.exit(str(error))
