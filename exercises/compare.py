"""Two results, the student's and the expected one: what is the difference, in one sentence?

Comes in: any two values. Goes out: None where they are the same, else a sentence, the most helpful one first: another
type, shape (expected and got), dtype, device, not a number, right up to a factor, a constant or the order, or the
largest difference and where it is. It is generous where a student is right in substance: a NumPy array will do for a
tensor and the other way round, a tensor of one number for a number, a tuple for a list, float64 for float32.
"""

from __future__ import annotations

import math
import reprlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

_shortener = reprlib.Repr()
_shortener.maxstring = _shortener.maxother = 40
_shortener.maxlist = _shortener.maxtuple = 8
_NAN_BY = "a logarithm of less than 0, or 0 divided by 0?"


def short(value: object) -> str:
    """A value as text of one line that fits in a sentence."""
    if isinstance(value, Tensor | np.ndarray):
        return f"{kind(value)} of shape {tuple(value.shape)}"
    if isinstance(value, float):
        return f"{value:.4g}"
    return " ".join(_shortener.repr(value).split())[:100]


def kind(value: object) -> str:
    """What a value is, with its article: "a tensor", "a list", "nothing (None)"."""
    if value is None:
        return "nothing (None)"
    if isinstance(value, Tensor):
        return "a tensor"
    if isinstance(value, np.ndarray):
        return "an array"
    name = type(value).__name__
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}"


def difference(got: Any, expected: Any, what: str = "the result", names: Sequence[str] = ()) -> str | None:
    """The sentence that tells `got` from `expected`; None if they are the same. `names`: those of a tuple's parts."""
    if isinstance(expected, Tensor) and expected.ndim == 0:
        expected = expected.item()
    if isinstance(expected, Tensor | np.ndarray):
        return _of_tensors(got, expected, what)
    if isinstance(expected, int | float):
        return _of_numbers(got, expected, what)
    if isinstance(expected, list | tuple):
        return _of_sequences(got, expected, what, names)
    if type(got) is not type(expected):
        return f"{what} should be {kind(expected)}, yours is {kind(got)}"
    return None if got == expected else f"{what} should be {short(expected)}, yours is {short(got)}"


def malformed(got: Any, expected: Any, names: Sequence[str] = ()) -> str | None:
    """The sentence if `got` has not the form of `expected`: a list, or so many lists; None if it has."""
    parts = [(got, expected, "the result")]
    if isinstance(got, list | tuple) and isinstance(expected, tuple) and len(got) == len(expected) == len(names):
        parts = list(zip(got, expected, names, strict=True))
    for own, right, what in parts:
        if isinstance(right, list) and not isinstance(own, list | tuple):
            return f"{what} should be {kind(right)}, yours is {kind(own)}"
    return None if len(parts) > 1 or not isinstance(expected, tuple) else difference(got, expected, names=names)


def _of_numbers(got: Any, expected: float, what: str) -> str | None:
    if isinstance(got, Tensor | np.ndarray) and math.prod(got.shape) == 1:
        got = got.item()
    if not isinstance(got, int | float | np.number | np.bool_):
        return f"{what} should be a number, yours is {kind(got)}"
    if math.isnan(got):
        return f"{what} is nan, not a number: {_NAN_BY}"
    if math.isclose(got, expected, rel_tol=1e-5, abs_tol=1e-6):
        return None
    if short(float(got)) == short(float(expected)):
        return f"{what} should be {expected:.9g}, yours is {got:.9g}: return it as it is, not rounded"
    return f"{what} should be {short(expected)}, yours is {short(got)}"


def _of_sequences(got: Any, expected: Sequence[Any], what: str, names: Sequence[str]) -> str | None:
    if not isinstance(got, list | tuple):
        if names:
            return f"{len(names)} results are asked, ({', '.join(names)}), yours is {kind(got)}"
        hint = _recipe(got, expected)
        return f"{what} should be {kind(expected)}, yours is {kind(got)}{hint}"
    if len(got) != len(expected):
        if names:
            return f"{len(names)} results are asked, ({', '.join(names)}), yours are {len(got)}"
        return (
            f"{what} should have length {len(expected)}, yours has {len(got)}: {short(expected)} against {short(got)}"
        )
    for place, pair in enumerate(zip(got, expected, strict=True)):
        name = names[place] if names else f"{what} at [{place}]"
        if sentence := difference(*pair, name):
            return sentence
    return None


def _recipe(got: Any, expected: Sequence[Any]) -> str:
    """How to make a list or tuple of a tensor that has all that is asked."""
    if not isinstance(got, Tensor | np.ndarray):
        return ""
    if any(isinstance(part, Tensor | np.ndarray) for part in expected):
        fits = got.ndim > 0 and difference(tuple(got), expected) is None
        return f"; {type(expected).__name__}(...) makes one of it" if fits else ""
    return "; .tolist() makes one"


def _of_tensors(got: Any, expected: Tensor | np.ndarray, what: str) -> str | None:
    """The same for tensors and arrays of numbers, in the words of the library of `expected`."""
    library = "torch." if isinstance(expected, Tensor) else ""
    if isinstance(got, np.ndarray) and got.dtype.kind in "biuf":
        got = torch.from_numpy(np.ascontiguousarray(got))
    if not isinstance(got, Tensor):
        return f"{what} should be {short(expected)}, yours is {kind(got)}"
    if isinstance(expected, np.ndarray):
        expected = torch.from_numpy(np.ascontiguousarray(expected))
    if got.shape != expected.shape:
        turned = got.ndim == 2 and got.shape == expected.shape[::-1]
        hint = ": rows and columns have changed places" if turned else ""
        return f"{what} should have shape {tuple(expected.shape)}, yours has {tuple(got.shape)}{hint}"
    if got.device != expected.device:
        return f"{what} should be on the device {expected.device}, where the inputs are, yours is on {got.device}"
    asked, found = _number_kind(expected, library), _number_kind(got, library)
    if asked != found:
        return f"{what} should hold {asked}, yours holds {found}"
    if got.is_complex():
        return None if torch.equal(got, expected) else f"{what} has other numbers than those expected"
    return _of_entries(got.detach().to_dense().double(), expected.detach().double(), what)


def _number_kind(tensor: Tensor, library: str) -> str:
    if tensor.dtype == torch.bool:
        return f"truth values ({library}bool)"
    if tensor.is_complex():
        return "complex numbers"
    return f"real numbers ({library}float32)" if tensor.is_floating_point() else f"whole numbers ({library}int64)"


def _of_entries(got: Tensor, expected: Tensor, what: str) -> str | None:
    """The same for two tensors of one shape, in float64."""
    if torch.allclose(got, expected, rtol=1e-4, atol=1e-5):
        return None
    if got.isnan().any():
        return f"{what} is nan at {got.isnan().nonzero()[0].tolist()}: {_NAN_BY}"
    if got.ndim == 2 and got.shape[0] == got.shape[1] and torch.allclose(got.T, expected, rtol=1e-4, atol=1e-5):
        return f"{what} is right but for rows and columns, which have changed places"
    if expected.numel() > 2 and expected.std() > 1e-6:
        factor, constant = (got / expected).nanmedian(), (got - expected).median()
        if abs(factor) > 1e-9 and torch.allclose(got, factor * expected, rtol=1e-4, atol=1e-5):
            return f"{what} is right up to a factor: every entry is {factor:.4g} times what it should be"
        if torch.allclose(got, expected + constant, rtol=1e-4, atol=1e-5):
            size, side = abs(constant), "large" if constant > 0 else "small"
            return f"{what} is right up to a constant: every entry is {size:.4g} too {side}"
        if torch.allclose(got.flatten().sort()[0], expected.flatten().sort()[0], rtol=1e-4, atol=1e-5):
            return f"{what} has the right numbers, but in another order"
    apart = (got - expected).abs()
    worst = np.unravel_index(int(apart.argmax()), tuple(apart.shape))
    place = [int(index) for index in worst]
    many = int((apart > 1e-5 + 1e-4 * expected.abs()).sum())
    return (
        f"{what} differs in {many} of {expected.numel()} entries, most at {place}: "
        f"{expected[worst].item():.4g} is expected, yours is {got[worst].item():.4g}"
    )
