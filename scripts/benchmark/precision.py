"""bf16 beside float32: the validation perplexity that each reaches on the drawn sample, three seeds each."""

from __future__ import annotations

import statistics

import torch

from models.devices import best_precision
from scripts.benchmark.table import Clock, show
from training.config import Config
from training.experiment import Runtime, prepare
from training.loop import fit


def precision(clock: Clock, quick: bool) -> None:
    """Trains the sample's own decoder on kept features, its encoder frozen, with and without bf16."""
    if best_precision(torch.device("cpu")) is None:
        print("this processor has no bf16 instructions: it would only be emulated")
        return
    reached: dict[torch.dtype | None, list[float]] = {None: [], torch.bfloat16: []}
    for seed in range(1 if quick else 3):
        for kind, perplexities in reached.items():
            perplexities.append(train(Config(seed=seed, epochs=1 if quick else Config.epochs), kind))
    rows = [
        [name, ", ".join(f"{x:.3f}" for x in xs), f"{statistics.mean(xs):.3f}", f"{max(xs) - min(xs):.3f}"]
        for name, xs in zip(("float32", "bf16"), reached.values(), strict=True)
    ]
    show("Validation perplexity on the sample, a frozen encoder", ("", "seeds", "mean", "spread"), rows)
    plain, short = (statistics.mean(xs) for xs in reached.values())
    print(f"\nthe means differ by {100 * abs(short / plain - 1):.2f} %")


def train(cfg: Config, kind: torch.dtype | None) -> float:
    """The best validation perplexity of one training."""
    experiment, model = prepare(cfg, Runtime(autocast=best_precision(torch.device("cpu"))))
    train_loader, val_loader = (experiment.loader(model.encoder, training) for training in (True, False))
    history = fit(model, train_loader, val_loader, cfg.training_config(), autocast=kind)
    return min(row["val_perplexity"] for row in history)
