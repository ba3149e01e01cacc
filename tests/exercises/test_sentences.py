"""What a student is told is true of the code that he wrote, however he wrote it."""

import linecache
import math
import textwrap
from collections import Counter

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from exercises import check
from exercises.checking import BUGS, TASKS

ALL = TASKS | {bug.name: bug for bug in BUGS.values()}


def a_function(name, body):
    """A student's function of this name, written in a cell."""
    task = ALL[name]
    source = f"def {name}{task.parameters}:\n" + textwrap.indent(textwrap.dedent(body).strip(), "    ")
    names = {"torch": torch, "F": F, "np": np, "math": math, "Counter": Counter, "SOLUTION": task.solution}
    linecache.cache["<a cell>"] = (len(source), None, source.splitlines(keepends=True), "<a cell>")
    exec(compile(source, "<a cell>", "exec"), names)
    return names[name]


CHANGES = {
    "ids_of": ("words", """
        words.insert(0, "<start>")
        words.append("<end>")
        return [vocabulary.get(w, vocabulary["<unk>"]) for w in words]"""),
    "repair_9": ("finished", """
        finished.sort()
        running.sort()
        return (finished or running)[-1][1]"""),
    "repair_10": ("reference", """
        found = 0
        for i in caption:
            if words[i] in reference:
                reference.remove(words[i])
                found += 1
        return found / len(caption)"""),
    "tfidf_cosine": ("in_pictures", """
        for w in words + reference:
            in_pictures.setdefault(w, 1)
        return SOLUTION(words, reference, in_pictures, pictures)"""),
    "greedy_words": ("state", """
        words, word = [], 1
        for _ in range(longest):
            logprobs, _ = step(word, state)
            state += 1
            word = int(logprobs.argmax())
            if word == 2:
                break
            words.append(word)
        return words"""),
}  # fmt: skip


@pytest.mark.parametrize("name", CHANGES)
def test_right_values_with_a_changed_input_are_no_other_mistake(name):
    """A typical mistake may give the same values in the cases that show the change: it is not the one made here."""
    changed, body = CHANGES[name]
    result = check(a_function(name, body))
    assert result.state == "wrong" and result.sentence.startswith(f"your function changes its input `{changed}`")
