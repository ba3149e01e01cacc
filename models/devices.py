"""Where to compute, and in which precision."""

from __future__ import annotations

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
