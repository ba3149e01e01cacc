"""Image files -> pictures as people see them: the one place that opens images.

Comes in: a path. Goes out: an upright RGB picture, or a sentence that says why not. It knows no dataset and no tensors.
"""

from __future__ import annotations

import contextlib
import os
import re
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import ExifTags, Image, JpegImagePlugin

# EXIF orientation -> what to do to see it upright. ImageOps.exif_transpose writes the other EXIF fields back, and
# fails where a camera left them damaged.
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")  # by content; for EPS Pillow would start a program
HEIF_BRANDS = (b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1")
LARGEST_JPEG = 256_000_000  # pixels; the largest telephones' have 200 million


def open_image(path: str | Path) -> Image.Image:
    """A picture as people see it: RGB, 8 bits, upright.

    Transparent pixels are laid over white, 16-bit grey is scaled to 8 bits (of 32 bits it is refused: nobody knows how
    many are used), EXIF rotation is carried out. A JPEG too large for Pillow's limit (MAX_IMAGE_PIXELS) is read at a
    quarter of its width and height. HEIC is read if pillow-heif is installed. "~" is one's home. Raises
    FileNotFoundError if there is no such file, ValueError if it cannot be read whole; nothing is replaced silently.
    """
    if not isinstance(path, str | Path):
        raise ValueError(f"open_image opens a file by its path, {type(path).__name__} is none")
    if re.match(r"\w[\w+.-]+:/", str(path)):
        raise ValueError(f"{path} is an address, not a file: download the picture first")
    path = Path(os.path.expanduser(path))  # which leaves "~x.jpg" as it is
    if os.path.isdir(path):
        raise ValueError(f"{path} is a folder: name a picture in it")
    try:
        if path.is_fifo():  # nobody may ever write into it
            raise ValueError("it is a pipe")
        with _opened(path) as image:
            image.load()
            return upright(image)
    except FileNotFoundError:
        raise FileNotFoundError(f"No image at {path}: complete the dataset, or set DATA to where it lies.") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ValueError(f"{path} is refused, it is too large for a photograph: {error}") from None
    except Exception as error:  # decoders raise whatever they like: OSError, SyntaxError, struct.error, zlib.error ...
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(f"{path} cannot be read as an image ({reason}): replace or remove the file.") from error


class Opened:
    """`open_image` for those who come again: opened[path]; pictures are kept as long as all take at most `room` bytes.

    Small pictures are mostly what opening them costs; of large ones few find a place.
    """

    def __init__(self, room: int = 2**27):
        self.room, self.kept = room, dict[Path, Image.Image]()

    def __getitem__(self, path: Path) -> Image.Image:
        """As `open_image`; the picture is not to be changed."""
        picture = self.kept.get(path)
        if picture is None:
            picture = open_image(path)
            size = 3 * picture.width * picture.height
            if size <= self.room:
                self.kept[path], self.room = picture, self.room - size
        return picture


def upright(image: Image.Image | Any) -> Image.Image:
    """A picture that Pillow holds, as `open_image` would give it; one that is so already is given back.

    Raises ValueError if it is no picture, or of grey levels without an agreed range.
    """
    if not isinstance(image, Image.Image):
        advice = "open it with open_image" if isinstance(image, str | Path) else "make it one with Image.fromarray"
        raise ValueError(f"a picture must be a PIL image, not {type(image).__name__}: {advice}")
    with _pillow_warnings():
        turn = UPRIGHT.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    picture = _to_rgb(image)
    if turn is not None:
        picture = picture.transpose(turn)
        picture.info.clear()  # says no longer that it is to be turned
    return picture


def turn_of(path: Path) -> tuple[tuple[int, int], Image.Transpose | None]:
    """Width and height of a file's picture as it lies there, and how `open_image` turns it.

    A file that cannot be read is not turned, either.
    """
    try:
        with _opened(path) as image, _pillow_warnings():
            return image.size, UPRIGHT.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # as in open_image, which says why
        return (0, 0), None


def _opened(path: str | Path) -> Image.Image:
    """The file as Pillow knows it, its pixels not yet read."""
    formats: tuple[str, ...] = FORMATS
    with open(path, "rb") as file:
        start = file.read(12)
    if start[4:8] == b"ftyp" and start[8:] in HEIF_BRANDS:
        _heif().register_heif_opener()
        formats = (*FORMATS, "HEIF")
    try:
        with _pillow_warnings():
            return Image.open(path, formats=formats)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        if start[:2] != b"\xff\xd8":  # no JPEG
            raise
        return _reduced(path)


def _reduced(path: str | Path) -> Image.Image:
    """A large JPEG, which its decoder reads at a quarter of its sides in a sixteenth of the memory."""
    image = JpegImagePlugin.JpegImageFile(path)  # as Image.open, which would refuse the size
    width, height = image.size
    if width * height > LARGEST_JPEG or min(width, height) < 8:
        image.close()
        raise ValueError(f"it has {width:,} x {height:,} pixels, too many for a photograph")
    image.draft("RGB", (width // 4, height // 4))
    return image


def _heif() -> Any:
    """The package that reads Apple's and others' HEIC; ValueError if it is not installed."""
    try:
        import pillow_heif
    except ImportError:
        raise ValueError("it is HEIC: pip install pillow-heif, or save it as JPEG") from None
    return pillow_heif


_WARNING_FILTERS = threading.Lock()


@contextlib.contextmanager
def _pillow_warnings() -> Iterator[None]:
    """Inside, Pillow's warning of too large a picture is an error; those of damaged metadata are not shown, as the
    pixels are whole.

    One thread at a time, as Python's warning filters belong to the whole process. Decoding happens outside.
    """
    with _WARNING_FILTERS, warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        warnings.filterwarnings("ignore", category=UserWarning, module="PIL")
        yield


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "I" and image.format != "PNG":  # 8, 16 or 32 bits? A PNG has at most 16
        raise ValueError("its grey levels are 32-bit numbers without an agreed range: save it as 8 or 16 bits")
    if image.mode.startswith("I"):  # convert() would clip 16-bit grey at 255, not scale it
        levels = np.asarray(image)
        if levels.min() < 0 or levels.max() > 65535:
            raise ValueError("its grey levels do not fit 16 bits")
        image = Image.fromarray((levels // 257).astype(np.uint8))
    if image.mode == "F":
        raise ValueError("its grey levels are real numbers without an agreed range")
    if image.has_transparency_data:
        image = image if image.mode == "RGBA" else image.convert("RGBA")
        white = Image.new("RGB", image.size, "white")
        white.paste(image, mask=image)
        return white
    return image if image.mode == "RGB" else image.convert("RGB")
