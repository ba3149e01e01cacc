"""The explorer in a real browser, in JupyterLab and as the page of `make app`; the live curve: see browsing.py."""

import base64
import contextlib
import io
import re
import shutil
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import nbformat
import numpy as np
import pytest
from browsing import LAPTOP, PHONE, ROOT, SCREENS, SLOW, bring, keep, lab, look, run_all, sentence, settle, write
from PIL import Image

from dataset.sample import making
from explorer.widget import explore
from figures.curves import learning
from scripts import app, train

QUICK = ["--hidden-size", "16", "--epochs", "2", "--images-per-batch", "4", "--detector-epochs", "1"]


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
    write(folder / "ended.ipynb", cells)  # its kernel is shut down
    return folder


@pytest.fixture(scope="module")
def jupyter(place, tmp_path_factory) -> Iterator[str]:
    """The address of JupyterLab over the place."""
    with lab(place, tmp_path_factory.mktemp("home")) as url:
        yield url


@pytest.fixture(scope="module")
def in_lab(browser, jupyter) -> Iterator:
    """The explorer of explore.ipynb in JupyterLab: (page, its element)."""
    page = browser.new_page(viewport=LAPTOP)
    run_all(page, jupyter, "explore.ipynb")
    page.keyboard.press("Control+b")  # without the side bar
    page.locator(".explorer .choice").first.wait_for(timeout=SLOW)
    yield page, page.locator(".explorer").first
    page.close()


@pytest.fixture(scope="module")
def voila(place) -> Iterator[str]:
    """The address, with its token, that `make app` prints."""
    with contextlib.chdir(place), app.served(0) as (url, _):
        yield url


@pytest.fixture(scope="module")
def in_voila(browser, voila) -> Iterator:
    """The same on the page of `make app`. Each page that is opened starts a Python of its own: most tests share one."""
    page = browser.new_page(viewport=LAPTOP)
    page.asked, page.complaints = [], []
    page.on("request", lambda request: page.asked.append(request.url))
    page.on("websocket", lambda socket: page.asked.append(socket.url))
    page.on("console", lambda message: page.complaints.append(message.text))
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


def test_the_slider_moves_the_look_and_the_marked_word(opened):
    from playwright.sync_api import expect

    page, explorer = opened
    slider, words = explorer.get_by_role("slider", name="Word"), explorer.locator(".pane").first.locator(".word")
    marked = explorer.locator(".pane").first.locator(".word[aria-current=true]")
    expect(marked).to_have_count(1)
    first = look(explorer)
    slider.focus()
    page.keyboard.press("ArrowRight")
    expect(words.nth(1)).to_have_attribute("aria-current", "true")
    second = look(explorer)
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
    assert look(explorer) == first
    words.nth(1).click()
    expect(slider).to_have_value("1")
    assert look(explorer) == second
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
    for name, choice in (("map", "grid cells"), ("map", "smooth")):
        before = look(explorer)
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


def test_a_large_picture_that_is_transparent_is_seen_on_white(in_voila, tmp_path):
    """As `open_image` shows a small one."""
    page, explorer = in_voila
    noise = np.random.default_rng(0).integers(0, 256, (1100, 1000, 4), np.uint8)
    noise[:, :500, 3] = 0
    Image.fromarray(noise).save(tmp_path / "clear.png", compress_level=0)
    assert (tmp_path / "clear.png").stat().st_size > 4_000_000
    bring(page, explorer, tmp_path / "clear.png")
    explorer.locator(".bare img[alt='clear.png']").wait_for()
    seen = Image.open(io.BytesIO(base64.b64decode(explorer.locator(".bare img").get_attribute("src").split(",")[1])))
    assert np.asarray(seen.convert("L"))[:, : seen.width // 2 - 8].min() > 250
    explorer.locator(".strip button").first.click()
    settle(explorer)


def test_a_kernel_that_has_ended_is_said_and_the_page_stays_clear(browser, jupyter):
    from playwright.sync_api import expect

    page = browser.new_page(viewport=LAPTOP)
    failures = list[str]()
    page.on("pageerror", lambda error: failures.append(str(error)))
    run_all(page, jupyter, "ended.ipynb")
    explorer = page.locator(".explorer").first
    explorer.locator(".choice").first.wait_for(timeout=SLOW)
    page.locator("#jp-MainMenu").get_by_text("Kernel", exact=True).click()
    page.locator(".lm-Menu-item[data-command='kernelmenu:shutdown']").click()
    expect(page.locator("#jp-main-statusbar")).to_contain_text("No Kernel")
    for _ in range(2):
        explorer.locator(".strip button").nth(1).click()
        expect(explorer.get_by_role("status")).to_have_text("the kernel has ended: run the cell again")
        settle(explorer)
    words = explorer.locator(".pane .word")
    words.nth(1).click()
    expect(words.nth(1)).to_have_attribute("aria-current", "true")  # what was said can still be looked at
    assert failures == []
    page.close()


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


def test_the_page_asks_for_a_token(voila):
    for address in (voila.split("?")[0], voila.split("=")[0] + "=wrong"):
        with pytest.raises(urllib.error.HTTPError, match="403"):
            urllib.request.urlopen(address)


def test_the_page_asks_no_other_computer_for_anything(in_voila):
    """From its opening on, whatever has been done on it meanwhile."""
    page, explorer = in_voila
    explorer.locator(".strip button").nth(1).click()
    settle(explorer)
    page.wait_for_load_state("networkidle")
    here = re.compile(r"data:|blob:|(http|ws)://127\.0\.0\.1:")
    assert page.asked and [url for url in page.asked if not here.match(url)] == []
    # what the page's policy forbids is no request, but the browser says so
    assert [text for text in page.complaints if "Content Security Policy" in text] == []


@pytest.mark.parametrize("width", [320, 560, 1280])
def test_bringing_ones_own_picture_is_the_first_thing_and_always_in_sight(in_voila, width):
    page, explorer = in_voila
    page.set_viewport_size({"width": width, "height": 800})
    strip, own = explorer.locator(".strip"), explorer.get_by_role("button", name="your own")
    copies = "Array.from({ length: 30 }, () => strip.children[0].cloneNode(true))"
    strip.evaluate(f"strip => {{ strip.copies = {copies}; strip.append(...strip.copies); }}")
    for scrolled in (0, 10_000):
        strip.evaluate("(strip, to) => (strip.scrollLeft = to)", scrolled)
        button, pictures = own.bounding_box(), strip.bounding_box()
        assert button["x"] >= 0 and button["x"] + button["width"] <= pictures["x"] + 1
        assert pictures["x"] + pictures["width"] <= width and pictures["width"] >= 100
    assert own.evaluate("own => own.closest('.explorer').querySelector('button') === own"), (
        "the keyboard comes to it first"
    )
    strip.evaluate("strip => { for (const copy of strip.copies) copy.remove(); strip.scrollLeft = 0; }")
    page.set_viewport_size(LAPTOP)


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


def test_the_live_curve_stays_as_a_figure(browser, place, jupyter):
    from playwright.sync_api import expect

    cell = """import time
from figures.curves import learning
from IPython.display import display
chart, history = display(learning([], 3), display_id=True), []
for epoch in (1, 2, 3):
    history.append({"epoch": epoch, "train_perplexity": 9 / epoch, "val_perplexity": 10 / epoch})
    time.sleep(0.5)
    chart.update(learning(history, 3))"""
    write(place / "live.ipynb", [cell])
    page = browser.new_page(viewport=LAPTOP)
    run_all(page, jupyter, "live.ipynb")
    chart = page.locator(".jp-OutputArea-output img")
    expect(chart).to_have_count(1)
    history = [{"epoch": n, "train_perplexity": 9 / n, "val_perplexity": 10 / n} for n in (1, 2, 3)]
    last = learning(history, 3)._repr_mimebundle_()[0]["image/png"]
    expect(chart).to_have_attribute("src", f"data:image/png;base64,{last}")
    page.screenshot(path=SCREENS / "live_curve.png")
    page.close()
