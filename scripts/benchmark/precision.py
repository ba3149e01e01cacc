"""bf16 beside float32: the validation perplexity that each reaches on the drawn sample, three seeds each."""

from __future__ import annotations

import dataclasses
import statistics

import torch

from data_loader import get_loader
from model import Captioner, EncoderCNN
from models.decoders import DECODERS
from models.devices import best_precision
from scripts.benchmark.table import Clock, show
from scripts.train import home_of, learn_to_see, pictures, records_of, words_of
from training import config
from training.loop import fit


def precision(clock: Clock, quick: bool) -> None:
    """Trains the sample's own decoder on kept features, its encoder frozen, with and without bf16."""
    if best_precision(torch.device("cpu")) is None:
        print("this processor has no bf16 instructions: it would only be emulated")
        return
    reached: dict[torch.dtype | None, list[float]] = {None: [], torch.bfloat16: []}
    for seed in range(1 if quick else 3):
        for kind, perplexities in reached.items():
            perplexities.append(train(config.Config(seed=seed, epochs=1 if quick else config.Config.epochs), kind))
    rows = [
        [name, ", ".join(f"{x:.3f}" for x in xs), f"{statistics.mean(xs):.3f}", f"{max(xs) - min(xs):.3f}"]
        for name, xs in zip(("float32", "bf16"), reached.values(), strict=True)
    ]
    show("Validation perplexity on the sample, a frozen eye", ("", "seeds", "mean", "spread"), rows)
    plain, short = (statistics.mean(xs) for xs in reached.values())
    print(f"\nthe means differ by {100 * abs(short / plain - 1):.2f} %")


def train(cfg: config.Config, kind: torch.dtype | None) -> float:
    """The best validation perplexity of one training."""
    torch.manual_seed(cfg.seed)
    cpu = torch.device("cpu")
    train, val = records_of(cfg)
    vocabulary, home = words_of(cfg, train), home_of(cfg.dataset)
    path = home / "small_cnn.pth"
    if not path.exists():
        learn_to_see(train, vocabulary, cfg, path, cpu, best_precision(cpu))
    encoder = EncoderCNN(**dataclasses.replace(cfg, weights=str(path)).encoder_options())
    model = Captioner(encoder, DECODERS[cfg.decoder](len(vocabulary), encoder.feature_size, **cfg.decoder_options()))
    loaders = [
        get_loader(
            records,
            vocabulary,
            **pictures(records, encoder, home, best_precision(cpu)),
            images_per_batch=cfg.images_per_batch,
            captions_per_image=cfg.captions_per_image if learns else 5,
            max_words=cfg.caption_words,
            shuffle=learns,
            seed=cfg.seed,
        )
        for learns, records in ((True, train), (False, val))
    ]
    history = fit(model, *loaders, cfg.training_config(), autocast=kind)
    return min(row["val_perplexity"] for row in history)
