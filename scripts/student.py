"""The student edition: the notebooks with stubs in place of the solutions.

    python -m scripts.student                                    # student/0_Dataset.ipynb … ; solutions follow, folded
    python -m scripts.student --without-solutions --out graded   # for work that is graded

Comes in: the notebooks of this folder. Goes out: the same without solutions and outputs, in a folder of their own that
uses the library, data and runs of this one. What a student has written there is never written over unasked.
"""

import argparse
import sys
from pathlib import Path

import nbformat

from dataset import files
from exercises.edition import STUB, edition
from scripts.ending import one_sentence

ROOT = Path(__file__).resolve().parents[1]


def main(arguments: list[str] | None = None) -> int:
    """The command; returns 0. Raises ValueError for a wrong marker, FileExistsError rather than write over work."""
    description, usage = "Make the student edition.", __doc__.split("\n\n")[1]
    parser = argparse.ArgumentParser(prog="python -m scripts.student", description=description, epilog=usage)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("notebooks", nargs="*", type=Path, help="all of the course by default", metavar="NOTEBOOK")
    parser.add_argument("--out", type=Path, default=ROOT / "student", help="the edition's folder (student)")
    parser.add_argument("--without-solutions", action="store_true", help="leave out the folded solutions")
    parser.add_argument("--force", action="store_true", help="write over notebooks that are there")
    args = parser.parse_args(arguments)

    paths = args.notebooks or sorted(ROOT.glob("[0-9]_*.ipynb"))
    made: dict[Path, str] = {}
    stubs: dict[Path, int] = {}
    for path in paths:
        notebook = nbformat.read(path, as_version=4)
        try:
            student = edition(notebook, [p.name for p in paths], solutions=not args.without_solutions)
        except ValueError as error:
            raise ValueError(f"{path.name}, {error}") from None
        made[args.out / path.name] = nbformat.writes(student) + "\n"
        stubs[args.out / path.name] = sum(cell.source.count(STUB) for cell in student.cells)
    changed = [p for p, text in made.items() if p.exists() and p.read_text(encoding="utf-8") != text]
    if changed and not args.force:
        advice = "--out FOLDER writes elsewhere, --force writes over it"
        raise FileExistsError(f"{changed[0]} is there and differs, perhaps somebody's work: {advice}")
    for path, text in made.items():
        files.write(path, text)
        print(f"{path}: {stubs[path]} functions to write")
    return 0


if __name__ == "__main__":
    with one_sentence():
        sys.exit(main())
