"""Whatever lies in a picture's file: it is read, or refused in one sentence; nothing hangs or fills the memory.

LONG=1 tries 2,000 mutated files instead of 250.
"""

import io
import json
import os
import random
import struct
import subprocess
import sys
import zlib
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from conftest import LONG
from PIL import Image

from data_loader import Transform, get_loader
from dataset.pictures import open_image
from training import features
from training.loop import fit
from training.optimization import TrainingConfig

FILES = 2000 if LONG else 250
ROOT = Path(__file__).parents[2]
MEMORY = 1250  # MB that reading one picture may ever take (most: 200; a lossless WebP of 82 million pixels: 1,200)


# --- pictures as they should be


def whole_pictures() -> dict[str, bytes]:
    """One small file of each kind that people have, by name."""
    noise = np.random.default_rng(0).integers(0, 255, (48, 64, 3), dtype=np.uint8)
    picture = Image.fromarray(noise).resize((64, 48), Image.Resampling.BILINEAR)
    half = picture.convert("RGBA")
    half.putalpha(Image.fromarray(noise[..., 0]))
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "a picture"
    deep = Image.fromarray(noise[..., 0].astype(np.uint16) * 257)
    frames = [picture.rotate(angle) for angle in (90, 180)]
    kinds = {
        "plain.jpg": (picture, {"exif": exif, "comment": b"hello"}),
        "progressive.jpg": (picture, {"progressive": True}),
        "cmyk.jpg": (picture.convert("CMYK"), {}),
        "grey.jpg": (picture.convert("L"), {}),
        "plain.png": (picture, {"exif": exif, "icc_profile": b"profile" * 20}),
        "palette.png": (picture.quantize(16), {"transparency": 3}),
        "alpha.png": (half, {}),
        "deep.png": (deep, {}),
        "lossy.webp": (picture, {"exif": exif}),
        "lossless.webp": (half, {"lossless": True}),
        "moving.webp": (picture, {"save_all": True, "append_images": frames}),
        "plain.gif": (picture.quantize(64), {"transparency": 0}),
        "moving.gif": (picture.quantize(64), {"save_all": True, "append_images": frames}),
    }
    files = {}
    for name, (image, options) in kinds.items():
        file = io.BytesIO()
        image.save(file, {"jpg": "jpeg"}.get(name.split(".")[1], name.split(".")[1]), **options)
        files[name] = file.getvalue()
    return files


# --- and as they should not be


def truncate(data: bytearray, rng: random.Random, others: list[bytes]) -> bytearray:
    return data[: rng.randrange(len(data))]


def flip_bits(data: bytearray, rng: random.Random, others: list[bytes]) -> bytearray:
    for _ in range(rng.choice((1, 3, 30))):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return data


def spoil_header(data: bytearray, rng: random.Random, others: list[bytes]) -> bytearray:
    for _ in range(rng.randint(1, 4)):
        data[rng.randrange(4, min(64, len(data)))] = rng.choice((0, 1, 127, 128, 255))
    return data


def splice(data: bytearray, rng: random.Random, others: list[bytes]) -> bytearray:
    other = rng.choice(others)
    return data[: rng.randrange(len(data))] + other[rng.randrange(len(other)) :]


def other_sizes(data: bytearray, rng: random.Random, others: list[bytes]) -> bytearray:
    """Zero, or absurd: written where each format keeps its size, PNG's checksum made good."""
    width, height = (rng.choice((0, 1, 50, 9_000, 65_535)) for _ in range(2))
    if data.startswith(b"\x89PNG"):
        width, height = (rng.choice((n, 2**31 - 1)) for n in (width, height))
        data[16:24] = struct.pack(">II", width, height)
        data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    elif data.startswith(b"GIF"):
        where = rng.choice((6, data.index(b",", 13) + 5))  # of the screen, of a frame
        data[where : where + 4] = struct.pack("<HH", width, height)
    elif data.startswith(b"\xff\xd8"):
        where = max(data.find(b"\xff\xc0"), data.find(b"\xff\xc2")) + 5
        data[where : where + 4] = struct.pack(">HH", height, width)
    elif data[12:16] == b"VP8X":
        data[24:30] = width.to_bytes(3, "little") + height.to_bytes(3, "little")
    else:
        data[26:30] = struct.pack("<HH", width & 0x3FFF, height & 0x3FFF)
    return data


def repeat_or_lose(data: bytearray, rng: random.Random, others: list[bytes]) -> bytearray:
    start = rng.randrange(len(data))
    part = data[start : start + rng.randrange(1, 200)]
    return data[:start] + part * rng.choice((0, 2, 50)) + data[start + len(part) :]


def noise(data: bytearray, rng: random.Random, others: list[bytes]) -> bytearray:
    return data[: rng.choice((0, 4, 12, 40))] + rng.randbytes(rng.randrange(2000))


MUTATIONS = (truncate, flip_bits, spoil_header, splice, other_sizes, repeat_or_lose, noise)


def mutated(number: int, seed: int = 0):
    """(name, bytes) of so many spoilt files, the same each time."""
    files = whole_pictures()
    for i in range(number):
        rng = random.Random(f"{seed} {i}")
        name = rng.choice(list(files))
        mutation = rng.choice(MUTATIONS)
        data = mutation(bytearray(files[name]), rng, list(files.values()))
        yield f"{i:05d}-{mutation.__name__}-{name}", bytes(data)


def png(width: int, height: int, mode: int, rows: bytes, *chunks: tuple[bytes, bytes]) -> bytes:
    """A PNG of 8 bits whose data are `rows`, compressed; `mode` 0 grey, 2 RGB, 3 palette, 6 RGBA."""
    header = struct.pack(">IIBBBBB", width, height, 8, mode, 0, 0, 0)
    parts = [(b"IHDR", header), *chunks, (b"IDAT", zlib.compress(rows, 1)), (b"IEND", b"")]
    body = (struct.pack(">I", len(d)) + n + d + struct.pack(">I", zlib.crc32(n + d)) for n, d in parts)
    return b"\x89PNG\r\n\x1a\n" + b"".join(body)


def bombs():
    """(name, bytes) of small files that want much memory, up to the largest that Pillow lets pass."""
    bomb = zlib.compress(bytes(200_000_000), 1)
    yield "text.png", png(1, 1, 0, b"\0\0", (b"zTXt", b"comment\0\0" + bomb), (b"iTXt", b"a\0\1\0\0\0" + bomb))
    yield "profile.png", png(1, 1, 0, b"\0\0", (b"iCCP", b"profile\0\0" + bomb))
    side = 9_400  # 88 million pixels
    yield "short.png", png(side, side, 6, b"\0")
    yield "beyond.png", png(60_000, 60_000, 0, b"\0")
    yield "rgba.png", png(side, side, 6, bytes((4 * side + 1) * side))
    if not LONG:
        return
    yield "rgb.png", png(side, side, 2, bytes((3 * side + 1) * side))
    palette = (b"PLTE", bytes(6)), (b"tRNS", b"\0")
    yield "palette.png", png(side, side, 3, bytes((side + 1) * side), *palette)
    for kind, options in (("gif", {}), ("jpeg", {}), ("webp", {"lossless": True})):
        file = io.BytesIO()
        size = (side, side) if kind != "webp" else (16_383, 5_000)
        Image.new("L", size).save(file, kind, **options)
        yield f"large.{kind}", file.getvalue()
    for mode in ("I;16", "I", "F"):
        file = io.BytesIO()
        Image.new(mode, (side, side)).save(file, "tiff", compression="tiff_adobe_deflate")
        yield f"large-{mode.replace(';', '-')}.tif", file.getvalue()


# --- reading them

only_linux = pytest.mark.skipif(sys.platform != "linux", reason="memory is measured as Linux tells it")

READ = """
import json, resource, signal, sys
from pathlib import Path
from dataset.pictures import open_image
status = lambda name: int(Path("/proc/self/status").read_text().split(name + ":")[1].split()[0]) // 1024  # MB
limit = (status("VmSize") + 2 * {memory}) * 2**20
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
for path in sorted(Path(sys.argv[1]).iterdir()):
    print(json.dumps({{"begun": path.name}}), flush=True)
    signal.alarm(30)  # ends this process, whatever it is doing
    Path("/proc/self/clear_refs").write_text("5")  # this file's peak is its own
    before = status("VmRSS")
    try:
        image = open_image(path)
        outcome = "read" if image.mode == "RGB" and min(image.size) > 0 else f"{{image.mode}} {{image.size}}"
    except ValueError as error:
        outcome = str(error).replace(str(path), "FILE")
    except BaseException as error:
        outcome = f"! {{type(error).__name__}}: {{error}}"
    image = None
    peak = status("VmHWM") - before
    print(json.dumps({{"name": path.name, "outcome": outcome, "peak": peak}}), flush=True)
"""


def read_all(folder: Path) -> dict[str, dict]:
    """Open each file of a folder in a process of its own with little memory: name -> outcome, peak of memory in MB."""
    command = [sys.executable, "-c", READ.format(memory=MEMORY)]
    done = subprocess.run([*command, folder], cwd=ROOT, capture_output=True, text=True, timeout=550)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0, f"{lines[-1]} ended the process ({done.returncode}): {done.stderr[-500:]}"
    return {line["name"]: line for line in lines if "name" in line}


def is_refusal(outcome: str) -> bool:
    """The documented error: one sentence with the file's name."""
    known = ("FILE cannot be read as an image (", "FILE is refused, it is too large for a photograph: ")
    return outcome.startswith(known) and "\n" not in outcome and "()" not in outcome and len(outcome) < 300


@only_linux
def test_mutated_files_are_read_or_refused(tmp_path):
    for name, data in mutated(FILES):
        (tmp_path / name).write_bytes(data)
    results = read_all(tmp_path)
    assert len(results) == FILES
    wrong = {
        name: r["outcome"] for name, r in results.items() if r["outcome"] != "read" and not is_refusal(r["outcome"])
    }
    assert not wrong
    assert max(result["peak"] for result in results.values()) < MEMORY
    kinds = Counter(result["outcome"] == "read" for result in results.values())
    assert min(kinds[True], kinds[False]) > FILES / 10  # the mutations are neither harmless nor hopeless
    print(f"{FILES} files: {kinds[True]} read, {kinds[False]} refused")


@only_linux
def test_bombs_are_read_or_refused_within_bounds(tmp_path):
    for name, data in bombs():
        (tmp_path / name).write_bytes(data)
    results = read_all(tmp_path)
    print(json.dumps(results, indent=1))
    assert all(result["outcome"] == "read" or is_refusal(result["outcome"]) for result in results.values()), results
    assert max(result["peak"] for result in results.values()) < MEMORY
    assert "too large" in results["beyond.png"]["outcome"]


def test_a_pipe_or_a_program_in_disguise_is_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    with pytest.raises(ValueError, match=r"pipe\.jpg cannot be read as an image \(it is a pipe\)"):
        open_image(tmp_path / "pipe.jpg")
    Image.new("RGB", (8, 8)).save(tmp_path / "page.eps")
    (tmp_path / "page.eps").rename(tmp_path / "page.jpg")  # PostScript: Pillow would start Ghostscript
    with pytest.raises(ValueError, match=r"page\.jpg cannot be read as an image \(cannot identify image file"):
        open_image(tmp_path / "page.jpg")


# --- what training does without them


@pytest.fixture
def spoilt(records) -> list:
    """The training records, of six pictures two broken: images 2 and 5."""
    train = records["train"]
    train[1].path.write_bytes(train[1].path.read_bytes()[:100])
    train[4].path.write_text("<html>404</html>")
    return train


@pytest.mark.filterwarnings("ignore:This DataLoader will create")  # more workers than this machine has processors
@pytest.mark.parametrize("workers", [0, 2])
def test_a_broken_picture_is_reported_once_left_out_and_counted(spoilt, vocabulary, capsys, workers):
    loader = get_loader(spoilt, vocabulary, transform=Transform(16), images_per_batch=2, workers=workers)
    for epoch in range(2):
        loader.set_epoch(epoch)
        batches = list(loader)
        assert sorted(i for batch in batches for i in batch.image_ids) == [1, 3, 4, 6]
        assert all(len(batch.pixels) == len(batch.image_ids) for batch in batches)
        assert all(len(batch.captions) == 5 * len(batch.pixels) for batch in batches)  # nothing stands in for them
        said = capsys.readouterr().out
        assert said.count("left out of this epoch: 2 of 6 pictures") == 1
        assert said.count("left out: ") == (2 if epoch == 0 else 0)
        assert epoch or "000002.png cannot be read as an image (" in said
    assert list(loader.left_out) in ([2, 5], [5, 2])
    assert len(loader) == loader.position == 3


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
@pytest.mark.parametrize("workers", [0, 1])
def test_or_it_stops_the_run_in_one_sentence(spoilt, vocabulary, workers):
    options = {"transform": Transform(16), "workers": workers}
    with pytest.raises(ValueError) as caught:
        list(get_loader(spoilt, vocabulary, **options, broken="stop"))
    assert "cannot be read as an image" in str(caught.value) and "\n" not in str(caught.value)
    with pytest.raises(ValueError, match='"skip" or "stop", not \'ignore\''):
        get_loader(spoilt, vocabulary, **options, broken="ignore")
    with pytest.raises(ValueError, match=r"none of the 2 pictures can be read, among them: .*cannot be read"):
        list(get_loader([spoilt[1], spoilt[4]], vocabulary, **options))
    for shuffle in (False, True):  # another process may have some
        share = get_loader([spoilt[1], spoilt[0], spoilt[4]], vocabulary, **options, shuffle=shuffle, share=(0, 2))
        assert sum(len(batch.image_ids) for batch in share) <= 1
    spoilt[0].path.unlink()  # missing: the dataset is not complete
    with pytest.raises(FileNotFoundError, match=r"^No image at .*000001\.png: complete the dataset"):
        list(get_loader(spoilt, vocabulary, **options))


def test_training_goes_on_without_them_and_a_batch_may_be_left_empty(spoilt, vocabulary, captioner, capsys):
    train = get_loader(spoilt, vocabulary, transform=Transform(32), images_per_batch=1)
    history = fit(captioner(), train, train, TrainingConfig(epochs=2))
    assert len(history) == 2 and history[1]["train_loss"] < history[0]["train_loss"]
    assert capsys.readouterr().out.count("left out: ") == 2


@pytest.mark.parametrize("workers", [0, 1])
def test_features_leave_them_out_and_say_which(spoilt, vocabulary, captioner, tmp_path, capsys, workers):
    encoder, path = captioner(finetune=0).encoder, tmp_path / "train.npy"
    made = features.extract(spoilt, encoder, path, batch_size=2, workers=workers, progress=False)
    assert list(made) == [1, 3, 4, 6] and 2 not in made and list(made.broken) == [2, 5]
    said = capsys.readouterr().out
    assert said.count("left out: ") == 2 and "2 of 6 pictures left out, they cannot be read" in said
    whole = features.extract([spoilt[0], spoilt[2]], encoder, tmp_path / "whole.npy", progress=False)
    assert np.array_equal(made[3], whole[3])
    loader = get_loader(spoilt, vocabulary, features=made)
    assert sorted(i for batch in loader for i in batch.image_ids) == [1, 3, 4, 6]
    assert "000002.png cannot be read as an image (" in capsys.readouterr().out
    with pytest.raises(ValueError, match=r"000002\.png cannot be read"):
        get_loader(spoilt, vocabulary, features=made, broken="stop")
    path.unlink()
    with pytest.raises(ValueError, match=r"000002\.png cannot be read"):
        features.extract(spoilt, encoder, path, progress=False, broken="stop")
