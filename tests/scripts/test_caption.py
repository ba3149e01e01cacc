"""scripts.caption: how often it runs the networks for what it prints and draws."""

from collections import Counter

import pytest
import torch
from PIL import Image
from torch.nn.modules.module import register_module_forward_hook

from decoding.trace import PATCHES
from model import EncoderCNN
from models import checkpoint
from scripts import caption


@pytest.fixture
def calls():
    """How often an encoder, and a decoder's `forward`, has run."""
    counts = Counter()

    def count(module, given, result) -> None:
        if isinstance(module, EncoderCNN):
            counts["pictures"] += len(given[0])
        elif hasattr(module, "prepare"):
            counts["decoder"] += 1

    handle = register_module_forward_hook(count)
    yield counts
    handle.remove()


@pytest.fixture
def command(captioner, vocabulary, records, tmp_path, monkeypatch):
    """Runs scripts.caption on one picture, with a tiny captioner: `command(attention, *options)`."""
    monkeypatch.chdir(tmp_path)

    def run(attention: str, *options: str) -> None:
        model = captioner(attention=attention)
        with torch.no_grad():
            model.decoder.lm_head.bias[vocabulary.end] = -1e9  # so that there are words to draw
        checkpoint.save("model", model, vocabulary, {"settings": {"caption_words": 5}})
        caption.main([str(records["test"][0].path), "--checkpoint", "model", *options])

    return run


@pytest.mark.parametrize("num_beams", ["1", "3"])
@pytest.mark.parametrize("file", ["look.png", "look.gif"])
def test_a_picture_is_encoded_once_and_the_figure_shows_what_decoding_saw(command, calls, file, num_beams):
    command("additive", "--figure", file, "--num-beams", num_beams)
    assert Image.open(file).width > 100
    assert calls == {"pictures": 1}, "encoded once, and not read by the decoder again"


def test_occlusion_is_computed_only_for_a_figure(command, calls):
    command("none")
    assert calls == {"pictures": 1}
    command("none", "--figure", "look.png")
    assert calls == {"pictures": 1 + 1 + PATCHES**2, "decoder": 1} and Image.open("look.png").width > 100
