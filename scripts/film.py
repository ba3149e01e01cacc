"""Films the attention explorer at work, for the README: python -m scripts.film [FILE]

Serves the explorer as scripts.app does, opens it in chromium, walks through a caption, and clicks on another word.
Needs a trained model of the sample, and chromium.
"""

from __future__ import annotations

import argparse
import io
import shutil
import sys
from pathlib import Path

from PIL import Image

from scripts.app import SAMPLE_MODEL, served
from scripts.ending import one_sentence

WIDTH, PICTURE, WORD = 1120, 10, 3  # pixels; the scene and the place of the what-if


def main(arguments: list[str] | None = None) -> None:
    """Reads the command line, films, says how large the film became."""
    parser = argparse.ArgumentParser(prog="python -m scripts.film", description=__doc__.split("\n\n")[0])
    parser.add_argument("file", nargs="?", type=Path, default=Path("docs/explorer.gif"), help="(docs/explorer.gif)")
    parser.add_argument("--port", type=int, default=8867, help="on 127.0.0.1 (default: 8867)")
    options = parser.parse_args(arguments)
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if browser is None or not (SAMPLE_MODEL / "model.safetensors").is_file():
        sys.exit(f"a film needs chromium, and a model of the sample in {SAMPLE_MODEL}: see make app")
    with served(options.port) as (url, _):
        frames = film(url, browser)
    palette = frames[-1].quantize(160)
    small = [frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames]
    small[0].save(options.file, save_all=True, append_images=small[1:], duration=1100, loop=0, optimize=True)
    print(f"{options.file}: {options.file.stat().st_size / 1e6:.1f} MB")


def film(url: str, browser: str) -> list[Image.Image]:
    """The explorer word by word, then with a what-if beside it."""
    from playwright.sync_api import sync_playwright

    frames = []
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=browser, args=["--no-sandbox", "--disable-gpu"])
        page = chromium.new_page(viewport={"width": WIDTH, "height": 900})
        page.goto(url)
        explorer = page.locator(".explorer")
        explorer.locator(".choice").first.wait_for(timeout=180_000)

        def keep(word: int) -> None:
            explorer.locator(".pane").last.locator(".word").nth(word).click()
            page.mouse.move(0, 0)
            page.wait_for_timeout(300)
            frames.append(Image.open(io.BytesIO(explorer.screenshot())).convert("RGB"))

        before = explorer.locator(".bare img").get_attribute("src")
        explorer.locator(".strip button").nth(PICTURE).click()
        page.wait_for_function("before => document.querySelector('.bare img').src !== before", arg=before)
        for word in range(min(7, explorer.locator(".word").count())):
            keep(word)
        explorer.locator(".word").nth(WORD).click()
        explorer.locator(".choice:not([disabled])").first.click()
        explorer.locator(".close").wait_for()
        for word in range(WORD, explorer.locator(".pane").last.locator(".word").count()):
            keep(word)
        chromium.close()
    width, height = (max(frame.size[side] for frame in frames) for side in (0, 1))
    sheets = [Image.new("RGB", (width, height), "white") for _ in frames]
    for sheet, frame in zip(sheets, frames, strict=True):
        sheet.paste(frame)
    return sheets


if __name__ == "__main__":
    with one_sentence():
        main()
