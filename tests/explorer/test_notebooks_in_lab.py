"""The notebooks in JupyterLab and the pages made of them, in a real browser: see browsing.py."""

import shutil
from collections.abc import Iterator

import nbformat
import pytest
from browsing import LAPTOP, SCREENS, keep, lab, look, run_all

LAST = {"0_Dataset": "VBox([menu", "1_Preliminaries": "VBox([slider", "3_Inference": "explore(captioner"}


@pytest.fixture(scope="module")
def real(course, tmp_path_factory) -> Iterator[str]:
    """JupyterLab over a copy of the folder in which the course has run, with its sample and its models.

    Its notebooks end with the cell that is looked at; `course` has executed them all.
    """
    home = tmp_path_factory.mktemp("real")
    shutil.copytree(course[0], home / "course")  # Jupyter saves notebooks where it opens them
    for name, last in LAST.items():
        path = home / "course" / f"{name}.ipynb"
        notebook = nbformat.read(path, as_version=4)
        end = next(i for i, cell in enumerate(notebook.cells) if last in cell.source)
        del notebook.cells[end + 1 :]
        nbformat.write(notebook, path)
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
    first = look(explorer)
    explorer.get_by_role("slider", name="Word").focus()
    page.keyboard.press("ArrowRight")
    expect(explorer.locator(".word").nth(2)).to_have_attribute("aria-current", "true")
    assert look(explorer) != first
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
