"""What the benchmark claims: the textbook it carries computes the same as the library, so that only speed differs."""

import os
import re
import subprocess
import sys
import time

import pytest
import torch
from torch.nn import functional as F

from decoding.beam import beam
from model import AttentionDecoder, Decoder, DecoderRNN
from models.checkpoint import Checkpoint
from models.show_attend_tell import ShowAttendTell
from scripts.benchmark.__main__ import main
from scripts.benchmark.busy import busy
from scripts.benchmark.captioning import decided, random_regions
from scripts.benchmark.exploring import costs
from scripts.benchmark.gpu import gpu
from scripts.benchmark.learning import random_batch
from scripts.benchmark.table import compare
from scripts.benchmark.textbook import textbook_beam, textbook_loss

TINY = {"regions": 9, "features": 7, "words": 30}


def both(model: Decoder, batch, dtype: torch.dtype) -> list[tuple[torch.Tensor, list[torch.Tensor]]]:
    """Loss and gradients of the library's forward and of the textbook loop."""
    model, images = model.to(dtype), batch.features.to(dtype)
    results = []
    for ours in (True, False):
        if ours:
            loss = F.cross_entropy(model(images, batch.inputs, batch.image_of)[0], batch.targets)
        else:
            loss = textbook_loss(model, images[batch.image_of], batch.captions, batch.lengths)
        results.append((loss, torch.autograd.grad(loss, list(model.parameters()))))
    return results


CASES = [
    *((DecoderRNN, {"cell": c}) for c in ("rnn", "gru", "lstm")),
    *((AttentionDecoder, {"cell": c, "attention": a}) for c in ("rnn", "gru", "lstm") for a in ("additive", "dot")),
    (AttentionDecoder, {"cell": "gru", "attention": "dot", "gate": True, "project": 5}),
    (ShowAttendTell, {}),
]


@pytest.mark.parametrize(
    ("kind", "options"), CASES, ids=[f"{k.__name__} {' '.join(map(str, o.values()))}" for k, o in CASES]
)
@pytest.mark.parametrize(("images", "captions"), [(4, 1), (3, 4)])
def test_loss_and_gradients_are_those_of_the_textbook_loop(kind, options, images, captions):
    batch = random_batch(images, captions, longest=6, shortest=1, **TINY)
    for dtype, tolerance in ((torch.float64, 1e-9), (torch.float32, 1e-4)):
        torch.manual_seed(0)
        sizes = {} if kind is DecoderRNN else {"attention_size": 4}
        model = kind(30, 7, word_size=5, hidden_size=6, dropout=0.0, **sizes, **options)
        (ours, our_gradients), (theirs, their_gradients) = both(model, batch, dtype)
        assert abs(ours - theirs) / theirs < tolerance
        for (name, _), a, b in zip(model.named_parameters(), our_gradients, their_gradients, strict=True):
            # attention's bias of keys moves all scores of "dot" alike: its gradient is zero but for rounding
            assert (a - b).norm() <= tolerance * max(b.norm(), 1e-3), name


def test_the_beam_finds_the_textbooks_captions():
    decoder = decided(sharpness=8.0, features=16, size=16, words=60)
    regions = random_regions(6, regions=9, features=16)
    lengths = set()
    for options in ({"min_length": 1, "max_length": 12}, {"min_length": 4, "max_length": 6}):
        options |= {"num_beams": 3, "length_penalty": 0.7}
        found = [h.ids for h in beam(decoder, regions, **options)]
        assert found == textbook_beam(decoder, regions, **options)
        lengths |= set(map(len, found))
    assert len(lengths) > 1


def test_a_comparison_is_a_ratio_per_unit_of_work(capsys):
    now = iter(range(0, 1000, 3))
    faster = compare("title", {"a": int, "b": int}, {"a": 1, "b": 2}, 3, lambda: float(next(now)), "images")
    assert faster == {"a": 1.0, "b": 2.0}
    assert "| b " in capsys.readouterr().out


def test_the_explorers_costs_are_medians_of_every_move_and_caption(captioner, vocabulary, records):
    ticks = iter(range(10**6))
    shown = Checkpoint(captioner(), vocabulary, {})
    slide, caption = costs(shown, records["val"], lambda: float(next(ticks)), moves=5)
    assert (slide, caption) == (1.0, 1.0) and next(ticks) == 2 * (5 + 3)  # each was timed once, and nothing else


def test_the_gpus_benchmark_runs_small(capsys):
    gpu(None, quick=True)
    said = capsys.readouterr().out
    assert "captions a second" in said and not re.search(r"\b0 (images|captions) a second", said)


@pytest.mark.parametrize("module", ["scripts", "figures"])
def test_threads_that_wait_for_others_soon_sleep(module):
    look = f"import {module}, os, sys; print(os.environ['GOMP_SPINCOUNT'], 'torch' in sys.modules)"
    inherited = {key: value for key, value in os.environ.items() if key != "GOMP_SPINCOUNT"}
    for own, expected in ({}, "3000 False"), ({"GOMP_SPINCOUNT": "7"}, "7 False"):
        told = subprocess.run(
            [sys.executable, "-c", look], env=inherited | own, capture_output=True, text=True, check=True
        )
        assert told.stdout.strip() == expected


def test_a_step_is_measured_beside_other_programs(capsys):
    busy(time.perf_counter, quick=True)
    assert re.search(r"a busy program on each core \| [\d.]+ +\| [\d.]+", capsys.readouterr().out)


def test_unknown_parts_of_the_benchmark_are_refused():
    with pytest.raises(SystemExit, match="unknown part 'trainig': take one of training, decoding"):
        main(["trainig"])
