"""A GPU's manners without a GPU: tensors that say they are on "cuda", are computed here, and tell who waits for them.

Comes in: a block of code, inside `with FakeDevice() as device:`. Goes out: an error where it mixes devices; in
`device.waits` how often which function of the library waited for the device, or made it wait. What it does not know:
what a GPU computes otherwise, autocast on one (it stays off here), CUDA graphs.

A wrapped tensor is a "meta" tensor to torch's C++, which needs no driver for that, and a "cuda" tensor to Python. Every
operation comes by `__torch_dispatch__`, in backward too, and is computed with the tensors inside.
"""

from __future__ import annotations

import contextlib
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

ROOT = Path(__file__).parents[1]
CUDA = torch.device("cuda", 0)
aten = torch.ops.aten

# The result's shape depends on numbers that are on the device; or a number itself comes to Python.
ASKING = {
    aten._local_scalar_dense,
    aten.bincount,
    aten.equal,
    aten.masked_select,
    aten.nonzero,
    aten.unique_consecutive,
    aten.unique_dim,
    aten._unique2,
}
INDEXING = {aten.index, aten.index_put, aten.index_put_, aten._index_put_impl_}


class OnDevice(torch.Tensor):
    """A tensor of the fake device; `inner` holds its numbers."""

    inner: Tensor

    @staticmethod
    def __new__(cls, inner: Tensor) -> OnDevice:
        shape = inner.size(), inner.stride(), inner.storage_offset()
        with torch.inference_mode(False):  # a view of a weight is no inference tensor there either
            own = torch.Tensor._make_wrapper_subclass(cls, *shape, dtype=inner.dtype, device="meta")
        own.inner = inner
        return own

    device = property(lambda self: CUDA)
    is_cuda = property(lambda self: True)
    is_cpu = is_meta = property(lambda self: False)
    __torch_function__ = torch._C._disabled_torch_function_impl

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        raise AssertionError(f"{func} outside of `with FakeDevice()`")

    def __repr__(self, **_: Any) -> str:
        return f"OnDevice({self.inner})"

    def tolist(self) -> Any:  # torch would look for the numbers itself
        return self.cpu().tolist()

    def numpy(self, **_: Any) -> Any:
        raise TypeError("can't convert cuda:0 device type tensor to numpy")


class FakeDevice(TorchDispatchMode):
    """While it is on, `device="cuda"` leads to the fake device."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: Counter[str] = Counter()  # "training/loop.py evaluate": how often

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        kwargs = dict(kwargs or {})
        if torch.is_inference_mode_enabled() and func._can_decompose():  # elsewhere autograd has done it before
            with self:
                return func.decompose(*args, **kwargs)
        tensors = [x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)]
        ours = [x for x in tensors if isinstance(x, OnDevice)]
        here = [x for x in tensors if not isinstance(x, OnDevice) and x.ndim]  # a number goes along with the launch
        kind, target = func.overloadpacket, kwargs.get("device")
        on_device = bool(ours) if target is None else torch.device(target).type != "cpu"
        if target is not None:
            kwargs["device"] = torch.device("cpu")
        if kind is aten._to_copy or kind is aten.copy_:
            from_device = isinstance(args[-1] if kind is aten.copy_ else args[0], OnDevice)
            to_device = isinstance(args[0], OnDevice) if kind is aten.copy_ else on_device
            asynchronous = kwargs.get("non_blocking") or (kind is aten.copy_ and len(args) > 2 and args[2])
            if from_device > to_device or (to_device > from_device and not asynchronous and tensors[-1].ndim):
                self.note()
        elif ours and here:
            raise AssertionError(f"{func} of tensors on two devices, in {place()}")
        elif ours and asks(func, args, kwargs):
            self.note()
        known = {id(x.inner): x for x in ours}  # what was changed in place is the tensor that it was
        args, kwargs = tree_map_only(OnDevice, lambda x: x.inner, (args, kwargs))
        result = func(*args, **kwargs)
        if not on_device:
            return result
        return tree_map_only(Tensor, lambda x: known[id(x)] if id(x) in known else OnDevice(x), result)

    def note(self) -> None:
        """The device was waited for."""
        self.waits[place()] += 1


def asks(func: Any, args: tuple, kwargs: dict) -> bool:
    """Whether an operation on the device cannot go on without numbers that are there."""
    if func.overloadpacket in INDEXING:
        return any(index is not None and index.dtype == torch.bool for index in args[1])
    if func is aten.repeat_interleave.Tensor:
        return kwargs.get("output_size") is None
    return func.overloadpacket in ASKING


def place() -> str:
    """The innermost function of the library that is running: "folder/file.py function"."""
    frame = sys._getframe(1)
    while frame := frame.f_back:
        file = Path(frame.f_code.co_filename)
        known = file.is_relative_to(ROOT) and file != Path(__file__) and ".venv" not in file.parts
        if known and not frame.f_code.co_name.startswith("<"):  # not of a generator or a lambda
            return f"{file.relative_to(ROOT).as_posix()} {frame.f_code.co_name}"
    return "elsewhere"


@contextlib.contextmanager
def fake_device(monkeypatch: Any) -> Iterator[FakeDevice]:
    """Inside, torch.device("cuda") is a fake one; its random numbers are the CPU's."""
    monkeypatch.setattr(torch.cuda, "_lazy_init", lambda: None)
    monkeypatch.setattr(torch.cuda, "get_rng_state", lambda device=None: torch.get_rng_state())
    monkeypatch.setattr(torch.cuda, "set_rng_state", lambda state, device=None: None)
    only_lift = torch._C._only_lift_cpu_tensors()
    torch._C._set_only_lift_cpu_tensors(True)  # torch.tensor(numbers, device="cuda:0"): here first, then moved
    try:
        with FakeDevice() as device:
            yield device
    finally:
        torch._C._set_only_lift_cpu_tensors(only_lift)
