"""What a task is: a short solution, seeded inputs, and the typical mistakes, each with the sentence that names it.

A task is written as a page to read. The solution comes first, as a student would write it; below it the mistakes:

    @task("1_Preliminaries", points=3, goal="One LSTM step from its four gates", cases=lstm_cases)
    def lstm_step(gates, c):
        ...

    @lstm_step.trap("input and forget gate are swapped: the order is i, f, g, o")
    def swapped_gates(gates, c):
        ...

What it does not know: students' functions, notebooks, how results are compared.
"""

from __future__ import annotations

import inspect
import random
import textwrap
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

PAD, START, END, UNK = range(4)  # the first four ids of every vocabulary
NOTEBOOKS = ("0_Dataset", "1_Preliminaries", "2_Training", "3_Inference")

Arguments = tuple[Any, ...]
Observation = Callable[[Arguments, Any], str | None]  # inputs and a student's result -> a sentence if it is wrong


class Dice(random.Random):
    """Random inputs of a check, the same for the same seed: Python's `random` and normal or uniform tensors."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__(seed)
        self.generator = torch.Generator().manual_seed(seed)

    def normals(self, *shape: int) -> Tensor:
        """Normally distributed numbers of this shape."""
        return torch.randn(*shape, generator=self.generator)

    def uniforms(self, *shape: int) -> Tensor:
        """Numbers of this shape, evenly distributed in [0, 1)."""
        return torch.rand(*shape, generator=self.generator)


@dataclass(frozen=True)
class Trap:
    """A typical mistake: a function that makes it, and the sentence for whoever gives the same results."""

    sentence: str
    wrong: Callable[..., Any]


@dataclass
class Task:
    """A function that the student writes.

    `cases` makes the inputs of a check, several tuples of arguments. `returns` names the results for the sentences.
    Where several answers are right, `unique` is False: then an answer is right if no `observe`d symptom speaks against
    it; otherwise it must equal the solution's.
    """

    solution: Callable[..., Any]
    notebook: str
    points: int
    goal: str
    cases: Callable[[Dice], list[Arguments]]
    returns: tuple[str, ...] = ()
    unique: bool = True
    traps: list[Trap] = field(default_factory=list)
    observations: list[Observation] = field(default_factory=list)

    @property
    def name(self) -> str:
        """The name of the function that the student writes."""
        return self.solution.__name__

    @property
    def parameters(self) -> str:
        """The function's parameters as they are written: `(gates, c)`."""
        return f"({', '.join(inspect.signature(self.solution).parameters)})"

    @property
    def source(self) -> str:
        """The solution as text, without the decorator."""
        source = textwrap.dedent(inspect.getsource(self.solution))
        return source[source.index("def ") :]

    def trap(self, sentence: str) -> Callable[[Callable[..., Any]], Trap]:
        """Decorates a function that makes a typical mistake; `sentence` tells the student which."""

        def add(wrong: Callable[..., Any]) -> Trap:
            self.traps.append(Trap(sentence, wrong))
            return self.traps[-1]

        return add

    def observe(self, observation: Observation) -> Observation:
        """Decorates a function that looks at a wrong result and returns a sentence, or None if it sees nothing."""
        self.observations.append(observation)
        return observation


@dataclass
class Bug(Task):
    """A function that runs, looks fine and is wrong; the student writes the repaired one (`solution`)."""

    number: int = 0
    shows: str = ""  # what the numbers of `symptom` are
    broken: Callable[..., Any] = lambda *_: None
    symptom: Callable[[Callable[..., Any]], Mapping[str, float | str]] = lambda _: {}

    @property
    def broken_source(self) -> str:
        """The wrong code as text, without decorators."""
        source = textwrap.dedent(inspect.getsource(self.broken))
        return source[source.index("def ") :]

    def starts_as(self, sentence: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        """Decorates the wrong code; `sentence` is for whoever has not changed what is wrong with it."""

        def add(broken: Callable[..., Any]) -> Callable[..., Any]:
            self.broken = broken
            self.traps.insert(0, Trap(sentence, broken))
            return broken

        return add

    def symptom_of(self, shows: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        """Decorates a function that measures a function, wrong or repaired: numbers by name, as for a figure."""

        def add(symptom: Callable[..., Any]) -> Callable[..., Any]:
            self.shows, self.symptom = shows, symptom
            return symptom

        return add


def task(notebook: str, *, points: int, goal: str, cases: Callable[[Dice], list[Arguments]], **options: Any) -> Any:
    """Decorates a solution and makes a `Task` of it; `options` are `returns` and `unique`."""

    def make(solution: Callable[..., Any]) -> Task:
        return Task(solution, notebook, points, goal, cases, **options)

    return make


def bug(
    number: int, notebook: str, *, goal: str, cases: Callable[[Dice], list[Arguments]], points: int = 1, **options: Any
) -> Any:
    """Decorates a repaired function and makes a `Bug` of it."""

    def make(solution: Callable[..., Any]) -> Bug:
        return Bug(solution, notebook, points, goal, cases, number=number, **options)

    return make


def tasks_in(names: Mapping[str, Any], kind: type[Task] = Task) -> list[Any]:
    """The tasks among a module's names, in the order in which they are written."""
    return [value for value in names.values() if isinstance(value, kind)]
