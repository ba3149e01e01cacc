"""The notebooks, executed: into pages that read without a network, or in place.

    python -m scripts.notebooks run       # build/0_Dataset.html … and build/index.html; the notebooks stay as they are
    python -m scripts.notebooks update    # executes the notebooks in place, for those who maintain the course

Comes in: notebooks; by default the numbered ones of this folder, in order, as each uses what the one before has left.
Goes out: the same notebooks executed and clean, and one HTML page each, with figures and styles inside, formulas as
MathML, and no script. It knows nothing of captions. It stops at the first cell that fails, and says which.
"""

import argparse
import html
import os
import re
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from string import Template
from typing import Any
from urllib.parse import urlsplit
from xml.etree import ElementTree

import nbformat
from jupyter_client import AsyncKernelManager
from jupyter_client.kernelspec import KernelSpecManager
from latex2mathml.converter import convert_to_element
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, DeadKernelError
from nbconvert import HTMLExporter
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath
from nbformat import NotebookNode
from pygments.formatters import HtmlFormatter
from traitlets import default

from dataset import files
from scripts.ending import one_sentence

ROOT = Path(__file__).resolve().parents[1]
PAGE = Template(Path(__file__).with_name("page.html").read_text(encoding="utf-8"))
WIDGET = "application/vnd.jupyter.widget-view+json"
WIDGET_NOTE = "*(interactive: run this notebook to use it)*"
PROGRESS_BAR = re.compile(r"\d+%\||\d+it \[")  # as tqdm draws them, with and without a known end


class OwnKernel(AsyncKernelManager):
    """The kernel of the Python that runs this script, whatever kernels called "python3" the computer has beside it."""

    @default("kernel_spec_manager")
    def _only_the_native_one(self) -> KernelSpecManager:
        return KernelSpecManager(kernel_dirs=[])


def execute(notebook: NotebookNode) -> None:
    """Fills in the outputs, cell by cell, in a fresh kernel that works in the course's folder.

    Raises CellExecutionError with the cell's source and the traceback, DeadKernelError where the kernel was killed.
    """
    client = NotebookClient(
        notebook,
        timeout=None,  # a cell may train for hours on the real data
        kernel_name="python3",
        kernel_manager_class=OwnKernel,
        extra_arguments=["--log-level=ERROR"],  # some versions warn of each kernel that its loopback is not encrypted
        resources={"metadata": {"path": str(ROOT)}},
        coalesce_streams=True,
        record_timing=False,
        store_widget_state=False,
    )
    client.comm_open_handlers = {}  # nbclient's stand-in for Output widgets can wait for itself for ever
    client.execute()


def clean(notebook: NotebookNode) -> None:
    """Leaves what a reader wants and what changes only with the course: no counts, no times, no progress bars.

    A widget is dead without a kernel: a note takes its place. Anything else on stderr stays: it should be seen.
    """
    kernelspec = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
    notebook.metadata = nbformat.from_dict({"kernelspec": kernelspec, "language_info": {"name": "python"}})
    for cell in notebook.cells:
        cell.metadata = nbformat.from_dict({k: v for k, v in cell.metadata.items() if k == "tags"})
        if cell.cell_type == "code":
            cell.execution_count = None
            cell.outputs = [kept for output in cell.outputs if (kept := _clean_output(output))]


def _clean_output(output: NotebookNode) -> NotebookNode | None:
    if output.output_type == "execute_result":
        output.execution_count = None
    if output.get("name") == "stderr":
        lines = [line for line in re.split(r"[\r\n]+", output.text) if line.strip() and not PROGRESS_BAR.search(line)]
        output.text = "\n".join(lines)
        return output if lines else None
    if WIDGET in output.get("data", {}):
        if PROGRESS_BAR.search(output.data.get("text/plain", "")):
            return None
        output.data = nbformat.from_dict({"text/markdown": WIDGET_NOTE, "text/plain": WIDGET_NOTE.strip("*")})
    if "image/jpeg" in output.get("data", {}):  # some kernels add a PNG of the same figure
        output.data.pop("image/png", None)
    return output


def formula(latex: str, display: str) -> str:
    """LaTeX, as Jupyter's markdown knows it, to MathML, which browsers draw by themselves; display is inline or block.

    Raises ValueError for what latex2mathml doesn't know: it would otherwise leave the command's name in the page.
    """
    math = convert_to_element(latex.replace("{aligned}", "{align*}"), display=display)
    math.attrib.pop("xmlns")  # HTML needs none
    for node in math.iter():
        node.text = html.unescape(node.text or "")
        if node.tag != "mtext" and ("\\" in node.text or node.text == "&"):
            raise ValueError(f"the formula {latex.strip()!r} cannot be drawn: latex2mathml does not know {node.text!r}")
        if node.tag in ("mi", "mo") and len(node.text) > 1 and node.text.isalpha():
            node.tag = "mo"  # log, exp, softmax: set apart a little
            node.attrib |= {"lspace": "0.1em", "rspace": "0.1em"}
    mathml = ElementTree.tostring(math, encoding="unicode")
    return f'<span class="formula">{mathml}</span>' if display == "block" else mathml


class Markdown(IPythonRenderer):
    """nbconvert's own markdown, but formulas become MathML, and links lead from page to page and to the sources."""

    def __init__(self, to_root: str, **options: Any) -> None:
        super().__init__(escape=False, embed_images=True, **options)
        self.to_root = to_root

    def inline_math(self, body: str) -> str:
        """$…$ as MathML."""
        return formula(body, "inline")

    def block_math(self, body: str) -> str:
        """$$…$$ as MathML."""
        return formula(body, "block")

    def latex_environment(self, name: str, body: str) -> str:
        """An environment outside dollars, as `align`, as MathML."""
        return formula(rf"\begin{{{name}}}{body}\end{{{name}}}", "block")

    def block_html(self, text: str) -> str:
        """A piece with pictures as nbconvert has it; others untouched, or a <details> would close before its text."""
        return super().block_html(text) if "<img" in text else text

    def link(self, text: str, url: str, title: str | None = None) -> str:
        """A link: from a notebook to the page of another one, from a file to the file in the course's folder."""
        if urlsplit(url).path.endswith(".ipynb"):
            url = url.replace(".ipynb", ".html")
        elif urlsplit(url).path and not urlsplit(url).scheme:
            url = f"{self.to_root}/{url}"
        return super().link(text, url, title)


class Page(HTMLExporter):
    """The notebook's cells as HTML, without nbconvert's frame, which asks the network for scripts."""

    def __init__(self, to_root: str) -> None:
        super().__init__(template_name="basic", exclude_input_prompt=True, exclude_output_prompt=True)
        self.to_root = to_root
        self.log.setLevel("ERROR")  # it warns about figures without a description, which get one below

    def default_filters(self) -> Iterator[tuple[str, Callable]]:
        yield from super().default_filters()
        yield "markdown2html", self.markdown

    def markdown(self, source: str) -> str:
        """A cell's markdown as HTML."""
        return MarkdownWithMath(Markdown(self.to_root, path=str(ROOT))).render(source)


def write_page(notebook: NotebookNode, path: Path) -> None:
    """Writes one HTML page with everything in it; raises ValueError for a formula that it cannot draw."""
    body, _ = Page(Path(os.path.relpath(ROOT, path.parent)).as_posix()).from_notebook_node(notebook)
    body = body.replace("No description has been provided for this image", "What the code above draws")
    title, highlight = html.escape(heading(notebook)[0]), HtmlFormatter().get_style_defs(".highlight")
    files.write(path, PAGE.substitute(title=title, highlight=highlight, body=body))


def heading(notebook: NotebookNode) -> tuple[str, str]:
    """(title, promise): the first line and the first paragraph after it."""
    title, _, rest = notebook.cells[0].source.partition("\n")
    return title.lstrip("# "), rest.strip().split("\n\n")[0]


def index(notebooks: dict[str, NotebookNode]) -> NotebookNode:
    """The page that leads to the others, as a notebook."""
    cells = ["# The course"]
    for name, notebook in notebooks.items():
        title, promise = heading(notebook)
        cells.append(f"### [{title}]({name})\n{promise}")
    return nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell(cell) for cell in cells])


def main(arguments: list[str] | None = None) -> int:
    """The command; returns 0, or 1 when a cell failed or a kernel was killed."""
    description, usage = "Execute the notebooks.", __doc__.split("\n\n")[1]
    parser = argparse.ArgumentParser(prog="python -m scripts.notebooks", description=description, epilog=usage)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("what", choices=["run", "update"], help="run: into pages; update: in place")
    parser.add_argument("notebooks", nargs="*", type=Path, help="all of them by default, in order", metavar="NOTEBOOK")
    parser.add_argument("--out", type=Path, default=Path("build"), help="the pages' folder (build)")
    args = parser.parse_intermixed_args(arguments)

    done: dict[str, NotebookNode] = {}
    for path in args.notebooks or sorted(ROOT.glob("[0-9]_*.ipynb")):
        notebook, start = nbformat.read(path, as_version=4), time.perf_counter()
        print(f"{path.name:24}", end="", flush=True)
        try:
            execute(notebook)
        except CellExecutionError as error:
            failed = [any(o.output_type == "error" for o in cell.get("outputs", [])) for cell in notebook.cells]
            place = f"{path.name}, cell {failed.index(True) + 1} of {len(failed)}"
            print(f"FAILED\n\n{place}:\n{error}", file=sys.stderr)
            return 1
        except DeadKernelError:
            print(f"FAILED\n\n{path.name}: its kernel was killed; is the memory too small?", file=sys.stderr)
            return 1
        print(f"{time.perf_counter() - start:5.0f} s", flush=True)
        clean(notebook)
        done[path.name] = notebook
        made = path if args.what == "update" else args.out / path.name
        files.write(made, nbformat.writes(notebook) + "\n")
        if args.what == "run":
            write_page(notebook, made.with_suffix(".html"))

    if args.what == "run":
        write_page(index(done), args.out / "index.html")
        print(f"\nThe pages: {(args.out / 'index.html').resolve().as_uri()}")
    return 0


if __name__ == "__main__":
    with one_sentence():
        sys.exit(main())
