"""The processes that torchrun started, each with a part of the work; without torchrun this one process, alone.

Comes in: torchrun's environment, and what each process has of a result. Goes out: what all of them have together, the
same in each. What it does not know: models' insides, batches, files. Alone, every function gives back what it was
given, and nothing of torch.distributed is touched.

Process 0 alone speaks and writes. Of processes that fail, one says why.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch.nn.parallel import DistributedDataParallel

PATIENCE = timedelta(days=1)  # one process may work while the others wait; torchrun sees by itself if it ends
ENDED = "another process of this run has ended, so this one stops; the same command goes on from the last save"

Key = TypeVar("Key")
Value = TypeVar("Value")
Number = TypeVar("Number", int, float, Tensor)  # a float is added up in float64


def rank() -> int:
    """This process's number, from 0."""
    return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0


def size() -> int:
    """How many processes there are."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def share() -> tuple[int, int]:
    """Which part of the work is this process's: the `rank`-th of every `size` pieces."""
    return rank(), size()


# ------------------------------------------------------------------------------------------- what all have together


def total(number: Number) -> Number:
    """The sum of all processes' numbers, or of their tensors of one shape."""
    if size() == 1:
        return number
    if isinstance(number, Tensor):
        summed = number.detach().clone()
        dist.all_reduce(summed)
        return summed
    summed = torch.tensor(number, dtype=torch.int64 if isinstance(number, int) else torch.float64)
    dist.all_reduce(summed)
    return type(number)(summed.item())


def weight_of(count: int) -> float:
    """By how much this process's mean of `count` things is multiplied, so that the mean over processes, which is what
    the gradient is, becomes that over all their things: alone by 1."""
    return 1.0 if size() == 1 else count * size() / max(total(count), 1)


def everything(own: Mapping[Key, Value]) -> dict[Key, Value]:
    """The entries of all processes' dicts, process 0's first."""
    if size() == 1:
        return dict(own)
    parts: list[Any] = [None] * size()
    dist.all_gather_object(parts, dict(own))
    return {key: value for part in parts for key, value in part.items()}


def check_same(what: Any, otherwise: str) -> None:
    """ValueError with the sentence `otherwise` unless all processes have the same."""
    if len(set(everything({rank(): what}).values())) > 1:
        raise ValueError(otherwise)


@contextlib.contextmanager
def first() -> Iterator[None]:
    """Process 0 is inside before the others, which then find what it made."""
    if rank() > 0:
        total(0)
    yield
    if rank() == 0:
        total(0)


# -------------------------------------------------------------------------------------------------------- the model


def replicated(step: nn.Module) -> nn.Module:
    """The module whose forward is a whole training step's loss, with gradients averaged over all processes.

    Not every parameter is in every loss: a process may have no picture of a batch. That DDP looks for those also keeps
    it from regrouping gradients after its first step; a run that goes on would then add them up in another order.
    """
    if size() == 1:
        return step
    kind = next(step.parameters()).device.type
    if kind not in ("cpu", "cuda"):
        raise ValueError(f"several processes compute on CPUs or CUDA's GPUs, not on {kind}: take --device cpu")
    return DistributedDataParallel(step, find_unused_parameters=True)


def reseed(seed: int, step: int, *generators: torch.Generator) -> None:
    """Random numbers of this process and this step alone, for torch and for generators on the CPU.

    Alone, they go on as they are. Of several processes none must drop what the others drop, and a run that goes on
    with another number of them finds no state of theirs.
    """
    if size() > 1:
        number = int(np.random.SeedSequence((seed, step, rank())).generate_state(1, np.uint64)[0])
        torch.manual_seed(number)
        for generator in generators:
            generator.manual_seed(number)


# ----------------------------------------------------------------------------------------------- beginning and end


@contextlib.contextmanager
def joined() -> Iterator[None]:
    """Inside, this process is one of those that torchrun started; without torchrun, or of one, nothing changes.

    Each takes the GPU of its number on its machine. Raises ValueError if there are more processes than GPUs.
    """
    if not (dist.is_available() and dist.is_torchelastic_launched()) or os.environ["WORLD_SIZE"] == "1":
        yield
        return
    gpus, place = torch.cuda.device_count(), int(os.environ["LOCAL_RANK"])
    if gpus and place >= gpus:
        raise ValueError(
            f"torchrun starts more processes than this machine has GPUs: take --nproc-per-node {gpus}, or set "
            "CUDA_VISIBLE_DEVICES= to compute on its processors"
        )
    if gpus:
        torch.cuda.set_device(place)
    store, number, processes = next(dist.rendezvous("env://", timeout=PATIENCE))
    backend = "cpu:gloo,cuda:nccl" if gpus else "gloo"
    dist.init_process_group(backend, store=store, rank=number, world_size=processes, timeout=PATIENCE)
    if not gpus:  # a process that waits for its GPU can say nothing, and ends at once
        signal.signal(signal.SIGTERM, _stopped)
    try:
        with _silent(number > 0):
            yield
            total(0)  # the last one ends the run
    except BaseException as error:
        if isinstance(error, SystemExit) and not error.code:  # --help
            raise
        of_gloo = isinstance(error, RuntimeError) and "gloo" in str(error)  # it has no error of its own
        lost = of_gloo or isinstance(error, _Stopped | dist.DistError)
        if not _speaks(store, lost):
            sys.exit(1)
        if lost:
            sys.exit(ENDED)
        raise
    dist.destroy_process_group()


class _Stopped(BaseException):
    """torchrun stops this process."""


def _stopped(*_: Any) -> None:
    """What a SIGTERM does: a worker that reads pictures ends, the process says why."""
    if torch.utils.data.get_worker_info():
        os._exit(1)
    raise _Stopped


@contextlib.contextmanager
def _silent(silent: bool) -> Iterator[None]:
    """Nothing that is printed inside is seen; errors that leave it are."""
    if not silent:
        yield
        return
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(nowhere):
        yield


def aloud(text: str) -> None:
    """Print what only this process knows, be it silent otherwise."""
    print(text, file=sys.__stdout__ if rank() else None, flush=True)


def _speaks(store: dist.Store, lost: bool) -> bool:
    """True for one of the processes that fail: process 0, if all fail alike; one that has `lost` another, only if that
    did not say why."""
    try:
        if rank() > 0 and not lost:
            with contextlib.suppress(dist.DistError):
                store.wait(["why"], timedelta(seconds=3))
        return store.add("why", 1) == 1
    except RuntimeError:  # torchrun itself has ended
        return not lost
