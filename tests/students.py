"""Functions as students write them: a body becomes a function of a task's name, with lines as a cell has."""

import linecache
import math
import textwrap
from collections import Counter

import numpy as np
import torch
from torch.nn import functional as F

from exercises.checking import BUGS, TASKS

ALL = TASKS | {bug.name: bug for bug in BUGS.values()}


def a_function(name, body):
    """The function of this task with this body, in which SOLUTION is the task's."""
    task = ALL[name]
    source = f"def {name}{task.parameters}:\n" + textwrap.indent(textwrap.dedent(body).strip(), "    ")
    names = {"torch": torch, "F": F, "np": np, "math": math, "Counter": Counter, "SOLUTION": task.solution}
    linecache.cache["<a cell>"] = (len(source), None, source.splitlines(keepends=True), "<a cell>")
    exec(compile(source, "<a cell>", "exec"), names)
    return names[name]
