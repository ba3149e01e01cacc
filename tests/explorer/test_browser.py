"""The widgets in a real browser: Playwright drives Debian's chromium over JupyterLab and Voilà on loopback.

Skipped where there is no chromium; .ci/run installs it. Screenshots are kept in build/screens.
"""

import contextlib
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import nbformat
import numpy as np
import pytest
from nbformat.v4 import new_code_cell, new_notebook
from PIL import Image

from dataset.sample import making
from explorer.widget import explore
from figures.curves import learning
from scripts import app, train

ROOT = Path(__file__).parents[2]
SCREENS = ROOT / "build" / "screens"
TOKEN = "a-token-of-this-test"
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
QUICK = ["--hidden-size", "16", "--epochs", "2", "--images-per-batch", "4", "--detector-epochs", "1"]
LAPTOP, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}
SLOW = 180_000  # milliseconds, for a busy machine

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium here: apt-get install chromium")


@pytest.fixture(scope="module")
def browser() -> Iterator:
    from playwright.sync_api import expect, sync_playwright

    expect.set_options(timeout=60_000)
    quiet = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"]
    quiet += ["--disable-background-networking", "--disable-component-update"]
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=quiet)
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A folder with a tiny sample, a tiny trained model with attention and one without, the app, and a notebook."""
    folder = tmp_path_factory.mktemp("place")
    with contextlib.chdir(folder):
        making.make("data/sample", train=8, val=3, test=3)
        train.main([*QUICK, "--preset", "vgg19_gru", "--name", "model"])
        train.main([*QUICK, "--preset", "lstm", "--name", "no_attention"])
    shutil.copytree(ROOT / "explorer", folder / "explorer")
    setup = nbformat.read(ROOT / app.NOTEBOOK, as_version=4).cells[1].source.replace("%cd -q ..\n", "")
    cells = [setup, 'captioners, pictures = shown()\nexplore(captioners["model"], pictures)']
    write(folder / "explore.ipynb", cells)
    return folder


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
    command = [
        sys.executable,
        "-m",
        "jupyter",
        "lab",
        "--no-browser",
        "--allow-root",
        "--ip=127.0.0.1",
        f"--port={port}",
    ]
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
    expect(page.locator("#jp-main-statusbar")).to_contain_text("| Idle", timeout=wait)


@pytest.fixture(scope="module")
def in_lab(browser, place, tmp_path_factory) -> Iterator:
    """The explorer of explore.ipynb in JupyterLab: (page, its element)."""
    with lab(place, tmp_path_factory.mktemp("home")) as url:
        page = browser.new_page(viewport=LAPTOP)
        run_all(page, url, "explore.ipynb")
        page.keyboard.press("Control+b")  # without the side bar
        yield page, page.locator(".explorer").first
        page.close()


@pytest.fixture(scope="module")
def voila(place) -> Iterator[str]:
    """The address, with its token, that `make app` prints."""
    with contextlib.chdir(place), app.served(0) as (url, _):
        yield url


@pytest.fixture(scope="module")
def in_voila(browser, voila) -> Iterator:
    page = browser.new_page(viewport=LAPTOP)
    page.goto(voila, timeout=SLOW)
    page.locator(".explorer .choice").first.wait_for(timeout=SLOW)
    yield page, page.locator(".explorer").first
    page.close()


@pytest.fixture(params=["in_lab", "in_voila"])
def opened(request) -> tuple:
    """The explorer in JupyterLab, then the same in Voilà; each test leaves it with the first picture chosen."""
    page, explorer = request.getfixturevalue(request.param)
    yield page, explorer
    keep(page, explorer, f"{request.node.originalname}-{request.param}")
    explorer.locator(".strip button").first.click()
    settle(explorer)


def settle(explorer) -> None:
    from playwright.sync_api import expect

    expect(explorer).not_to_have_class(re.compile("busy"))


def keep(page, explorer, name: str) -> None:
    SCREENS.mkdir(parents=True, exist_ok=True)
    explorer.scroll_into_view_if_needed()
    explorer.screenshot(path=SCREENS / f"{name.removeprefix('test_')}.png")


def sentence(explorer, pane: int = 0) -> str:
    return " ".join(explorer.locator(".pane").nth(pane).locator(".word").all_inner_texts())


def light(explorer) -> str:
    return explorer.locator(".pane").first.locator(".frame.on").get_attribute("src")


def bring(page, explorer, path: Path) -> None:
    with page.expect_file_chooser() as chooser:
        explorer.get_by_role("button", name="your own").click()
    chooser.value.set_files(path)


def test_the_slider_moves_the_light_and_the_marked_word(opened):
    from playwright.sync_api import expect

    page, explorer = opened
    slider, words = explorer.get_by_role("slider", name="Word"), explorer.locator(".pane").first.locator(".word")
    marked = explorer.locator(".pane").first.locator(".word[aria-current=true]")
    expect(marked).to_have_count(1)
    first = light(explorer)
    slider.focus()
    page.keyboard.press("ArrowRight")
    expect(words.nth(1)).to_have_attribute("aria-current", "true")
    second = light(explorer)
    assert second != first
    expect(explorer.get_by_role("img", name=f"“{words.nth(1).inner_text()}”")).to_be_visible()
    page.keyboard.press("End")
    expect(words.last).to_have_attribute("aria-current", "true")
    box = slider.bounding_box()
    page.mouse.move(box["x"] + box["width"] - 8, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + 8, box["y"] + box["height"] / 2, steps=12)
    page.mouse.up()
    expect(words.first).to_have_attribute("aria-current", "true")
    assert light(explorer) == first
    words.nth(1).click()
    expect(slider).to_have_value("1")
    assert light(explorer) == second
    expect(marked).to_have_count(1)


def test_play_walks_to_the_last_word(opened):
    from playwright.sync_api import expect

    _, explorer = opened
    words = explorer.locator(".pane").first.locator(".word")
    words.nth(words.count() - 2).click()
    explorer.get_by_role("button", name="Play").click()
    expect(words.last).to_have_attribute("aria-current", "true")
    expect(explorer.get_by_role("button", name="Play")).to_be_visible()


def test_an_alternative_opens_a_what_if_beside_the_caption(opened):
    from playwright.sync_api import expect

    _, explorer = opened
    before = sentence(explorer)
    explorer.locator(".pane").first.locator(".word").nth(1).click()
    other = explorer.locator(".pane").first.locator(".choice:not([disabled])").first
    word = other.locator("span").first.inner_text()
    other.click()
    expect(explorer.locator(".pane")).to_have_count(2)
    assert sentence(explorer) == before
    assert sentence(explorer, 1).split()[:2] == [before.split()[0], word]
    expect(explorer.locator(".pane").nth(1).locator(".word[aria-current=true]")).to_have_text(word)
    explorer.get_by_role("button", name="close this what-if").click()
    expect(explorer.locator(".pane")).to_have_count(1)


def test_pictures_strength_and_maps_can_be_chosen(opened):
    from playwright.sync_api import expect

    _, explorer = opened
    bare = explorer.locator(".bare .picture img")
    before = bare.get_attribute("src")
    explorer.locator(".strip button").nth(1).click()
    expect(bare).not_to_have_attribute("src", before)
    expect(explorer.locator(".strip button").nth(1)).to_have_attribute("aria-pressed", "true")
    for name, choice in (("map", "grid cells"), ("as", "colours"), ("map", "smooth"), ("as", "light")):
        before = light(explorer)
        explorer.get_by_label(name, exact=True).select_option(choice)
        expect(explorer.locator(".pane .frame.on")).not_to_have_attribute("src", before)
    explorer.get_by_label("strength").fill("0")
    expect(explorer.locator(".pane .frame.on")).to_have_css("opacity", "0")
    explorer.get_by_label("strength").fill("0.75")
    explorer.get_by_label("bare picture").uncheck()
    expect(bare).to_have_count(0)
    explorer.get_by_label("bare picture").check()
    explorer.get_by_label("beam width").fill("1")
    explorer.get_by_label("beam width").blur()
    settle(explorer)
    expect(explorer.get_by_label("beam width")).to_have_value("1")


def test_a_picture_of_ones_own_and_what_is_none(opened, tmp_path):
    from playwright.sync_api import expect

    page, explorer = opened
    before = explorer.locator(".strip button img").count()
    Image.new("RGB", (64, 48), "orange").save(tmp_path / "mine.png")
    bring(page, explorer, tmp_path / "mine.png")
    expect(explorer.locator(".bare img")).to_have_attribute("alt", "mine.png")
    expect(explorer.locator(".strip button img")).to_have_count(before + 1)
    (tmp_path / "text.png").write_text("hello, I am no picture")
    bring(page, explorer, tmp_path / "text.png")
    expect(explorer.get_by_role("status")).to_contain_text("text.png cannot be read as an image")
    expect(explorer.locator(".bare img")).to_have_attribute("alt", "mine.png")
    (tmp_path / "huge.png").write_bytes(b"no picture either" * 700_000)
    bring(page, explorer, tmp_path / "huge.png")
    expect(explorer.get_by_role("status")).to_contain_text("huge.png is larger than 4 MB")
    noise = np.random.default_rng(0).integers(0, 256, (1900, 2000, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / "photograph.png", compress_level=0)
    assert (tmp_path / "photograph.png").stat().st_size > 11_000_000
    bring(page, explorer, tmp_path / "photograph.png")
    expect(explorer.locator(".bare img")).to_have_attribute("alt", "photograph.png")
    expect(explorer.get_by_role("status")).to_be_empty()
    explorer.locator(".strip button").nth(2).click()
    expect(explorer.locator(".strip button").nth(2)).to_have_attribute("aria-pressed", "true")


def test_a_picture_can_be_dropped_on_it(opened):
    from playwright.sync_api import expect

    page, explorer = opened
    dropped = """async () => {
        const canvas = new OffscreenCanvas(40, 30); canvas.getContext("2d").fillRect(0, 0, 20, 30);
        const carried = new DataTransfer();
        carried.items.add(new File([await canvas.convertToBlob()], "dropped.png")); return carried; }"""
    explorer.dispatch_event("drop", {"dataTransfer": page.evaluate_handle(dropped)})
    expect(explorer.locator(".bare img")).to_have_attribute("alt", "dropped.png")


def test_two_models_side_by_side_and_one_without_attention(in_voila):
    from playwright.sync_api import expect

    page, explorer = in_voila
    explorer.get_by_label("beside it").select_option("no attention")
    expect(explorer.locator(".pane")).to_have_count(2)
    expect(explorer.locator(".pane").nth(1)).to_contain_text("has no attention")
    explorer.locator(".pane").nth(1).locator(".word").nth(1).click()
    for pane in (0, 1):
        expect(explorer.locator(".pane").nth(pane).locator(".word").nth(1)).to_have_attribute("aria-current", "true")
    keep(page, explorer, "two_models")
    explorer.get_by_label("beside it").select_option("nothing")
    expect(explorer.locator(".pane")).to_have_count(1)


def test_the_fields_of_the_page_have_the_limits_that_python_tells_it(browser, loaded, noise):
    from playwright.sync_api import expect

    told = {"num_beams": (2, 7, 1), "length_penalty": (0.5, 1.5, 0.25), "temperature": (0, 3, 0.5)}
    traits = ("names", "thumbnails", "picture", "panes", "settings", "message", "position")
    state = explore(loaded(), [noise]).get_state(traits) | {"limits": told}
    page = browser.new_page(viewport=LAPTOP)
    draw = """async ([code, state]) => {
        const { default: widget } = await import(URL.createObjectURL(new Blob([code], { type: "text/javascript" })));
        const nothing = () => {};
        const model = { get: (name) => state[name], on: nothing, off: nothing, set: nothing, send: nothing };
        widget.render({ model, el: document.body }); }"""
    page.evaluate(draw, [(ROOT / "explorer" / "widget.js").read_text(encoding="utf-8"), state])
    for label, name in (("beam width", "num_beams"), ("length penalty", "length_penalty"), ("temperature",) * 2):
        for attribute, number in zip(("min", "max", "step"), told[name], strict=True):
            expect(page.get_by_label(label)).to_have_attribute(attribute, str(number))
    page.close()


def test_the_page_asks_for_a_token_and_nothing_but_this_computer(browser, voila):
    with pytest.raises(urllib.error.HTTPError, match="403"):
        urllib.request.urlopen(voila.split("?")[0])
    with pytest.raises(urllib.error.HTTPError, match="403"):
        urllib.request.urlopen(voila.split("=")[0] + "=wrong")
    page = browser.new_page(viewport=LAPTOP)
    answered = []
    page.on("response", lambda response: answered.append(response.url))
    page.goto(voila, timeout=SLOW)
    page.locator(".explorer .choice").first.wait_for(timeout=SLOW)
    outside = [url for url in answered if not re.match(r"data:|blob:|http://127\.0\.0\.1:", url)]
    page.close()
    assert answered and outside == []


def test_it_fits_a_telephone(browser, voila):
    page = browser.new_page(viewport=PHONE, device_scale_factor=2, has_touch=True)
    page.goto(voila, timeout=SLOW)
    explorer = page.locator(".explorer")
    explorer.locator(".choice").first.wait_for(timeout=SLOW)
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    explorer.locator(".word").nth(1).tap()
    explorer.locator(".choice:not([disabled])").first.tap()
    explorer.locator(".close").wait_for()
    for button in (*explorer.locator(".word").all(), *explorer.locator(".choice").all()):
        assert button.bounding_box()["height"] >= 28, "large enough for a finger"
    page.screenshot(path=SCREENS / "telephone.png")
    page.close()


# ---------------------------------------------------------------------------------------- the real notebooks and pages


@pytest.fixture(scope="module")
def real(course, tmp_path_factory) -> Iterator[str]:
    """JupyterLab over a copy of the folder in which the course has run, with its sample and its models."""
    home = tmp_path_factory.mktemp("real")
    shutil.copytree(course[0], home / "course")  # Jupyter saves notebooks where it opens them
    with lab(home / "course", home / "jupyter") as url:
        yield url


@pytest.mark.notebooks
def test_the_explorer_of_3_inference(browser, real):
    from playwright.sync_api import expect

    page = browser.new_page(viewport=LAPTOP)
    run_all(page, real, "3_Inference.ipynb", wait=600_000)
    explorer = page.locator(".explorer").first
    expect(explorer.locator(".sight").first).to_be_attached()
    explorer.locator(".word").nth(1).click()
    first = light(explorer)
    explorer.get_by_role("slider", name="Word").focus()
    page.keyboard.press("ArrowRight")
    expect(explorer.locator(".word").nth(2)).to_have_attribute("aria-current", "true")
    assert light(explorer) != first
    explorer.get_by_label("true outlines").check()
    named = explorer.locator(".outline")
    expect(named.first).to_be_attached()
    explorer.locator(".choice:not([disabled])").first.click()
    expect(explorer.locator(".pane")).to_have_count(2)
    keep(page, explorer, "3_Inference")
    page.close()


@pytest.mark.notebooks
def test_the_dataset_is_browsed_and_the_threshold_moved(browser, real):
    from playwright.sync_api import expect

    page = browser.new_page(viewport=LAPTOP)
    run_all(page, real, "0_Dataset.ipynb", wait=600_000)
    shown = page.locator(".dataset-view img")
    before = shown.get_attribute("src")
    page.get_by_label("category").select_option("dog")
    expect(shown).not_to_have_attribute("src", before)
    keep(page, page.locator(".dataset-view"), "0_Dataset")
    run_all(page, real, "1_Preliminaries.ipynb", wait=600_000)
    page.locator(".noUi-handle").first.focus()
    before = page.locator(".coverage-view img").get_attribute("src")
    page.keyboard.press("End")
    expect(page.locator(".coverage-view img")).not_to_have_attribute("src", before)
    expect(page.locator(".coverage-view")).to_contain_text("<unk>")
    keep(page, page.locator(".coverage-view"), "1_Preliminaries")
    page.close()


@pytest.mark.notebooks
def test_the_pages_read_without_a_network(browser, course):
    context = browser.new_context(viewport=LAPTOP, offline=True)
    page = context.new_page()
    failed = []
    page.on("requestfailed", lambda request: failed.append(request.url))
    for name in ("index", "0_Dataset", "1_Preliminaries", "2_Training", "3_Inference"):
        page.goto((course[0] / "build" / f"{name}.html").as_uri())
        sizes = page.eval_on_selector_all("img", "images => images.map(image => image.naturalWidth)")
        assert failed == [] and all(sizes) and (sizes or name == "index")
        formulas = page.eval_on_selector_all("math", "all => all.map(math => math.getBoundingClientRect().height)")
        assert all(formulas) and (formulas or name == "index")
        page.screenshot(path=SCREENS / f"page-{name}.png")
    context.close()


def test_the_live_curve_stays_as_a_figure(browser, place, tmp_path):
    from playwright.sync_api import expect

    cell = """import time
from explorer.widget import explore
from figures.curves import learning
from IPython.display import display
chart, history = display(learning([], 3), display_id=True), []
for epoch in (1, 2, 3):
    history.append({"epoch": epoch, "train_perplexity": 9 / epoch, "val_perplexity": 10 / epoch})
    time.sleep(0.5)
    chart.update(learning(history, 3))"""
    write(place / "live.ipynb", [cell])
    with lab(place, tmp_path) as url:
        page = browser.new_page(viewport=LAPTOP)
        run_all(page, url, "live.ipynb")
        chart = page.locator(".jp-OutputArea-output img")
        expect(chart).to_have_count(1)
        history = [{"epoch": n, "train_perplexity": 9 / n, "val_perplexity": 10 / n} for n in (1, 2, 3)]
        last = learning(history, 3)._repr_mimebundle_()[0]["image/png"]
        expect(chart).to_have_attribute("src", f"data:image/png;base64,{last}")
        page.screenshot(path=SCREENS / "live_curve.png")
        page.close()
