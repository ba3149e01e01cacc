"""`check` never raises, whatever a function does or returns, and says in one sentence what is wrong."""

import functools
import random
import sys
import time

import numpy as np
import pytest
import torch

from exercises import check, check_bug, checked, checking, running, symptom
from exercises.checking import TASKS
from exercises.compare import difference

RIGHT = TASKS["lstm_step"].solution


def answer(value):
    """A function for the task lstm_step that returns this, or raises it."""

    def lstm_step(gates, c):
        if isinstance(value, type) and issubclass(value, BaseException):
            raise value("on purpose")
        return value

    return lstm_step


class Hostile:
    """An object that does not let itself be looked at."""

    def __eq__(self, other):
        raise RuntimeError("do not compare")

    __hash__ = None

    def __repr__(self):
        raise RuntimeError("do not look")

    def __iter__(self):
        while True:
            yield 0


class HostileText(str):
    def __eq__(self, other):
        sys.exit("no")

    __hash__ = str.__hash__


itself: list = []
itself.append(itself)
state = torch.zeros(3, 5)

ABSURD = {
    "a number": 7,
    "a text": "x" * 10**7,
    "a list": [1, 2],
    "a list of itself": itself,
    "an object": Hostile(),
    "objects": (Hostile(), HostileText("a")),
    "a class": int,
    "a generator": (i for i in range(3)),
    "too many": (state,) * 100_000,
    "one tensor": state,
    "a text and a tensor": (state, "b"),
    "another shape": (state[:2], state),
    "no dimension": (torch.tensor(1.0), state),
    "no entries": (state[:0], state),
    "another device": (state.to("meta"), state),
    "nan": (state * torch.nan, state),
    "infinity": (state + torch.inf, state),
    "whole numbers": (state.long(), state),
    "complex numbers": (state.cfloat(), state),
    "sparse": (state.to_sparse(), state),
    "with a gradient": (state.clone().requires_grad_(), state),
    "numpy objects": (np.array([None, "a"], dtype=object), state),
    "an exception": ValueError,
    "exit": SystemExit,
    "an interrupt": KeyboardInterrupt,
    "the end of a generator": GeneratorExit,
    "too deep": RecursionError,
    "no memory": MemoryError,
}


@pytest.mark.parametrize("name", ABSURD)
def test_whatever_is_returned_or_raised_one_sentence_answers(name, capfd):
    result = check(answer(ABSURD[name]))
    assert result.state == "wrong" and 10 < len(result.sentence) < 300 and "\n" not in result.sentence
    assert "Traceback" not in "".join(capfd.readouterr()), "nothing of ours is printed"


@pytest.mark.parametrize("name", ABSURD)
@pytest.mark.parametrize("task", ["words_of", "split_by_picture", "named_again", "padded", "peak_hits"])
def test_so_it_is_for_results_of_other_kinds(task, name):
    function = answer(ABSURD[name])

    def other(*arguments):
        return function(*arguments[:1], None)

    other.__name__ = task
    result = check(other)
    assert result.state == "wrong" and "\n" not in result.sentence


@pytest.mark.parametrize("thing", [None, 3, "lstm_step", object(), [], lambda: 0, len, type, torch.nn.Linear(2, 2)])
def test_what_is_no_task_is_said(thing):
    assert check(thing).state == check_bug(1, thing).state == check_bug(thing, thing).state == "wrong"
    assert repr(symptom(1, thing)) and repr(symptom("x", thing))


def test_a_function_that_was_called_is_asked_for_by_its_name():
    assert check(["a", "dog"]).sentence.startswith("a function is asked, by its name alone, as in `check(")


def test_dots_that_are_left_are_asked_for():
    def coverage_at(counts, k):
        kept = ...
        return len(kept) / len(counts), sum(kept) / sum(counts.values())

    assert check(coverage_at).sentence.endswith("has no len(): is there a `...` still to write?")


def test_a_name_that_is_nearly_a_task_gets_a_hint():
    def lstm_stepp(gates, c): ...

    assert check(lstm_stepp).sentence == "no task has this name; did you mean `lstm_step`?"


def test_a_crash_names_the_students_own_line():
    def lstm_step(gates, c):
        gates = gates + 1
        rest = [row[99] for row in gates]
        return rest, c

    sentence = check(lstm_step).sentence
    assert sentence.startswith("line 3 of your function, `rest = [row[99] for row in gates]`: IndexError: index 99")


def test_a_crash_inside_torch_names_the_line_that_called_it():
    def lstm_step(gates, c):
        i = gates[:, :3].sigmoid()
        return torch.nn.functional.linear(i, c), c

    assert check(lstm_step).sentence.startswith("line 3 of your function, `return torch.nn.functional.linear(i, c), c`")


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt, GeneratorExit, MemoryError])
def test_what_is_no_ordinary_error_is_named_too(error):
    def lstm_step(gates, c):
        raise error

    sentence = check(lstm_step).sentence
    assert sentence.startswith("line 2 of your function, `raise error`: ")
    assert error.__name__ in sentence or "interrupted" in sentence


def test_what_follows_uses_the_students_function_once_it_is_right():
    assert checking.use(RIGHT, print) is RIGHT
    assert checking.use(answer(3), print) is print


def test_recursion_without_end():
    def lstm_step(gates, c):
        return lstm_step(gates, c)

    assert "line 2 of your function, `return lstm_step(gates, c)`: RecursionError" in check(lstm_step).sentence


def test_a_loop_without_end_is_stopped(monkeypatch):
    monkeypatch.setattr(running, "SECONDS", 0.3)

    def lstm_step(gates, c):
        while True:
            try:
                gates = gates + 1
            except Exception:
                continue

    start = time.perf_counter()
    sentence = check(lstm_step).sentence
    assert "of your function" in sentence and "still running" in sentence and time.perf_counter() - start < 5


def test_a_wrong_number_of_parameters():
    def lstm_step(gates):
        return gates

    assert check(lstm_step).sentence == "the parameters should be (gates, c), yours are (gates)"


def test_changed_inputs_are_noticed():
    def lstm_step(gates, c):
        result = RIGHT(gates, c)
        c.zero_()
        return result

    result = check(lstm_step)
    assert result.state == "wrong" and result.sentence.startswith("your function changes its input `c`")


def test_a_changed_list_is_noticed_and_harms_no_later_case():
    def padded(captions):
        result = TASKS["padded"].solution(captions)
        captions[0].append(7)
        return result

    assert check(padded).sentence.startswith("your function changes its input `captions`")
    assert check(TASKS["padded"].solution).state == "right"


def test_a_forgotten_return():
    def lstm_step(gates, c):
        c = c + 1

    assert check(lstm_step).sentence == "your function returns nothing (None): is the `return` missing?"


def test_random_answers():
    def lstm_step(gates, c):
        h, c = RIGHT(gates, c)
        return h + torch.rand(()), c

    assert check(lstm_step).sentence.startswith("your function gives another answer each time")


def test_nothing_of_the_callers_randomness_changes():
    torch.manual_seed(1)
    random.seed(1)
    expected = torch.rand(1), random.random()
    torch.manual_seed(1)
    random.seed(1)
    check(answer(3))
    check(RIGHT)
    assert (torch.rand(1), random.random()) == expected


def test_fresh_seeds_draw_other_inputs():
    seen = []

    def lstm_step(gates, c):
        seen.append(gates)
        return RIGHT(gates, c)

    for seed in (1, 2, 1):
        assert check(lstm_step, seed).state == "right"
    first, second, third = seen[:: len(seen) // 3]
    assert torch.equal(first, third) and not torch.equal(first, second)


def test_decorated_functions_and_gradients_are_right():
    @torch.no_grad()
    def lstm_step(gates, c):
        return RIGHT(gates, c)

    assert check(lstm_step).state == "right"

    @functools.wraps(lstm_step)
    def with_gradient(gates, c):
        return RIGHT(gates.requires_grad_(), c)

    assert check(with_gradient).state == "right"


# ---------------------------------------------------------------------------------------------------- the differences

A = torch.tensor([[1.0, 2.0, 4.0], [5.0, 7.0, 11.0]])
SQUARE = torch.tensor([[1.0, 2.0], [3.0, 5.0]])


@pytest.mark.parametrize(
    ("got", "expected", "sentence"),
    [
        (A.T, A, "the result should have shape (2, 3), yours has (3, 2): rows and columns have changed places"),
        (A[0], A, "the result should have shape (2, 3), yours has (3,)"),
        ([1.0], A, "the result should be a tensor of shape (2, 3), yours is a list"),
        (A.long(), A, "the result should hold real numbers (torch.float32), yours holds whole numbers (torch.int64)"),
        (A > 2, A, "the result should hold real numbers (torch.float32), yours holds truth values (torch.bool)"),
        (A.to("meta"), A, "the result should be on the device cpu, where the inputs are, yours is on meta"),
        (A / 0 * 0, A, "the result is nan at [0, 0]: a logarithm of less than 0, or 0 divided by 0?"),
        (A * 2, A, "the result is right up to a factor: every entry is 2 times what it should be"),
        (A - 3, A, "the result is right up to a constant: every entry is 3 too small"),
        (A.flip(0), A, "the result has the right numbers, but in another order"),
        (SQUARE.T, SQUARE, "the result is right but for rows and columns, which have changed places"),
        (
            A + torch.tensor([[0, 0, 0], [0, 2.5, 1]]),
            A,
            "the result differs in 2 of 6 entries, most at [1, 1]: 7 is expected, yours is 9.5",
        ),
        (2, 3.0, "the result should be 3, yours is 2"),
        (float("nan"), 3.0, "the result is nan, not a number: a logarithm of less than 0, or 0 divided by 0?"),
        ("3", 3.0, "the result should be a number, yours is a str"),
        ([1, 2], [1, 2, 3], "the result should have length 3, yours has 2: [1, 2, 3] against [1, 2]"),
        ([1, 5, 3], [1, 2, 3], "the result at [1] should be 2, yours is 5"),
        (torch.tensor([1, 2]), [1, 2], "the result should be a list, yours is a tensor; .tolist() makes one"),
        (["a"], ["b"], "the result at [0] should be 'b', yours is 'a'"),
        (torch.tensor(2.0), torch.tensor(3.0), "the result should be 3, yours is 2"),
        ([True], np.array([True]), "the result should be an array of shape (1,), yours is a list"),
        (
            np.array([1]),
            np.array([True]),
            "the result should hold truth values (bool), yours holds whole numbers (int64)",
        ),
    ],
)
def test_a_difference_is_said_in_the_most_helpful_way(got, expected, sentence):
    assert difference(got, expected) == sentence


@pytest.mark.parametrize(
    ("got", "expected"),
    [
        (A.double(), A),
        (A.numpy(), A),
        (A + 1e-7, A),
        (torch.tensor(3.0), 3.0),
        (3.0, torch.tensor(3.0)),
        (A, A.numpy()),
        (np.float32(3), 3.0),
        ((1, 2), [1, 2]),
    ],
)
def test_what_is_right_in_substance_is_right(got, expected):
    assert difference(got, expected) is None


def test_parts_have_names():
    assert difference((A, A), (A, A + 1), names=("state", "memory")).startswith("memory is right up to a constant")
    assert difference(A, (A, A), names=("state", "memory")) == (
        "2 results are asked, (state, memory), yours is a tensor"
    )


# ----------------------------------------------------------------------------------------------------------- progress


@pytest.fixture
def nothing_checked(monkeypatch):
    monkeypatch.setattr(checking, "_seen", {})


def test_progress_counts_what_is_right_and_keeps_the_last_result(nothing_checked):
    check(answer(3))
    assert "1_Preliminaries 0/" in repr(checked()) and "✗ lstm_step" in repr(checked())
    check(RIGHT)
    assert "1_Preliminaries 1/" in repr(checked()) and "✓ lstm_step" in repr(checked())
    assert "2_Training" not in repr(checked()), "only notebooks in which something was checked"
    assert "2_Training 0/" in repr(checked("2_Training"))
    assert "3_Inference 0/" in repr(checked(*["0_Dataset", "3_Inference"]))


def test_progress_is_a_table_in_a_notebook_and_escapes_what_a_student_wrote(nothing_checked):
    check(answer("<script>"))

    def words_of(caption):
        return ["<b>"]

    check(words_of)
    page = checked()._repr_html_()
    assert page.startswith("<table>") and page.count("<tr>") > 6 and "<b>" not in page


def test_results_show_themselves(nothing_checked):
    assert repr(check(RIGHT)) == "✓ lstm_step"
    assert repr(check(answer(3))) == "✗ lstm_step: 2 results are asked, (new state, new memory), yours is an int"
    assert repr(check(answer(...))) == "○ lstm_step: still to write"
    assert repr(symptom(6)).splitlines()[1].split() == ["share", "of", "real", "targets", "1"]
