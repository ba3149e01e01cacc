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

import torch

from data_loader import Transform
from dataset.coco import open_image
from decoding.search import beam, greedy
from decoding.trace import Exploration
from figures import plots, visualize
from model import best_device
from models import checkpoint
from scripts.arguments import add_device


def main(arguments: list[str] | None = None) -> None:
    """Reads the command line and captions; exits with 1 if a picture could not be read."""
    parser = argparse.ArgumentParser(prog="python -m scripts.caption", description=__doc__.split("\n\n")[0])
    parser.add_argument("pictures", nargs="+", metavar="PICTURE", help="JPEG, PNG, … of any size")
    parser.add_argument("--checkpoint", default="runs/sample/model", help="a folder (default: runs/sample/model)")
    parser.add_argument("--num-beams", type=int, default=5, help="beam width; 1: greedy (default: 5)")
    parser.add_argument("--length-penalty", type=float, default=0.7, help="0 favours short captions (default: 0.7)")
    parser.add_argument(
        "--figure", metavar="FILE", help="save where the model looked at the first picture: .png, or .gif"
    )
    add_device(parser)
    options = parser.parse_args(arguments)
    if options.num_beams < 1:
        parser.error("--num-beams must be 1 or more")
    device = best_device(options.device)
    captioner = checkpoint.load(options.checkpoint, device)
    model, vocabulary, longest = captioner.model, captioner.vocabulary, captioner.max_length
    transform = Transform(model.encoder.image_size)
    unread = 0
    for path in options.pictures:
        try:
            picture = open_image(path)
        except (ValueError, OSError) as error:
            print(error, file=sys.stderr)
            unread += 1
            continue
        with torch.inference_mode():
            regions = model.encoder(transform(picture).unsqueeze(0).to(device))
        if options.num_beams == 1:
            (said,) = greedy(model.decoder, regions, max_length=longest)
        else:
            how = {"num_beams": options.num_beams, "length_penalty": options.length_penalty}
            (said,) = beam(model.decoder, regions, max_length=longest, **how)
        words = [vocabulary.words[i] for i in said.ids if i != vocabulary.end]
        print(f"{Path(path).name}: {' '.join(words)}   (p = {math.exp(sum(said.logprobs)):.3f})")
        if options.figure:
            if not words:
                sys.exit(f"{options.checkpoint} says nothing of {path}: there is no map to draw; train it longer")
            trace, file = Exploration(captioner, picture).read(said.ids), Path(options.figure)
            shown = (picture, words, trace.maps[: len(words)], trace.probabilities[: len(words)])
            if file.suffix.lower() == ".gif":
                film = visualize.attention_film(*shown)
                film[0].save(file, save_all=True, append_images=film[1:], duration=900, loop=0)
            else:
                visualize.attention_figure(*shown).savefig(file)
            shares = trace.maps[: len(words)].sum(-1)
            if trace.occlusion:
                print(f"{options.checkpoint} has no attention: {file} shows what it needs to see (occlusion)")
            elif shares.min() < 0.99:  # a sentinel took the rest
                plots.attention_mass(words, shares.tolist()).savefig(file.with_name(f"{file.stem}-looks.png"))
            options.figure = None
    if unread:
        sys.exit(1)


if __name__ == "__main__":
    try:
        main()
    except (ValueError, OSError) as error:
        sys.exit(str(error))
