"""`check(f)`: still to write, right, or wrong with the one sentence that helps. It never raises.

Comes in: a student's function, whose name tells the task. Goes out: a `Result`. A wrong result is compared with what
each typical mistake of the task would give on the same inputs; who gives the same on all has made that mistake.
Otherwise the difference is described (compare.py). `checked()` shows how far one has come.
"""

from __future__ import annotations

import html
import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Literal

from exercises import decoder, decoding, evaluation, models, pictures, pointing, training, words
from exercises.bugs import learning, seeing, speaking
from exercises.compare import difference, malformed, short
from exercises.running import Outcome, run
from exercises.tasks import NOTEBOOKS, Bug, Dice, Task, Trap, tasks_in

State = Literal["unwritten", "right", "wrong"]
SIGNS: Mapping[str, str] = {"unwritten": "○", "right": "✓", "wrong": "✗"}

TASKS: dict[str, Task] = {
    task.name: task
    for module in (pictures, words, models, decoder, training, decoding, evaluation, pointing)
    for task in tasks_in(vars(module))
}
BUGS: dict[int, Bug] = {
    bug.number: bug for module in (seeing, learning, speaking) for bug in tasks_in(vars(module), Bug)
}
_seen: dict[str, Result] = {}  # the last result of each task, for `checked`


@dataclass(frozen=True)
class Result:
    """What a check found; in a notebook it shows itself."""

    task: str
    state: State
    sentence: str = ""
    points: int = 0  # earned: the task's if it is right, else 0

    def __repr__(self) -> str:
        return f"{SIGNS[self.state]} {self.task}" + (f": {self.sentence}" if self.sentence else "")


@dataclass(frozen=True)
class Symptom:
    """Numbers by name that a function gives, such as its result at several batch sizes; for the eye or a figure."""

    shows: str
    values: Mapping[str, float | str]

    def __repr__(self) -> str:
        width = max(map(len, self.values), default=0)
        return "\n".join([self.shows, *(f"  {name:{width}}  {short(value)}" for name, value in self.values.items())])


def check(function: Any, seed: int = 0) -> Result:
    """Is this function right? Its name tells the task; another `seed` draws other inputs. Never raises."""
    if not callable(function):
        sentence = (
            f"a function is asked, by its name alone, as in `check({next(iter(TASKS))})`: this is {short(function)}"
        )
        return Result(type(function).__name__, "wrong", sentence)
    name = getattr(function, "__name__", None) or type(function).__name__
    by_name = TASKS | {bug.name: bug for bug in BUGS.values()}
    if name in by_name:
        return _remember(_guarded(by_name[name], function, seed))
    near = get_close_matches(str(name), by_name, n=1)
    advice = f"did you mean `{near[0]}`?" if near else f"the tasks are {', '.join(TASKS)}"
    return Result(str(name), "wrong", f"no task has this name; {advice}")


def use(function: Callable[..., Any], instead: Callable[..., Any]) -> Callable[..., Any]:
    """The student's function if it is right, else `instead`: so that what follows runs, whoever has written what."""
    return function if check(function).state == "right" else instead


def check_bug(number: int, function: Any, seed: int = 0) -> Result:
    """Is this bug repaired? `function` is the repaired one, whatever its name. Never raises."""
    if not isinstance(number, int) or number not in BUGS:
        return Result(f"bug {short(number)}", "wrong", f"the bugs are numbered 1 to {len(BUGS)}")
    return _remember(_guarded(BUGS[number], function, seed))


def symptom(number: int, function: Callable[..., Any] | None = None) -> Symptom:
    """The symptom of a bug, measured on `function`; without one on the wrong code as the course shows it."""
    if not isinstance(number, int) or number not in BUGS:
        return Symptom(f"the bugs are numbered 1 to {len(BUGS)}", {})
    bug = BUGS[number]
    found: list[Mapping[str, float | str]] = []

    def measure() -> bool:
        found.append(bug.symptom(function or bug.broken))
        return True

    outcome = run(measure, (), whose=function or bug.broken)
    return Symptom(bug.shows, found[0] if found else {"no number": outcome.crash or "the function is still to write"})


def _guarded(task: Task, function: Any, seed: int) -> Result:
    try:
        return examine(task, function, seed)
    except BaseException as error:  # whatever a result does when it is looked at: it may be any object
        sentence = f"your result cannot be compared: {type(error).__name__} when it was looked at"
        return Result(task.name, "wrong", sentence)


def examine(task: Task, function: Any, seed: int) -> Result:
    """The check itself: the function on all cases of the task. May raise what the student's result raises."""
    if sentence := _misfit(task, function):
        return Result(task.name, "wrong", sentence)
    cases = task.cases(Dice(seed))
    outcomes: list[Outcome] = []
    for case in cases:
        outcomes.append(run(function, case))
        if outcomes[-1].unwritten:
            return Result(task.name, "unwritten", "still to write")
        if outcomes[-1].out_of_time:
            return Result(task.name, "wrong", outcomes[-1].crash)
    expected = [run(task.solution, case) for case in cases]
    faults = (_fault(task, *each) for each in zip(cases, outcomes, expected, strict=True))
    place, fault = next(((place, fault) for place, fault in enumerate(faults) if fault), (0, None))
    if fault and (trap := _recognise(task, cases, outcomes, place)):
        crash = outcomes[place].crash
        return Result(task.name, "wrong", f"{crash}: {trap.sentence}" if crash else trap.sentence)
    seen = outcomes[: place + 1] if fault else outcomes
    if changed := next(filter(None, (outcome.changed for outcome in seen)), ""):
        return Result(task.name, "wrong", changed)
    if fault:
        if task.unique and _fault(task, cases[place], run(function, cases[place], seed=1), expected[place]) != fault:
            fault = "your function gives another answer each time: with the same inputs it should give the same"
        elif not outcomes[place].crash:
            fault = _with_inputs(task, cases[place], fault)
        return Result(task.name, "wrong", fault)
    return Result(task.name, "right", points=task.points)


def _misfit(task: Task, function: Any) -> str:
    """A sentence if the function cannot be called as the task says."""
    if not callable(function):
        return f"a function is asked, this is {short(function)}"
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return ""
    try:
        signature.bind(*inspect.signature(task.solution).parameters)
    except TypeError:
        return f"the parameters should be {task.parameters}, yours are ({', '.join(signature.parameters)})"
    return ""


def _fault(task: Task, case: tuple[Any, ...], outcome: Outcome, expected: Outcome) -> str | None:
    """What is wrong with one result, in the general words that fit any task; None if nothing is."""
    if outcome.crash:
        return outcome.crash
    if outcome.value is None:
        return "your function returns nothing (None): is the `return` missing?"
    if not task.unique:
        return malformed(outcome.value, expected.value, task.returns) or _observed(task, case, outcome.value)
    general = difference(outcome.value, expected.value, names=task.returns)
    return general and (_observed(task, case, outcome.value) or general)


def _observed(task: Task, case: tuple[Any, ...], value: Any) -> str | None:
    """What one of the task's observations says of a result."""
    try:
        return next(filter(None, (observation(case, value) for observation in task.observations)), None)
    except Exception as error:  # an observation expects a result of the right form
        return None if task.unique else f"the result has not the form that is asked: {type(error).__name__}"


def _recognise(task: Task, cases: list[tuple[Any, ...]], outcomes: list[Outcome], place: int) -> Trap | None:
    """The mistake that gives what the student's function gives, at the first wrong case and at all others.

    At the others it need not crash where the function does: that is a second mistake beside the first.
    """

    def agrees(trap: Trap, at: int) -> bool:
        mistake, outcome = run(trap.wrong, cases[at]), outcomes[at]
        return _alike(mistake, outcome) or (at != place and bool(outcome.crash) and not mistake.crash)

    order = [place, *(at for at in range(len(cases)) if at != place)]  # most traps differ at the first
    return next((trap for trap in task.traps if all(agrees(trap, at) for at in order)), None)


def _alike(mistake: Outcome, outcome: Outcome) -> bool:
    """The same result, or the same exception with the same words, shapes and indices."""
    if mistake.error or outcome.error:
        said = [_in_either_order(crashed.message) for crashed in (mistake, outcome)]
        return mistake.error is outcome.error and (said[0] == said[1] or mistake.error is ZeroDivisionError)
    return difference(outcome.value, mistake.value) is None


def _in_either_order(message: str) -> list[str]:
    """The words of a message; sorted if two tensors don't fit, as a * b and b * a are the same mistake."""
    words = message.split()
    return sorted(words) if "size of tensor a" in message else words


def _with_inputs(task: Task, case: tuple[Any, ...], sentence: str) -> str:
    """A sentence with the inputs in front, if they are plain and short."""
    call = ", ".join(map(short, case))
    plain = all(isinstance(argument, str | int | float | list | dict) for argument in case)
    return f"for {task.name}({call}): {sentence}" if plain and len(call) <= 100 and task.unique else sentence


def _remember(result: Result) -> Result:
    _seen[result.task] = result
    return result


# ----------------------------------------------------------------------------------------------------------- progress


@dataclass(frozen=True)
class Progress:
    """The tasks of some notebooks with what was found; a table in a notebook, lines elsewhere."""

    notebooks: tuple[str, ...]
    rows: tuple[tuple[str, str, Result | None], ...]  # notebook, goal, what the last check found

    def counts(self, notebook: str) -> tuple[int, int]:
        """(right, all) of a notebook's tasks."""
        found = [result for name, _, result in self.rows if name == notebook]
        return sum(result is not None and result.state == "right" for result in found), len(found)

    def __repr__(self) -> str:
        lines: list[str] = []
        for notebook in self.notebooks:
            right, total = self.counts(notebook)
            lines.append(f"{notebook} {right}/{total}")
            lines += [f"  {_sign(result)} {goal}" for name, goal, result in self.rows if name == notebook]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        rows: list[str] = []
        for notebook in self.notebooks:
            right, total = self.counts(notebook)
            rows.append(f'<tr><th colspan="3" style="text-align:left">{notebook} {right}/{total}</th></tr>')
            for name, goal, result in self.rows:
                if name == notebook:
                    cells = (_sign(result), goal, result.sentence if result and result.state == "wrong" else "")
                    rows.append("".join(["<tr>", *map(_cell, cells), "</tr>"]))
        return f"<table>{''.join(rows)}</table>"


def _sign(result: Result | None) -> str:
    return SIGNS[result.state if result else "unwritten"]


def _cell(text: str) -> str:
    return f'<td style="text-align:left">{html.escape(text)}</td>'


def checked(*notebooks: str) -> Progress:
    """How far one has come: all tasks of these notebooks; without a name of those in which something was checked."""
    every: list[Task] = [*TASKS.values(), *BUGS.values()]
    begun = {task.notebook for task in every if task.name in _seen}
    wanted = set(notebooks) or begun or set(NOTEBOOKS)
    rows = tuple((task.notebook, _title(task), _seen.get(task.name)) for task in every if task.notebook in wanted)
    return Progress(_in_order(wanted), rows)


def _in_order(notebooks: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(notebooks))


def _title(task: Task) -> str:
    return f"bug {task.number}: {task.goal}" if isinstance(task, Bug) else f"{task.name}: {task.goal}"
