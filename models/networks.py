"""What a network is before it becomes an encoder, and its weights in a file.

Comes in: a file. Goes out: tensors by name; and back. What it does not know: which networks there are.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from dataset import files

INTERPOLATIONS = ("bilinear", "bicubic", "lanczos", "nearest")  # how a picture may be resized


class Network(NamedTuple):
    """Blocks that turn normalised pictures (N, 3, H, W) into a grid (N, E, height, width)."""

    blocks: nn.Sequential
    mean: tuple[float, ...]  # of red, green and blue, 0 to 1, or one number for all three
    std: tuple[float, ...]
    image_size: int  # pixels a side, where nothing else is asked for
    interpolation: str = "bilinear"  # how its training pictures were resized
    parts: list[list[nn.Parameter]] | None = None  # what may learn apart from the rest, in order; None: each block


def check_file(path: Path, name: str, known: str = "") -> None:
    """FileNotFoundError if a network's weights are not there; the arguments as `read_weights`'."""
    if not path.is_file():
        raise FileNotFoundError(f"weights {str(path)!r} for {name}: no such file{known}")


def read_weights(path: Path, name: str, known: str = "") -> dict[str, Tensor]:
    """A state dict, tensors by name, from a file of torch or safetensors; nothing in it is run.

    `name` is the network's, for messages; `known` ends the one for a missing file (FileNotFoundError). ValueError for a
    file that is something else.
    """
    check_file(path, name, known)
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception:  # both raise what they like for what is not theirs
        state = None
    if not isinstance(state, dict) or not all(isinstance(key, str) for key in state):
        raise ValueError(f"{path}: not a state dict, tensors by name, that torch can load safely (weights_only=True)")
    return state


def encoder_of(folder: Path) -> dict[str, Tensor]:
    """The state of the encoder in a checkpoint's folder. FileNotFoundError, ValueError if it is none."""
    state = read_weights(folder / "model.safetensors", "an encoder")
    own = {key.removeprefix("encoder."): value for key, value in state.items() if key.startswith("encoder.")}
    if not own:
        raise ValueError(f"{folder}: a checkpoint without an encoder")
    return own


def save_weights(network: nn.Module, path: str | Path) -> None:
    """A network's weights into a file that `read_weights` reads, whole or not at all; OSError says what to do."""
    content = io.BytesIO()
    torch.save(network.state_dict(), content)
    files.write(path, content.getvalue())
