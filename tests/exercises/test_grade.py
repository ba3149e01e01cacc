"""Submissions in real processes: whatever one does, it harms nothing else, and the others are graded."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import pytest

from exercises.checking import BUGS, TASKS
from scripts import grade
from scripts.grade import Limits

IMPORTS = """import math
import numpy as np
import random
import torch
from torch.nn import functional as F
from collections import Counter

PAD, START, END, UNK = 0, 1, 2, 3"""
GOOD = "def words_of(caption):\n    return caption.lower().replace(',', ' ').replace('.', ' ').split()"
QUICK = Limits(silence=4, seconds=60, call=0.5, memory=2**30)


def submit(path, *cells):
    """A notebook of these code cells as a file."""
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells]), path)
    return path


@pytest.fixture(scope="module")
def library():
    """One for all that is submitted here, harmful or not."""
    with grade.Library() as library:
        yield library


def graded(library, path, *cells, limits=QUICK):
    """The results of a submission, by task."""
    made = grade.grade(submit(path / "a.ipynb", *cells), 1, library, limits)
    return made, {task["task"]: task for task in made.tasks}


def test_all_solutions_earn_all_points(library, tmp_path):
    cells = [task.source for task in TASKS.values()]
    repairs = [bug.source for bug in BUGS.values() if "solution" not in bug.source]
    made, results = graded(library, tmp_path, IMPORTS, *cells, *repairs)
    assert {name for name, task in results.items() if task["state"] == "right"} >= set(TASKS)
    assert made.of == sum(task.points for task in [*TASKS.values(), *BUGS.values()])
    assert made.points >= sum(task.points for task in TASKS.values()) + len(repairs)


def test_errors_of_other_cells_copies_and_magics_do_not_matter(library, tmp_path):
    made, results = graded(
        library,
        tmp_path,
        "%matplotlib inline\n!ls\nundefined_name + 1",
        "model = train_for_hours()",
        "def broken(:\n    pass",
        GOOD,
        "def words_of(caption):\n    raise NotImplementedError",
        "from exercises import check\ncheck(words_of)",
        "import no_such_module\nraise SystemExit",
    )
    assert results["words_of"]["state"] == "right" and made.error == ""
    assert results["lstm_step"] == {
        "task": "lstm_step",
        "notebook": "1_Preliminaries",
        "state": "unwritten",
        "points": 0,
        "of": 3,
        "sentence": "there is no such function",
    }


@pytest.mark.parametrize(
    "cell",
    [
        "def words_of(caption):\n    rest = (len(caption)\n            % 2)\n    return cut(caption)\nwords_of?",
        "\n\nx = !ls\nnames = %who_ls\ndef words_of(caption):\n    return cut(caption)\n?words_of",
        "%%time\n\ndef words_of(caption):\n    %time x = 1\n    !echo {caption}\n    return cut(caption)",
        "TEXT = '''\n%d files\n!'''\ndef words_of(caption):\n    return cut(caption) if TEXT[1:3] == '%d' else []",
    ],
)
def test_what_a_notebook_takes_is_no_mistake(library, cell, tmp_path):
    """Magics, questions and shell commands, and lines of Python that look like them."""
    helper = "def cut(caption):\n    return caption.lower().replace(',', ' ').replace('.', ' ').split()"
    assert graded(library, tmp_path, helper, cell)[1]["words_of"]["state"] == "right"


def test_lines_are_told_as_the_student_sees_them(library, tmp_path):
    told = graded(library, tmp_path, "\n\n%time\ndef words_of(caption):\n    return (1\n\n")[1]["words_of"]
    assert told["sentence"] == "its cell is not Python, line 5: '(' was never closed"
    told = graded(library, tmp_path, "def words_of(caption):\n    return '\0'")[1]["words_of"]
    assert told["sentence"] == "its cell is not Python: source code string cannot contain null bytes"


def test_helpers_constants_and_classes_of_the_notebook_are_there(library, tmp_path):
    cells = "STOPS = ',.'", "def cut(x):\n    return x.split()", "class Lower:\n    of = str.lower"
    answer = "def words_of(caption):\n    return cut(''.join(' ' if x in STOPS else x for x in Lower.of(caption)))"
    assert graded(library, tmp_path, *cells, answer)[1]["words_of"]["state"] == "right"


CUT = "return ''.join(' ' if x in ',.' else x for x in caption.lower()).split()"


@pytest.mark.parametrize(
    "cells",
    [
        [
            "import re",
            "WORD = re.compile(r'[^ ,.]+')",
            "def words_of(caption):\n    return WORD.findall(caption.lower())",
        ],
        ["PAD, STOP = range(2)\nSTOPS = {PAD: ',', STOP: '.'}.values()", f"def words_of(caption, a=STOPS):\n    {CUT}"],
        [
            "import numpy as np\nPI = np.pi",
            "def helper():\n    return PI",
            f"def words_of(caption):\n    helper()\n    {CUT}",
        ],
        ["import random\nrng = random.Random(0)", f"def words_of(caption):\n    rng.random()\n    {CUT}"],
        [
            "T = {}\nfor x in ',.':\n    T[ord(x)] = ' '",
            "def words_of(text):\n    return text.lower().translate(T).split()",
        ],
        [
            "if 1 > 2:\n    STOPS = ''\nelse:\n    STOPS = ',.'",
            "def words_of(caption):\n    " + CUT.replace("',.'", "STOPS"),
        ],
        ["from string import *", f"def words_of(caption):\n    ascii_lowercase\n    {CUT}"],
        [f"def words_of(caption):\n    low('A')\n    {CUT}", "low = str.lower"],
        [
            "from re import split as S",
            f"def words_of(caption):\n    S(' ', caption)\n    {CUT}",
            "S = 2.0 * 3\nlen = 4",
        ],
    ],
)
def test_an_answer_has_what_its_notebook_gives_it(library, cells, tmp_path):
    """Whatever sets a name that it uses is executed; but not what gives the name to something else later on."""
    result = graded(library, tmp_path, *cells)[1]["words_of"]
    assert result["state"] == "right", result["sentence"]


def test_a_name_that_is_missing_is_explained_by_the_line_that_should_set_it(library, tmp_path):
    _, results = graded(
        library,
        tmp_path,
        "import nosuchmodule, numpy as np",
        "TABLE = np.zeros(3)",
        "from nosuchmodule import *",
        "def words_of(caption):\n    return np.array(caption)",
        "def ids_of(words, vocabulary):\n    return TABLE[words]",
        "def coverage_at(counts, k):\n    return other",
        "def padded(captions, table=TABLE):\n    return 1",
    )
    failed = "which fails in the grading: ModuleNotFoundError: No module named 'nosuchmodule'"
    numpy = f"NameError: name 'np' is not defined; `np` is set by `import nosuchmodule, numpy as np`, {failed}"
    table = (
        "NameError: name 'TABLE' is not defined; `TABLE` is set by `TABLE = np.zeros(3)`, which fails in the grading: "
    )
    assert results["words_of"]["sentence"] == f"line 2 of your function, `return np.array(caption)`: {numpy}"
    assert results["ids_of"]["sentence"] == f"line 2 of your function, `return TABLE[words]`: {table}{numpy}"
    assert results["coverage_at"]["sentence"].endswith(f"`*` is set by `from nosuchmodule import *`, {failed}")
    assert results["padded"]["sentence"] == f"it cannot be defined: {table}{numpy}"


def test_the_explanation_of_a_name_stays_a_sentence(library, tmp_path):
    chain = "x0 = unknown\n" + "\n".join(f"x{i + 1} = x{i}" for i in range(900))
    sentence = graded(library, tmp_path, chain, "def words_of(caption):\n    return x900")[1]["words_of"]["sentence"]
    told = (
        "line 2 of your function, `return x900`: NameError: name 'x900' is not defined; `x900` is set by `x900 = x899`"
    )
    assert sentence.startswith(told) and len(sentence) <= 1000


def test_what_takes_long_is_executed_only_for_whoever_uses_it_and_once(library, tmp_path):
    train = "def train():\n    while True:\n        pass"
    uses = "def ids_of(words, vocabulary):\n    return model", "def coverage_at(counts, k):\n    return model"
    own = f"def words_of(caption):\n    model = str\n    model.lower\n    {CUT}"
    limits = Limits(silence=4, seconds=60, call=1, memory=2**30)
    start = time.monotonic()
    made, results = graded(library, tmp_path, train, "model = train()", own, *uses, limits=limits)
    assert results["words_of"]["state"] == "right" and made.points == 1
    for name in ("ids_of", "coverage_at"):
        told = "`model` is set by `model = train()`, which fails in the grading: it took longer than 1 seconds"
        assert results[name]["sentence"].endswith(told)
    assert time.monotonic() - start < 20


def test_the_sentence_of_a_miss_and_the_line_of_a_crash(library, tmp_path):
    _, results = graded(
        library,
        tmp_path,
        "def words_of(caption):\n    return caption.split()",
        "def ids_of(words, vocabulary):\n    x = 1\n    return vocabulary[unknown]",
        "def coverage_at(counts, k):\n    return (",
        "def padded(captions=undefined):\n    return 1",
    )
    assert results["words_of"]["sentence"] == "'ball,' is no word: commas and stops don't belong to it"
    assert results["ids_of"]["sentence"].startswith("line 3 of your function, `return vocabulary[unknown]`: NameError")
    assert results["coverage_at"]["sentence"].startswith("its cell is not Python, line 2")
    assert results["padded"]["sentence"] == "it cannot be defined: NameError: name 'undefined' is not defined"


HARM = {
    "a loop": "def ids_of(words, vocabulary):\n    while True:\n        pass",
    "a loop that catches all": (
        "def ids_of(words, vocabulary):\n    while True:\n        try:\n            sum(range(10**5))\n"
        "        except BaseException:\n            pass"
    ),
    "prints without end": "def ids_of(words, vocabulary):\n    while True:\n        print('x' * 10**6)",
    "writes to the terminal": "def ids_of(words, vocabulary):\n    while True:\n        os.write(1, b'x' * 10**6)",
    "a hundred gigabytes": "def ids_of(words, vocabulary):\n    return bytearray(100 * 2**30)",
    "ever more memory": "def ids_of(words, vocabulary):\n    x = []\n    while True:\n        x.append('y' * 10**7)",
    "a large tensor": "def ids_of(words, vocabulary):\n    return torch.ones(25 * 2**30)",
    "forks": "def ids_of(words, vocabulary):\n    while True:\n        os.fork()",
    "starts programs": "def ids_of(words, vocabulary):\n    subprocess.Popen(['sleep', '1000'])",
    "kills": "def ids_of(words, vocabulary):\n    os.kill(os.getppid(), 9)",
    "deletes its place": "def ids_of(words, vocabulary):\n    shutil.rmtree('.')\n    return 1",
    "deletes elsewhere": "def ids_of(words, vocabulary):\n    shutil.rmtree(ELSEWHERE)",
    "writes elsewhere": "def ids_of(words, vocabulary):\n    open(ELSEWHERE + '/kept.txt', 'w').write('gone')",
    "renames elsewhere": "def ids_of(words, vocabulary):\n    os.replace(ELSEWHERE + '/kept.txt', 'mine.txt')",
    "fills the disk": (
        "def ids_of(words, vocabulary):\n    for i in range(10**6):\n        with open(f'{i}', 'wb') as f:\n"
        "            f.write(bytes(2**30))"
    ),
    "leaves": "def ids_of(words, vocabulary):\n    os._exit(0)",
    "exits": "def ids_of(words, vocabulary):\n    raise SystemExit",
    "crashes the process": "def ids_of(words, vocabulary):\n    ctypes.string_at(0)",
    "recurses": "def ids_of(words, vocabulary):\n    return ids_of(words, vocabulary)",
    "asks": "def ids_of(words, vocabulary):\n    return input('your turn: ')",
}


@pytest.mark.parametrize("harm", HARM)
def test_a_harmful_answer_costs_only_its_own_points(library, harm, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "kept.txt").write_text("kept")
    imports = "import os, shutil, subprocess, ctypes, torch"
    start = time.monotonic()
    made, results = graded(library, tmp_path, imports, f"ELSEWHERE = {str(elsewhere)!r}", GOOD, HARM[harm])
    assert time.monotonic() - start < 60
    assert results["words_of"]["state"] == "right" and made.points == 1
    assert results["ids_of"]["state"] == "wrong" and len(results["ids_of"]["sentence"]) > 10
    assert results["coverage_at"]["sentence"] == "there is no such function", "the rest is checked, too"
    assert (elsewhere / "kept.txt").read_text() == "kept" and (tmp_path / "a.ipynb").is_file()


@pytest.mark.parametrize(
    "said",
    [
        '{"ended": 1}',
        '{"process": 1}',
        '{"done": true}',
        '{"task": "words_of", "state": "wrong", "points": 0, "sentence": "mine"}',
        '{"task": "ids_of", "state": "right", "points": 1000, "sentence": ""}',
        '["expected"]',
        "no JSON",
        "9" * 10**5,
        "",
    ],
)
def test_a_submission_that_writes_everywhere_does_not_grade_the_next(library, said, tmp_path):
    """Into each descriptor that it has; then it stays for a while."""
    writes = f"    for place in range(3, 64):\n        try:\n            os.write(place, {said!r}.encode() + b'\\n')\n"
    answer = f"def ids_of(words, vocabulary):\n{writes}        except OSError:\n            pass\n    time.sleep(1)"
    made, _ = graded(library, tmp_path, "import os, time", answer)
    assert made.points <= TASKS["ids_of"].points
    made, results = graded(library, tmp_path, GOOD)
    assert results["words_of"]["state"] == "right" and made.error == "" and made.points == 1


def test_a_submission_that_writes_everywhere_without_end_is_stopped(library, tmp_path):
    answer = "def ids_of(words, vocabulary):\n    while True:\n        for place in range(3, 64):\n"
    answer += "            try:\n                os.write(place, b'x' * 10**5)\n"
    answer += "            except OSError:\n                pass"
    start = time.monotonic()
    made, results = graded(library, tmp_path, "import os", GOOD, answer)
    assert made.error == "it wrote among the results of its own checks" and time.monotonic() - start < 30
    assert results["words_of"]["state"] == "right", "what was checked before counts"


def test_code_that_never_ends_outside_the_answers_is_not_run(library, tmp_path):
    assert graded(library, tmp_path, GOOD, "while True:\n    pass")[1]["words_of"]["state"] == "right"


def test_what_ends_the_process_as_it_is_defined_costs_only_what_uses_it(library, tmp_path):
    answer = "def ids_of(words, vocabulary):\n    return A"
    made, results = graded(library, tmp_path, "class A:\n    import os\n    os._exit(1)", GOOD, answer)
    assert results["words_of"]["state"] == "right" and made.points == 1 and not made.error
    assert results["ids_of"]["sentence"].startswith("it ended the process")


def test_importing_the_library_has_a_limit_of_its_own(tmp_path):
    """A busy machine may take longer for it than an answer may be silent."""
    with grade.Library() as own:
        made, _ = graded(own, tmp_path, GOOD, limits=Limits(start=0.01, silence=30))
        assert made.error.startswith("it could not be read")
        assert graded(own, tmp_path, GOOD, limits=Limits(start=60, silence=2))[1]["words_of"]["state"] == "right"


def test_the_time_of_one_submission_is_limited(library, tmp_path):
    """Several answers that never end: what is not reached is told, and nothing takes longer than allowed."""
    forever = HARM["a loop that catches all"].partition("\n")[2]
    cells = [f"def {name}{TASKS[name].parameters}:\n{forever}" for name in ("words_of", "ids_of", "padded")]
    start = time.monotonic()
    made, results = graded(library, tmp_path, *cells, limits=Limits(silence=3, seconds=7, call=0.5, memory=2**30))
    assert time.monotonic() - start < 40 and made.points == 0
    assert results["words_of"]["sentence"].startswith("it ended the process, or took too much time")
    assert results["attend"]["sentence"] == "not reached: the submission's time was over"


def test_nothing_of_this_process_is_told_to_a_submission(tmp_path, monkeypatch):
    monkeypatch.setenv("A_SECRET", "hidden")
    spy = "import os\ndef words_of(caption):\n    return [os.environ.get('A_SECRET', 'nothing')]"
    with grade.Library() as own:
        sentence = graded(own, tmp_path, spy)[1]["words_of"]["sentence"]
    assert "'nothing'" in sentence and "hidden" not in sentence


def test_many_submissions_one_table_one_file(tmp_path, capsys):
    """Also one that is no notebook, one that is missing, one without answers: each gets its line."""
    (tmp_path / "b.ipynb").write_text("no notebook")
    paths = [
        submit(tmp_path / "a.ipynb", GOOD),
        tmp_path / "b.ipynb",
        tmp_path / "missing.ipynb",
        submit(tmp_path / "d.ipynb", "x = 1"),
        submit(tmp_path / "e.ipynb", "import os\ndef words_of(caption):\n    os._exit(1)"),
        submit(tmp_path / "f.ipynb", GOOD),
    ]
    out = tmp_path / "grades.json"
    assert grade.main([*map(str, paths), "--json", str(out), "--seed", "3"]) == 0
    content = json.loads(out.read_text())
    made = {Path(one["file"]).name: one for one in content["submissions"]}
    assert content["seed"] == 3 and [one["file"] for one in content["submissions"]] == list(map(str, paths))
    assert [made[name]["points"] for name in ("a.ipynb", "b.ipynb", "e.ipynb", "f.ipynb")] == [1, 0, 0, 1]
    assert made["b.ipynb"]["error"].startswith("this is not a notebook")
    assert made["missing.ipynb"]["error"] == "there is no such file"
    assert made["d.ipynb"]["error"] == "no function in it has the name of a task"
    text = capsys.readouterr().out
    assert text.startswith("seed 3\n") and f"{paths[0]}  1/" in text
    assert "✓ words_of" in text and "✗ words_of" in text and "not a notebook" in text


def test_names_and_errors_that_are_no_text_lose_nobodys_grades(tmp_path, capsys):
    """A name from a zip of another encoding, a lone surrogate, a terminal's colours: each is shown as its escape."""
    names = "M\udcfcller", "M\udcfdller", "M\\udcfcller", "two\nlines", "\x1b[31mred"
    paths = [submit(tmp_path / f"{name}.ipynb", GOOD) for name in names]
    said = "def words_of(caption):\n    raise ValueError('\\ud83d \\x1b[31m \\x07 \\u202e')"
    paths.append(submit(tmp_path / "error.ipynb", said))
    paths.append(submit(tmp_path / "default.ipynb", "def words_of(caption, x=[][chr(0xd83d)]):\n    return x"))
    out = tmp_path / "grades.json"
    assert grade.main([*map(str, paths), "--json", str(out), "--seed", "3"]) == 0
    table = capsys.readouterr().out
    made = json.loads(out.read_bytes().decode())["submissions"]
    assert [one["points"] for one in made] == [1, 1, 1, 1, 1, 0, 0]
    assert len({one["file"] for one in made}) == len(paths), "each can be told from the others"
    assert table.encode().decode() == table and table.replace("\n", "").isprintable()
    assert len(table.splitlines()) == 1 + len(paths) + sum(len(one["tasks"]) for one in made)
    for shown in (r"M\udcfcller", r"M\udcfdller", r"M\\udcfcller", r"two\nlines", r"\x1b[31mred"):
        assert f"/{shown}.ipynb  1/" in table
    assert r"ValueError: \ud83d \x1b[31m \x07 \u202e" in table


def test_what_cannot_be_written_is_found_before_the_grading_and_never_loses_the_table(tmp_path, capsys, monkeypatch):
    path = submit(tmp_path / "a.ipynb", GOOD)
    (tmp_path / "file").write_text("no folder")
    for place in (tmp_path, tmp_path / "file/grades.json", "/proc/grades.json"):
        with pytest.raises(OSError, match="could not be written"):
            grade.main([str(path), "--json", str(place)])
    assert "words_of" not in capsys.readouterr().out, "nothing has been graded yet"
    with pytest.raises(SystemExit):
        grade.main(["--json", str(path), str(path)])
    assert "is a notebook" in capsys.readouterr().err and path.stat().st_size > 100
    out = tmp_path / "new folder/grades.json"
    monkeypatch.setattr(grade.files, "check_writable", lambda _: out.mkdir(parents=True))  # it comes in between
    with pytest.raises(OSError, match=r"grades\.json could not be written"):
        grade.main([str(path), "--json", str(out)])
    assert "✓ words_of" in capsys.readouterr().out


def test_each_submission_is_told_and_kept_as_soon_as_it_is_done(tmp_path):
    """Ctrl-C in the second one: the first one's grades are there, in the file and in the table."""
    forever = "def ids_of(words, vocabulary):\n    while True:\n        pass"
    paths = [submit(tmp_path / "a.ipynb", GOOD), submit(tmp_path / "b.ipynb", forever)]
    out = tmp_path / "new/grades.json"
    command = [sys.executable, "-m", "scripts.grade", *map(str, paths), "--json", str(out), "--seed", "3"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr.readline().startswith(f"[1/2] {paths[0]}  1/")
        while not out.is_file():
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        table, said = process.communicate(timeout=30)
    assert process.returncode == 130 and said == ""
    assert table.startswith(f"seed 3\n{paths[0]}  1/") and "✓ words_of" in table and "b.ipynb" not in table
    assert [one["points"] for one in json.loads(out.read_text())["submissions"]] == [1]


def test_a_path_that_cannot_be_read_costs_no_other_grade(tmp_path, capsys):
    (tmp_path / "folder").mkdir()
    paths = [tmp_path / f"{'x' * 300}.ipynb", tmp_path / "folder", submit(tmp_path / "a.ipynb", GOOD)]
    assert grade.main(list(map(str, paths))) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].endswith("it could not be read: File name too long")
    assert lines[2].endswith(f"this is a folder: name the notebooks in it, as {tmp_path}/folder/*.ipynb does")
    assert "  1/" in lines[3]


def test_an_empty_folder_and_limits_that_admit_nothing_are_refused(tmp_path, capsys):
    with pytest.raises(ValueError, match=r"nothing to grade, there is no \S+/\*\.ipynb"):
        grade.main([str(tmp_path / "*.ipynb")])
    path = str(submit(tmp_path / "a.ipynb", GOOD))
    for option in ("--seconds=0", "--seconds=-3", "--memory=0", "--memory=-1", "--memory=nan", "--seed=-1"):
        with pytest.raises(SystemExit):
            grade.main([path, option])
        said = capsys.readouterr()
        assert "must be" in said.err and "python -m scripts.grade" in said.err and not said.out, option


def test_seeds_are_fresh_and_told(tmp_path, capsys):
    path = submit(tmp_path / "a.ipynb", "x = 1")
    seeds = set()
    for _ in range(2):
        grade.main([str(path)])
        seeds.add(capsys.readouterr().out.split("\n")[0])
    assert len(seeds) == 2


def test_nothing_is_left_behind(library, tmp_path, monkeypatch):
    monkeypatch.setattr(grade.tempfile, "tempdir", str(tmp_path))
    graded(library, tmp_path, GOOD, "def ids_of(words, vocabulary):\n    open('made.txt', 'w').write('x')")
    assert sorted(os.listdir(tmp_path)) == ["a.ipynb"]
