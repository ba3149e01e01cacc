"""Where to compute, in which precision, and what to do where memory does not suffice.

Comes in: a device's name. Goes out: the device; for its lack of memory one sentence. It knows no models.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch


def best_device(name: str = "auto") -> torch.device:
    """The device called `name`; "auto" takes the first there is of cuda, mps, cpu."""
    if name != "auto":
        return torch.device(name)
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def best_precision(device: torch.device) -> torch.dtype | None:
    """bfloat16 for autocast where the hardware multiplies it fast, else None: stay in float32."""
    if device.type == "cuda":
        fast = torch.cuda.is_bf16_supported()
    else:  # oneDNN emulates bfloat16 on any processor, slower than float32: ask for the instructions themselves
        fast = device.type == "cpu" and getattr(torch.cpu, "_is_avx512_bf16_supported", bool)()
    return torch.bfloat16 if fast else None


@contextlib.contextmanager
def memory_explained(advice: str) -> Iterator[None]:
    """Where memory does not suffice for what is inside, an OSError with one sentence that ends with the advice."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        # torch has an error of its own for a GPU's memory, for other devices' only its text tells
        known = isinstance(error, MemoryError | torch.OutOfMemoryError)
        if not known and not any(
            text in str(error) for text in ("allocate memory", "not enough memory", "out of memory")
        ):
            raise
        where = "the GPU's memory" if isinstance(error, torch.OutOfMemoryError) else "this computer's memory"
        raise OSError(f"{where} does not suffice for this: {advice}") from None
