"""Fixtures that several tests share."""

import inspect
import json
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is there: small tensors gain nothing from more

import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from bs4 import BeautifulSoup
from matplotlib.text import Text
from PIL import Image, ImageDraw

from data_loader import Transform, get_loader
from dataset.loading import load_records
from dataset.records import Record
from dataset.sample.grammar import CATEGORY_OF_KIND, NOUNS, SMALL_NOUNS
from figures.style import Figure
from model import AttentionDecoder, Captioner, Decoder, DecoderRNN, EncoderCNN
from models.checkpoint import Checkpoint
from vocabulary import Vocabulary

pytest_plugins = ["coco_server"]

LONG = bool(os.environ.get("LONG"))  # make test-long: more kills, more mutated files, more seeds
rounds = pytest.mark.skipif(torch.__version__ < "2.13", reason="torch rounds no products on a CPU before 2.13")

COLORS = ("red", "green", "blue", "black")
SHAPES = ("square", "triangle")


def category_of_noun() -> dict[str, str]:
    """{noun of the sample's grammar, one or several: COCO category}."""
    both = [(kind, noun) for nouns in (NOUNS, SMALL_NOUNS) for kind, several in nouns.items() for noun in several]
    return {word: CATEGORY_OF_KIND[kind] for kind, (_, *forms) in both for word in forms}


class Malicious:
    """A pickle that writes a file when it is loaded."""

    def __init__(self, target: Path):
        self.target = target

    def __reduce__(self):
        return Path.touch, (self.target,)


@pytest.fixture
def tiny_coco(tmp_path: Path) -> Path:
    """A dataset in COCO's layout: 12 drawn pictures of 64 pixels (6 train, 3 val, 3 test), five captions each,
    a left and a right shape annotated in each."""
    folder = tmp_path / "tiny"
    (folder / "annotations").mkdir(parents=True)
    number = 0
    for split, size in (("train", 6), ("val", 3), ("test", 3)):
        (folder / split).mkdir()
        images, captions, instances = [], [], []
        for _ in range(size):
            number += 1
            name = f"{number:06d}.png"
            picture = Image.new("RGB", (64, 64), "white")
            nouns = []
            for side in range(2):
                color, shape = COLORS[(number + side) % 4], SHAPES[(number // 2 + side) % 2]
                x, y = 4 + 32 * side, 20
                corners = [(x, y), (x + 24, y), (x + 24, y + 24), (x, y + 24)]
                if shape == "triangle":
                    corners = [(x + 12, y), (x + 24, y + 24), (x, y + 24)]
                ImageDraw.Draw(picture).polygon(corners, fill=color)
                nouns.append(f"{color} {shape}")
                instances.append(
                    {
                        "id": len(instances) + 1,
                        "image_id": number,
                        "category_id": SHAPES.index(shape) + 1,
                        "bbox": [x, y, 24, 24],
                        "area": 576 if shape == "square" else 288,
                        "iscrowd": 0,
                        "segmentation": [[value for corner in corners for value in corner]],
                        "attributes": {"color": color},
                    }
                )
            picture.save(folder / split / name)
            images.append({"id": number, "file_name": name, "width": 64, "height": 64})
            left, right = nouns
            for text in (
                f"A {left} to the left of a {right}.",
                f"a {right} is right of the {left}",
                f"A {left} and a {right}.",
                f"There is a {left} beside a {right}.",
                f"two shapes, a {left} and a {right}",
            ):
                captions.append({"id": len(captions) + 1, "image_id": number, "caption": text})
        categories = [{"id": i + 1, "name": name} for i, name in enumerate(SHAPES)]
        for kind, annotations in (("captions", captions), ("instances", instances)):
            content = {"images": images, "annotations": annotations, "categories": categories}
            if kind == "captions":
                del content["categories"]
            (folder / "annotations" / f"{kind}_{split}.json").write_text(json.dumps(content), encoding="utf-8")
    return folder


@pytest.fixture
def records(tiny_coco: Path) -> dict[str, list[Record]]:
    """The tiny dataset's records, by split."""
    return {split: load_records(tiny_coco, split) for split in ("train", "val", "test")}


@pytest.fixture
def vocabulary(records: dict[str, list[Record]]) -> Vocabulary:
    """The words of the tiny dataset's training captions."""
    return Vocabulary(caption for record in records["train"] for caption in record.captions)


@pytest.fixture
def captioner(vocabulary: Vocabulary) -> Callable[..., Captioner]:
    """Builds a tiny captioner of pictures of 32 pixels, 2 x 2 regions: `captioner(seed, …, **decoder)`.

    With `attention="none"` its decoder is a DecoderRNN, else an AttentionDecoder or of the `kind` that is asked for.
    """

    def build(seed: int = 0, finetune: int | None = None, kind: type[Decoder] | None = None, **options) -> Captioner:
        torch.manual_seed(seed)
        encoder = EncoderCNN("small", image_size=32, grid=2, finetune=finetune)
        kind = kind or (DecoderRNN if options.get("attention") == "none" else AttentionDecoder)
        options = {"word_size": 8, "hidden_size": 16, "attention_size": 8, "dropout": 0.0} | options
        known = {name: value for name, value in options.items() if name in inspect.signature(kind).parameters}
        return Captioner(encoder, kind(len(vocabulary), encoder.feature_size, **known))

    return build


@pytest.fixture
def loaded(captioner, vocabulary: Vocabulary) -> Callable[..., Checkpoint]:
    """Builds a tiny untrained captioner as `checkpoint.load` gives it; `loaded(attention="none")` has no attention."""

    def build(**decoder) -> Checkpoint:
        return Checkpoint(captioner(**decoder).eval(), vocabulary, max_length=9)

    return build


@pytest.fixture
def noise() -> Image.Image:
    """A picture of 60 x 40 random pixels."""
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8))


@pytest.fixture
def picture() -> Image.Image:
    """A red ball on grey, 120 x 90."""
    image = Image.new("RGB", (120, 90), "#b0b0b0")
    ImageDraw.Draw(image).ellipse((20, 20, 60, 60), fill="#cc3333")
    return image


@pytest.fixture
def texts() -> Callable[[Figure], list[str]]:
    """`texts(figure)`: everything written on a figure."""

    def written(figure: Figure) -> list[str]:
        figure.draw_without_rendering()
        return [text.get_text() for text in figure.findobj(Text) if text.get_text()]

    return written


@pytest.fixture(scope="session")
def offline_faults() -> Callable[[str], list[str]]:
    """`offline_faults(page)`: what a page would ask the network for, and formulas that stayed source."""

    def faults_of(page: str) -> list[str]:
        soup = BeautifulSoup(page, "html.parser")
        faults = [str(tag)[:100] for tag in soup.select("script, iframe, link, object, embed, base")]
        loaded = [tag for tag in soup.select("[src], [srcset]") if not tag.get("src", "").startswith("data:")]
        faults += [str(tag)[:100] for tag in loaded]
        faults += re.findall(r"@import.*|url\([^)]*\)", " ".join(style.text for style in soup("style")))
        for tag in soup(["pre", "code", "style"]):
            tag.decompose()
        return faults + re.findall(r"\$\$|\$[^$\s]+\$|\\begin|\\\w+{", soup.text)

    return faults_of


@pytest.fixture
def loader(records, vocabulary) -> Callable:
    """Builds a loader of a split, its pictures 32 pixels wide: `loader("train", images_per_batch=3, ...)`."""

    def build(split: str = "train", **options):
        return get_loader(records[split], vocabulary, transform=Transform(32), **({"images_per_batch": 3} | options))

    return build


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real disk of 16 megabytes (tmpfs). Needs Linux and root; without, the test is skipped."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("only root may mount a small disk here")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.fixture
def powerless() -> Iterator[Path]:
    """A folder that this process may read but not write: root, who may all, becomes nobody for the test."""
    if sys.platform == "win32":
        pytest.skip("folders have other permissions there")
    with tempfile.TemporaryDirectory() as name:
        os.chmod(name, 0o777)
        if as_root := os.geteuid() == 0:
            os.seteuid(65534)
        try:
            yield Path(name)
        finally:
            if as_root:
                os.seteuid(0)
            os.chmod(name, 0o777)


@pytest.fixture(scope="session")
def course(tmp_path_factory) -> tuple[Path, dict[str, bytes]]:
    """The whole course run once in a fresh place, as `make run` does it (minutes): the folder, with the pages under
    build/ and the models under runs/, and the files of the repository that it began with."""
    root, folder = Path(__file__).parents[1], tmp_path_factory.mktemp("course")
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    names = subprocess.run(listed, cwd=root, check=True, capture_output=True, text=True).stdout.split("\0")
    files = {name: (root / name).read_bytes() for name in names if (root / name).is_file()}
    for name in files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(root / name, folder / name)
    environment = {name: value for name, value in os.environ.items() if name != "DATA"}
    for command in (["-m", "scripts.sample"], ["-m", "scripts.notebooks", "run"]):
        subprocess.run([sys.executable, *command], cwd=folder, env=environment, check=True)
    return folder, files


@pytest.fixture(scope="module")
def browser() -> Iterator:
    """Debian's chromium, driven by Playwright; without one (.ci/run installs it) the test is skipped."""
    # of a module: while it runs, no other test can have an event loop of its own
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if chromium is None:
        pytest.skip("no chromium here: apt-get install chromium")
    from playwright.sync_api import expect, sync_playwright

    expect.set_options(timeout=60_000)
    quiet = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"]
    quiet += ["--disable-background-networking", "--disable-component-update"]
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=chromium, args=quiet)
        yield launched
        launched.close()
