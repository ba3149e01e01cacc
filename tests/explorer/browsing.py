"""What the tests in a real browser share: JupyterLab on loopback, and what a person does in its pages.

Playwright drives Debian's chromium. Screenshots are kept in build/screens.
"""

import contextlib
import json
import os
import re
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import nbformat
from nbformat.v4 import new_code_cell, new_notebook

ROOT = Path(__file__).parents[2]
SCREENS = ROOT / "build" / "screens"
TOKEN = "a-token-of-this-test"
LAPTOP, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}
SLOW = 180_000  # milliseconds, for a busy machine


def write(path: Path, cells: list[str]) -> None:
    kernel = {"kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}}
    nbformat.write(new_notebook(cells=[new_code_cell(cell) for cell in cells], metadata=kernel), path)


@contextlib.contextmanager
def lab(folder: Path, home: Path) -> Iterator[str]:
    """JupyterLab over a folder, with settings of its own; gives its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    places = ("CONFIG_DIR", "DATA_DIR", "RUNTIME_DIR", "LAB_SETTINGS_DIR", "LAB_WORKSPACES_DIR")
    environment = os.environ | {f"JUPYTER{'' if 'LAB' in name else '_'}{name}": str(home / name) for name in places}
    environment |= {"JUPYTER_TOKEN": TOKEN, "IPYTHONDIR": str(home / "ipython"), "HOME": str(home)}
    environment |= {"PYTHONPATH": str(ROOT)} if folder != ROOT else {}
    news = home / "LAB_SETTINGS_DIR" / "@jupyterlab/apputils-extension" / "notification.jupyterlab-settings"
    news.parent.mkdir(parents=True)
    news.write_text(json.dumps({"fetchNews": "false", "checkForUpdates": False}))
    command = [sys.executable, "-m", "jupyter", "lab", "--no-browser", "--allow-root"]
    command += ["--ip=127.0.0.1", f"--port={port}"]
    command += [f"--ServerApp.root_dir={folder}", "--ServerApp.port_retries=0", "--LabApp.extension_manager=readonly"]
    log = home / "log"
    with log.open("w") as lines:
        server = subprocess.Popen(command, env=environment, cwd=folder, stdout=lines, stderr=lines)
    try:
        while True:
            with (
                contextlib.suppress(OSError),
                urllib.request.urlopen(f"http://127.0.0.1:{port}/api/status?token={TOKEN}", timeout=5),
            ):
                break
            assert server.poll() is None, log.read_text()
            time.sleep(0.2)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait(60)


def run_all(page, url: str, notebook: str, wait: int = SLOW) -> None:
    """Opens a notebook in JupyterLab and runs all its cells."""
    from playwright.sync_api import expect

    page.goto(f"{url}/lab/tree/{notebook}?token={TOKEN}&reset")
    expect(page.locator("#jp-main-statusbar")).to_contain_text("| Idle", timeout=SLOW)
    page.locator("#jp-MainMenu").get_by_text("Run", exact=True).click()
    page.locator(".lm-Menu-item[data-command='runmenu:run-all']").click()
    expect(page.locator("#jp-main-statusbar")).to_contain_text("| Busy", timeout=SLOW)
    expect(page.locator(".jp-InputPrompt", has_text="[*]")).to_have_count(0, timeout=wait)  # not only between two
    expect(page.locator("#jp-main-statusbar")).to_contain_text("| Idle", timeout=SLOW)


def settle(explorer) -> None:
    from playwright.sync_api import expect

    expect(explorer).not_to_have_class(re.compile("busy"))


def keep(page, explorer, name: str) -> None:
    SCREENS.mkdir(parents=True, exist_ok=True)
    explorer.scroll_into_view_if_needed()
    explorer.screenshot(path=SCREENS / f"{name.removeprefix('test_')}.png")


def sentence(explorer, pane: int = 0) -> str:
    return " ".join(explorer.locator(".pane").nth(pane).locator(".word").all_inner_texts())


def look(explorer) -> str:
    return explorer.locator(".pane").first.locator(".frame.on").get_attribute("src")


def bring(page, explorer, path: Path) -> None:
    with page.expect_file_chooser() as chooser:
        explorer.get_by_role("button", name="your own").click()
    chooser.value.set_files(path)
