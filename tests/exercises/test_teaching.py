"""docs/TEACHING.md tells the truth: it knows all tasks, quotes the checks, and its links and commands exist."""

import re
import shlex
import shutil
from pathlib import Path

from exercises.checking import BUGS, TASKS
from scripts import grade, student

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "TEACHING.md").read_text(encoding="utf-8")


def section(title: str) -> str:
    return TEXT.split(f"## {title}", 1)[1].split("\n## ", 1)[0]


def test_each_task_stands_in_the_row_of_its_notebook():
    rows = re.findall(r"^\| \[(\w+)\]\(.*\| (.+) \| (.+) \|$", section("What each notebook is for"), re.M)
    there = {name: (re.findall(r"`(\w+)`", tasks), [int(n) for n in bugs.split(",")]) for name, tasks, bugs in rows}
    assert there == {
        name: (
            [task.name for task in TASKS.values() if task.notebook == name],
            [number for number, bug in BUGS.items() if bug.notebook == name],
        )
        for name in there
    }
    assert len(there) == 4


def test_what_it_quotes_is_what_the_checks_say():
    rows = re.findall(r"^\| `(\w+)` \| \"(.+?)\" \|", section("Common mistakes"), re.M)
    assert len(rows) > 15
    wrong = [(name, said) for name, said in rows if said not in {trap.sentence for trap in TASKS[name].traps}]
    assert wrong == []
    assert set(re.findall(r"^\| `(\w+)` \|", section("Common mistakes"), re.M)) == set(TASKS)


def test_links_and_commands_lead_somewhere():
    links = [link.split("#")[0] for link in re.findall(r"\]\(([^)\s]+)\)", TEXT)]
    assert [link for link in links if not (ROOT / "docs" / link).exists()] == []
    scripts = re.findall(r"python -m scripts\.(\w+)", TEXT)
    assert scripts and [name for name in scripts if not (ROOT / "scripts" / f"{name}.py").is_file()] == []


def test_the_commands_for_handing_out_and_grading_run_one_after_the_other(tmp_path, monkeypatch, capsys):
    for path in ROOT.glob("[0-9]_*.ipynb"):
        shutil.copy(path, tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(student, "ROOT", tmp_path)
    block = re.search(r"```bash\n(.*?)```", section("Handing out"), re.S)[1]
    for line in block.replace("make student", "python -m scripts.student").splitlines():
        _, _, command, *options = shlex.split(line, comments=True)
        if command == "scripts.student":
            assert student.main(options) == 0
        else:
            shutil.copytree("graded", "handed-in")
            files = [str(path) for path in sorted(Path().glob(options[0]))]
            assert command == "scripts.grade" and grade.main(files + options[1:]) == 0
    assert len(list(Path("student").iterdir())) == len(list(Path("graded").iterdir())) == 4
    assert Path("grades.json").is_file() and capsys.readouterr().out.count("still to write") == len(TASKS) + len(BUGS)
