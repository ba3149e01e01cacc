"""Lists the presets: python -m scripts.presets

A line for each: encoder and grid, decoder, how many numbers there are to learn, and how it is trained. Nothing is
downloaded; the encoders are built without weights.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import torch

from model import EncoderCNN
from models.decoders import DECODERS
from training.presets import PRESETS

WORDS = 10_000  # about COCO's vocabulary; the decoders' sizes depend on it


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(prog="python -m scripts.presets", description=(__doc__ or "").split("\n\n")[0])
    parser.parse_args(arguments)
    print(f"{'preset':17}{'encoder':16}{'regions':>13}  {'decoder':20}{'encoder':>9}{f'decoder ({WORDS:,} words)':>24}")
    for name, settings in PRESETS.items():
        encoder = EncoderCNN(**settings.encoder_options() | {"weights": None})
        with torch.device("meta"):
            decoder = DECODERS[settings.decoder](WORDS, encoder.feature_size, **settings.decoder_options())
        side = round(encoder.regions**0.5)
        grid = f"{side} x {side} x {encoder.feature_size}"
        learns = "frozen" if encoder.frozen else f"{numbers(encoder):.1f} M"
        print(f"{name:17}{settings.encoder:16}{grid:>13}  {settings.decoder:20}{learns:>9}{numbers(decoder):>22.1f} M")


def numbers(module: torch.nn.Module) -> float:
    """Millions of numbers that learn."""
    return sum(p.numel() for p in module.parameters() if p.requires_grad) / 1e6


if __name__ == "__main__":
    main()
