"""Encoder pre-training: which words fit a picture?

Comes in: an encoder and batches of pictures with captions. Goes out: the same encoder, having learned to see what
people name. What it does not know: word order, sentences, files.

A captioner that learns its CNN from scratch spends a long time talking fluently about nothing: grammar is learned
within minutes, and its errors teach the CNN little. So the encoder first learns an easier thing from the same
captions: to tell, for each word of the vocabulary, whether anybody said it of this picture. A word fits a picture if
it fits one of its regions (multiple-instance learning, Maron & Lozano-Pérez 1998), so the regions learn *where*, too,
though nobody told them. Fang et al. 2015, "From Captions to Visual Concepts and Back", section 3, build their captions
on such a detector; there all regions count, by a noisy OR.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dataset.progress import shown
from model import EncoderCNN
from training.loop import BatchLoader
from training.optimization import TrainingConfig
from vocabulary import SPECIALS


class WordDetector(nn.Module):
    """An encoder and one linear layer: a score for every word in every region, and its maximum over the regions."""

    def __init__(self, encoder: EncoderCNN, vocabulary_size: int):
        super().__init__()
        self.encoder = encoder
        self.words = nn.Linear(encoder.feature_size, vocabulary_size)
        nn.init.constant_(self.words.bias, -3.0)  # most words do not fit most pictures

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Pictures (N, 3, H, W) uint8 -> scores of words (N, V) and of words in regions (N, R, V): logits."""
        in_regions = self.words(self.encoder(images))
        return in_regions.amax(1), in_regions


def multi_hot_targets(captions: Tensor, image_of: Tensor, images: int, vocabulary_size: int) -> Tensor:
    """Who said what: (B, T) ids, (B,) rows -> (N, V), 1 where one of the picture's captions holds the word."""
    said = torch.zeros(images, vocabulary_size, device=captions.device)
    pictures = image_of.to(captions.device, non_blocking=True)
    said[pictures.unsqueeze(1).expand_as(captions), captions] = 1.0
    said[:, : len(SPECIALS)] = 0.0  # <pad>, <start>, <end>, <unk>: no picture shows them
    return said


def fit_detector(
    detector: WordDetector,
    loader: BatchLoader,
    *,
    epochs: int,
    learning_rate: float = 6e-3,
    weight_decay: float = 0.05,
    seed: int = 0,
    device: torch.device | str = "cpu",
    autocast: torch.dtype | None = None,
    after_epoch: Callable[[dict[str, Any]], None] | None = None,
) -> list[dict[str, Any]]:
    """Train detector and encoder; return the history: epoch, loss (binary cross-entropy per word), seconds.

    Raises FloatingPointError if the loss is no longer a number.
    """
    device = torch.device(device)
    detector.to(device).train()
    optimizer = torch.optim.AdamW(detector.parameters(), lr=learning_rate, weight_decay=weight_decay, fused=True)
    torch.manual_seed(seed)
    schedule, steps, step = TrainingConfig(warmup=0.1), epochs * len(loader), 0
    history: list[dict[str, Any]] = []
    for epoch in range(epochs):
        began, total = time.perf_counter(), 0.0
        loader.set_epoch(epoch)
        for batch in shown(loader, f"pre-training, epoch {epoch + 1} of {epochs}"):
            step += 1
            for group in optimizer.param_groups:
                group["lr"] = learning_rate * schedule.lr_factor(step / (steps + 1))
            batch = batch.to(device)
            with torch.autocast(device.type, autocast, enabled=autocast is not None):
                scores, _ = detector(batch.pixels)
            said = multi_hot_targets(batch.captions, batch.image_of, *scores.shape)
            loss = F.binary_cross_entropy_with_logits(scores.float(), said)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            total += loss.item()
        if not math.isfinite(total):
            raise FloatingPointError(
                f"encoder pre-training: the loss is not a number in epoch {epoch + 1}: lower the learning rate"
            )
        history.append({"epoch": epoch + 1, "loss": total / len(loader), "seconds": time.perf_counter() - began})
        if after_epoch is not None:
            after_epoch(history[-1])
    detector.eval()
    return history
