"""Where memory does not suffice, one sentence says what to do; other errors stay what they are."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from model import EncoderCNN
from models.devices import memory_explained
from training.config import Config, override

ASK = """
import resource, torch
from models.devices import memory_explained
resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))
try:
    with memory_explained("take less"):
        {ask}
except OSError as error:
    print(error)
"""


@pytest.mark.parametrize(
    "ask",
    [
        "torch.zeros(1 << 33)",
        "bytearray(1 << 34)",
        "torch.nn.functional.conv2d(torch.zeros(1, 3, 9000, 9000), torch.zeros(64, 3, 3, 3))",
    ],
)
def test_a_lack_of_memory_is_one_sentence(ask):
    answer = subprocess.run(
        [sys.executable, "-c", ASK.format(ask=ask)], capture_output=True, text=True, cwd=Path(__file__).parents[2]
    )
    assert answer.stdout == "this computer's memory does not suffice for this: take less\n", answer.stderr[-500:]


def test_other_errors_stay_what_they_are():
    with pytest.raises(RuntimeError, match="size of tensor"), memory_explained("take less"):
        torch.zeros(2) + torch.zeros(3)
    with (
        pytest.raises(OSError, match="the GPU's memory does not suffice for this: take less"),
        memory_explained("take less"),
    ):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")


def test_a_size_that_a_network_cannot_look_at_is_named():
    with pytest.raises(ValueError, match="alexnet cannot look at pictures of 16 pixels: "):
        EncoderCNN("alexnet", image_size=16)


@pytest.mark.parametrize(("name", "meant"), [("batch_size", "images-per-batch"), ("lr", "learning-rate")])
def test_other_names_of_a_setting_are_understood(name, meant):
    with pytest.raises(ValueError, match=f"did you mean --{meant}"):
        override(Config(), {name: "8"})
