"""A student's function is run so that nothing it does gets out: no exception, changed input or setting, endless loop.

Comes in: a function and its arguments. Goes out: an `Outcome`, with its value or one sentence that says what happened
and in which line of the student's own function. What it does not know: tasks, and what would have been right.
"""

from __future__ import annotations

import ast
import copy
import inspect
import linecache
import random
import signal
import textwrap
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import CodeType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

YOUR_TURN = "your turn"  # what the NotImplementedError of a stub says
SECONDS = 5.0  # for one call on a small input, where nothing else is said


SETTINGS: dict[str, tuple[Callable[[], Any], Callable[[Any], Any]]] = {
    "torch.set_grad_enabled": (torch.is_grad_enabled, torch.set_grad_enabled),
    "torch.set_default_dtype": (torch.get_default_dtype, torch.set_default_dtype),
    "torch.set_default_device": (
        torch.get_default_device,
        lambda device: torch.set_default_device(None if device == torch.device("cpu") else device),
    ),
    "torch.set_num_threads": (torch.get_num_threads, torch.set_num_threads),
    "np.seterr": (np.geterr, lambda errors: np.seterr(**errors)),
}


class OutOfTime(BaseException):
    """The function was still running when its time was over; no Exception, so that `except Exception` lets it pass."""


@dataclass(frozen=True)
class Outcome:
    """What became of one call."""

    value: Any = None
    unwritten: bool = False
    crash: str = ""  # the sentence, with the line
    error: type[BaseException] | None = None
    message: str = ""  # what the exception says
    changed: str = ""  # the sentence that names the input that is no longer as it was

    @property
    def out_of_time(self) -> bool:
        """True if the call was stopped."""
        return self.error is not None and issubclass(self.error, OutOfTime | KeyboardInterrupt)


def run(
    function: Callable[..., Any],
    arguments: tuple[Any, ...],
    seconds: float | None = None,
    seed: int = 0,
    whose: Callable[..., Any] | None = None,
) -> Outcome:
    """Calls the function with copies of the arguments. Raises nothing, KeyboardInterrupt included.

    It is stopped after `seconds`, by default SECONDS. Random numbers that it draws depend on `seed` only, and the
    caller's are as if it had drawn none. The line of a crash is one of `whose` code, by default the function's.
    """
    given = copy.deepcopy(arguments)
    seconds = SECONDS if seconds is None else seconds
    try:
        with settings() as altered, randomness(seed), time_limit(seconds):
            value = function(*given)
    except BaseException as error:
        if _of_the_stub(error, whose or function) and is_stub(whose or function):
            return Outcome(unwritten=True)
        return Outcome(crash=_sentence(error, whose or function, seconds), error=type(error), message=_message(error))
    if value is Ellipsis or (value is None and is_stub(function)):
        return Outcome(unwritten=True)
    return Outcome(value, changed=_changed(function, given, arguments) or "".join(altered[:1]))


@contextmanager
def settings() -> Iterator[list[str]]:
    """Settings of torch and NumPy are afterwards as before; the list then has a sentence for each that was altered.

    Inside, memory that torch has not written yet is filled with numbers that nobody would take for zeros.
    """
    altered: list[str] = []
    now = {name: get() for name, (get, _) in SETTINGS.items()}
    mode = torch.get_deterministic_debug_mode()
    torch.set_deterministic_debug_mode("warn")  # as use_deterministic_algorithms, which imports the compiler
    try:
        yield altered
    finally:
        torch.set_deterministic_debug_mode(mode)
        for name, (get, put) in SETTINGS.items():
            if get() != now[name]:
                put(now[name])
                altered.append(
                    f"your function leaves `{name}` changed for all cells that follow: do without, or put it back"
                )


@contextmanager
def randomness(seed: int) -> Iterator[None]:
    """Random numbers of torch, NumPy and Python from this seed inside; afterwards they go on as before."""
    before, numpys = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # torch.manual_seed keeps the whole stack, for a GPU's sake
        random.seed(seed)
        np.random.seed(seed)
        try:
            yield
        finally:
            random.setstate(before)
            np.random.set_state(numpys)


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raises OutOfTime inside the block when the time is over, and again each second, should it be caught.

    Only the main thread can be interrupted so, and not on Windows: elsewhere there is no limit.
    """
    if not hasattr(signal, "setitimer") or threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(*_: object) -> None:
        raise OutOfTime

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds, 1.0)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def is_stub(function: Callable[..., Any]) -> bool:
    """True if the body says nothing yet, as a stub, `pass`, `...` or `return None`; or if its source is unknown."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(inspect.unwrap(function))))
    except (OSError, TypeError, SyntaxError):
        return True
    body = next((node.body for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)), [])
    return all(_says_nothing(statement) for statement in body)


def _says_nothing(statement: ast.stmt) -> bool:
    if isinstance(statement, ast.Expr | ast.Return):
        return statement.value is None or isinstance(statement.value, ast.Constant)
    if isinstance(statement, ast.Assign):  # a line that the stub gives: it names the parts of an argument
        return isinstance(statement.value, ast.Name) and isinstance(statement.targets[0], ast.Tuple)
    return isinstance(statement, ast.Pass) or (
        isinstance(statement, ast.Raise) and "NotImplementedError" in ast.unparse(statement)
    )


def _of_the_stub(error: BaseException, function: Callable[..., Any]) -> bool:
    """True for the stub's own NotImplementedError; torch raises some, too, as for a wrong dtype."""
    raised_in = [frame.f_code for frame, _ in traceback.walk_tb(error.__traceback__)][-1]
    return isinstance(error, NotImplementedError) and error.args in ((YOUR_TURN,), ()) and raised_in in _own(function)


def line_of(error: BaseException, function: Callable[..., Any]) -> str:
    """Where in the student's function an exception came from: "line 3 of your function, `x = 1 / 0`"."""
    code = getattr(inspect.unwrap(function), "__code__", None)
    if code is None:
        return "your function"
    own = _own(function)
    for frame, number in reversed(list(traceback.walk_tb(error.__traceback__))):
        if frame.f_code in own:
            text = linecache.getline(code.co_filename, number, frame.f_globals).strip()
            return f"line {number - code.co_firstlineno + 1} of your function" + (f", `{text[:80]}`" if text else "")
    return "your function"


def _own(function: Callable[..., Any]) -> set[CodeType]:
    code = getattr(inspect.unwrap(function), "__code__", None)
    return set() if code is None else set(_with_inner(code))


def _with_inner(code: CodeType) -> Iterator[CodeType]:
    """A function's code and that of the functions and comprehensions inside it."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _with_inner(constant)


def _sentence(error: BaseException, function: Callable[..., Any], seconds: float) -> str:
    line = line_of(error, function)
    if isinstance(error, OutOfTime):
        return f"{line}: still running after {seconds:g} seconds on a small input; is there a loop that never ends?"
    if isinstance(error, KeyboardInterrupt):
        return f"{line}: interrupted; is there a loop that never ends?"
    if _of_the_stub(error, function):
        return f"{line}: the stub's `raise` is still there; take it away once your own lines are written"
    message = _message(error)
    ask = ": is there a `...` still to write?" if "ellipsis" in message else ""  # so Python calls it
    return f"{line}: {type(error).__name__}" + (f": {message}" if message else "") + ask


def _message(error: BaseException) -> str:
    try:
        return (str(error).splitlines() or [""])[0][:160]
    except Exception:
        return ""


def _changed(function: Callable[..., Any], after: tuple[Any, ...], before: tuple[Any, ...]) -> str:
    names = list(inspect.signature(function).parameters)
    for place, (now, was) in enumerate(zip(after, before, strict=True)):
        if _differs(now, was):
            name = names[place] if place < len(names) else f"argument {place}"
            return f"your function changes its input `{name}`: work on a copy, the caller still needs it as it was"
    return ""


def _differs(now: Any, was: Any) -> bool:
    """True if a value is no longer as it was; functions and other objects are not looked into."""
    if isinstance(was, Tensor):
        return now.shape != was.shape or not torch.equal(now, was)
    if isinstance(was, nn.Module):
        return _differs(now.state_dict(), was.state_dict())
    if isinstance(was, dict):
        return list(now) != list(was) or any(_differs(now[key], was[key]) for key in was)
    if isinstance(was, list | tuple):
        return len(now) != len(was) or any(_differs(*pair) for pair in zip(now, was, strict=True))
    return isinstance(was, str | int | float | set) and now != was
