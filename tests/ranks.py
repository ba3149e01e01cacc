"""What each process of tests/training/test_world.py computes: torchrun … ranks.py DATASET OUT, or `results` alone.

Process 0 leaves what all have found together in OUT/<number of processes>.pt: tensors, numbers, words.
"""

import contextlib
import inspect
import sys
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import torch

from data_loader import Batch, Transform, get_loader
from dataset.loading import load_records
from decoding.beam import beam
from decoding.search import decode, greedy
from model import Captioner, Decoder, EncoderCNN
from models.checkpoint import RunCheckpoint
from models.decoders import DECODERS
from models.fast import kernels
from training import self_critical, world
from training.batch_norm import share_statistics
from training.loop import StepLoss, evaluate, fit
from training.optimization import TrainingConfig
from training.self_critical import SelfCritical
from vocabulary import Vocabulary

SIZES = {"word_size": 8, "hidden_size": 8, "attention_size": 8, "heads": 2, "dropout": 0.0}
CASES = [(name, {}, 1.0) for name in DECODERS] + [
    ("AttentionDecoder", {"attention": "uniform", "gate": True}, 1.0),  # some of its weights learn nothing
    ("SpatialDecoder", {}, 0.0),  # fed with its own words
]


class Course:
    """A tiny dataset, and models of it."""

    def __init__(self, dataset: str):
        self.records = {split: load_records(dataset, split) for split in ("train", "val")}
        self.vocabulary = Vocabulary(caption for record in self.records["train"] for caption in record.captions)

    def loader(self, split: str = "train", images: int = 5, **options):
        """Of six pictures: a batch of five, then of one, so that only one process has a picture."""
        how = {"transform": Transform(32), "images_per_batch": images, "share": world.share()}
        return get_loader(self.records[split], self.vocabulary, **(how | options))

    def captioner(self, kind: type[Decoder], finetune: int | None, dtype: torch.dtype, **options: Any) -> Captioner:
        torch.manual_seed(3)
        encoder = EncoderCNN("small", image_size=32, grid=2, finetune=finetune)
        known = {k: v for k, v in SIZES.items() if k in inspect.signature(kind).parameters}
        return Captioner(encoder, kind(len(self.vocabulary), encoder.feature_size, **known, **options)).to(dtype)


def steps(model: Captioner, loader, config: TrainingConfig, ratio: float, extra: Any = None) -> list[torch.Tensor]:
    """Loss and gradients of every batch of an epoch, by the fast kernels."""
    share_statistics(model, torch.device("cpu"))
    loss_of = world.replicated(StepLoss(model, config, torch.Generator(), extra))
    found = []
    with kernels(model.train()):
        for batch in loader:
            model.zero_grad(set_to_none=True)
            loss, nll = loss_of(batch, world.total(len(batch.targets)), ratio)
            loss.backward()
            found += [world.total(loss.detach()) / world.size(), world.total(nll)]
            gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in model.parameters()]
            found.append(torch.cat([gradient.flatten() for gradient in gradients]))
    return found


def drawn_alike(decoder, features, num_samples: int, **options):
    """Instead of captions at random, as many times the likeliest: the same for any number of processes."""
    return [caption for caption in greedy(decoder, features, **options) for _ in range(num_samples)]


def losses_and_gradients(course: Course, dtype: torch.dtype) -> dict[str, list[torch.Tensor]]:
    """Of every decoder; of an encoder with batch-norm that learns as a whole; of the model's own captions."""
    found = {}
    for name, options, ratio in CASES:
        model = course.captioner(DECODERS[name], 0, dtype, **options)
        batch: Batch = next(iter(course.loader(images=6, share=(0, 1))))
        penalty = 0.7 if model(batch)[1] is not None else 0.0
        config = TrainingConfig(attention_penalty=penalty, label_smoothing=0.1)
        key = f"{name} {options} {ratio}"
        found[key] = steps(model, course.loader(), config, ratio)
    attend = DECODERS["AttentionDecoder"]
    found["batch-norm"] = steps(course.captioner(attend, None, dtype), course.loader(), TrainingConfig(), 1.0)
    told = {}

    def by_turns(image: int, words: Any) -> float:  # of equal captions the first counts most
        told[image] = told.get(image, 0) + 1
        return image / told[image]

    own = SelfCritical(by_turns, weight=2.0, samples=3, max_length=4)
    model = course.captioner(attend, 0, dtype)
    with mock.patch.object(self_critical, "sample", drawn_alike):
        found["own captions"] = steps(model, course.loader(captions_per_image=1), TrainingConfig(), 1.0, own)
    return found


class Stopped(Exception):
    """A run is interrupted."""


def trained(course: Course, kept: Path | None = None, steps: float = 99) -> dict[str, Any]:
    """A training with an encoder that learns, of three epochs of two steps: weights, history, captions of new pictures.

    `kept` is where a run goes on; it is stopped after so many steps, on all processes.
    """
    model = course.captioner(DECODERS["AttentionDecoder"], None, torch.float64)
    val = course.loader("val", shuffle=False)
    left = iter(range(int(steps)))

    def stop(*_: Any) -> None:
        if model.training and next(left, None) is None:
            raise Stopped

    model.encoder.register_forward_pre_hook(stop)
    how: dict[str, Any] = {"score": lambda model: float(len(world.everything(decode(model, val))))}
    if kept:
        how |= {"run_checkpoint": RunCheckpoint(kept, course.vocabulary), "save_every": 0}
    history = fit(model, course.loader(), val, TrainingConfig(epochs=3, learning_rate=0.01), **how)
    said = world.everything(decode(model, val, partial(beam, num_beams=3), max_length=12))
    return {
        "weights": model.state_dict(),
        "history": [{k: v for k, v in row.items() if k != "seconds"} for row in history],
        "perplexity": evaluate(model, val, torch.device("cpu")),
        "captions": {image: hypothesis.ids for image, hypothesis in sorted(said.items())},
        "scores": [hypothesis.score for _, hypothesis in sorted(said.items())],
    }


def results(dataset: str, out: str) -> dict[str, Any]:
    """All of it; and a run that one process begins, two go on with, and three end."""
    course, relay = Course(dataset), {}
    if world.size() == 3:
        relay = trained(course, Path(out) / "relay")
    else:
        with contextlib.suppress(Stopped):
            trained(course, Path(out) / "relay", steps=world.size())
    kinds = {"float64": torch.float64, "float32": torch.float32}
    found = {name: losses_and_gradients(course, dtype) for name, dtype in kinds.items()}
    return found | {"whole": trained(course), "relay": relay}


if __name__ == "__main__":
    with world.joined():
        found = results(*sys.argv[1:])
        if world.rank() == 0:
            torch.save(found, Path(sys.argv[2]) / f"{world.size()}.pt")
