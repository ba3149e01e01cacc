"""What a user of the notebooks relies on when a cell ends in an error: its line, and the sentence. A real kernel."""

import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from jupyter_client import KernelManager
from jupyter_client.kernelspec import KernelSpecManager

ROOT = Path(__file__).parents[2]
ENDLESS = "from dataset.progress import shown\nprint('started', flush=True)\nlen([0 for _ in shown(iter(int, 1))])"
CHAINED = """
def look_up():
    try:
        {}["dog"]
    except KeyError as error:
        raise ValueError("no dog") from error
"""


@pytest.fixture(scope="module")
def told() -> Iterator[Callable[..., list[str]]]:
    """`told(cell)`: the error that a cell ends in, as lines without colours; interrupted as soon as it prints."""
    manager = KernelManager(kernel_spec_manager=KernelSpecManager(kernel_dirs=[]))
    manager.start_kernel(cwd=str(ROOT), extra_arguments=["--log-level=ERROR"])
    client = manager.client()
    client.start_channels()
    client.wait_for_ready(timeout=60)

    def run(cell: str) -> list[str]:
        lines: list[str] = []

        def hear(message: dict) -> None:
            if message["msg_type"] == "stream" and "started" in message["content"]["text"]:
                threading.Timer(0.1, manager.interrupt_kernel).start()
            lines.extend(message["content"].get("traceback", []))

        client.execute_interactive(cell, output_hook=hear, timeout=60, allow_stdin=False)
        return re.sub(r"\x1b\[[0-9;]*m", "", "\n".join(lines)).splitlines()

    assert run("from figures.ideas import course_map") == []  # how each notebook begins
    yield run
    client.stop_channels()
    manager.shutdown_kernel(now=True)


def test_what_the_course_says_is_shown_with_the_cells_lines_alone(told):
    cell = "from dataset.loading import load_records\ndef mine():\n    return load_records('sampel')\nmine()"
    lines = told(cell)
    assert lines[-1].startswith("FileNotFoundError: No dataset at ") and "did you mean 'sample'?" in lines[-1]
    arrows = [line for line in lines if line.startswith("---->")]
    assert arrows == ["----> 4 mine()", "----> 3     return load_records('sampel')"]
    assert not any("loading.py" in line for line in lines)
    whole = "\n".join(told("%tb"))
    assert "loading.py" in whole and "paths.py" in whole and lines[-1] in whole


def test_an_interrupt_shows_where_the_cell_was_and_what_to_do(told):
    lines = told(ENDLESS)
    assert lines[-2].startswith("KeyboardInterrupt") and "run this one again" in lines[-1]
    assert any(line.startswith("----> 3 len(") for line in lines) and not any("tqdm" in line for line in lines)


def test_a_cell_that_was_left_out_is_asked_for(told):
    for cell in ("course_mapp(0)", "{}['attention']"):
        assert told(cell)[-1].startswith("Has every cell above been run to its end?")


def test_other_errors_are_shown_whole(told):
    lines = told(CHAINED + "look_up()")
    assert lines[-1] == "ValueError: no dog" and "KeyError: 'dog'" in lines
    lines = told("def mine(x)\n    return x")
    assert lines[-1].startswith("SyntaxError") and not any("interactiveshell" in line for line in lines)
    lines = told("import json\njson.loads('{')")
    assert lines[-1].startswith("JSONDecodeError") and any("decoder.py" in line for line in lines)
