"""What a user relies on when files become pictures."""

import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pillow_heif
import pytest
from PIL import ExifTags, Image, ImageOps

from data_loader import Transform
from dataset import pictures
from dataset.pictures import Opened, open_image, upright
from figures.pictures import as_array


def test_every_kind_of_picture_becomes_rgb(tmp_path):
    grey = Image.new("L", (8, 6), 100)
    red = Image.new("RGB", (8, 6), (255, 0, 0))
    half = Image.new("RGBA", (8, 6), (255, 0, 0, 0))
    half.paste((255, 0, 0, 255), (0, 0, 4, 6))
    pictures = {
        "grey.jpg": (grey, (100, 100, 100)),
        "bits.png": (Image.new("1", (8, 6), 1), (255, 255, 255)),
        "grey_alpha.png": (Image.new("LA", (8, 6), (100, 255)), (100, 100, 100)),
        "cmyk.jpg": (Image.new("CMYK", (8, 6), (0, 255, 255, 0)), (255, 0, 0)),
        "palette.png": (red.convert("P"), (255, 0, 0)),
        "alpha.png": (half, (255, 0, 0)),
        "deep.png": (Image.fromarray(np.full((6, 8), 25700, dtype=np.uint16)), (100, 100, 100)),
    }
    for name, (picture, expected) in pictures.items():
        picture.save(tmp_path / name)
        image = open_image(tmp_path / name)
        assert (image.mode, image.size) == ("RGB", (8, 6)), name
        assert np.allclose(image.getpixel((1, 3)), expected, atol=3), name
    assert open_image(tmp_path / "alpha.png").getpixel((6, 3)) == (255, 255, 255)  # not the red, or black, below


def test_transparent_palette_is_laid_over_white(tmp_path):
    picture = Image.new("P", (4, 4), 0)
    picture.putpalette([0, 0, 0, 255, 0, 0])
    picture.putpixel((0, 0), 1)
    picture.save(tmp_path / "p.png", transparency=0)
    image = open_image(tmp_path / "p.png")
    assert image.getpixel((0, 0)) == (255, 0, 0) and image.getpixel((2, 2)) == (255, 255, 255)


def test_sixteen_bits_are_scaled_not_clipped(tmp_path):
    ramp = np.linspace(0, 65535, 64).astype(np.uint16).reshape(8, 8)
    Image.fromarray(ramp).save(tmp_path / "ramp.png")
    levels = np.asarray(open_image(tmp_path / "ramp.png"))[..., 0]
    assert np.array_equal(levels, ramp // 257)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_rotation_is_carried_out(tmp_path, orientation):
    pixels = np.random.default_rng(0).integers(0, 255, (6, 8, 3), dtype=np.uint8)
    picture, exif = Image.fromarray(pixels), Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    picture.save(tmp_path / "turned.png", exif=exif)
    expected = ImageOps.exif_transpose(Image.open(tmp_path / "turned.png"))
    assert np.array_equal(open_image(tmp_path / "turned.png"), expected)


@pytest.mark.parametrize("name", ["turned.jpg", "turned.png", "turned.tif", "turned.webp"])
@pytest.mark.parametrize("orientation", [1, 6, 8])
def test_a_picture_that_pillow_opened_is_turned_once_wherever_it_is_given(tmp_path, name, orientation):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    Image.linear_gradient("L").resize((40, 24)).convert("RGB").save(tmp_path / name, exif=exif)
    expected = np.asarray(open_image(tmp_path / name))
    assert expected.shape[:2] == ((24, 40) if orientation == 1 else (40, 24))
    for _ in range(2):
        with Image.open(tmp_path / name) as opened:
            for picture in (opened, opened.copy(), open_image(tmp_path / name), upright(upright(opened))):
                assert np.array_equal(upright(picture), expected) and np.array_equal(as_array(picture), expected)
                assert np.array_equal(Transform(16)(picture), Transform(16)(Image.fromarray(expected)))


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (
            "https://example.org/dog.jpg",
            r"https://example\.org/dog\.jpg is an address, not a file: download",
        ),
        (Path("http://example.org/dog.jpg"), "is an address, not a file"),
        (Path("."), "is a folder: name a picture in it"),
        (Image.new("RGB", (4, 4)), "opens a file by its path, Image is none"),
        (np.zeros((4, 4, 3), np.uint8), "opens a file by its path, ndarray is none"),
        (None, "opens a file by its path, NoneType is none"),
    ],
)
def test_what_is_no_path_of_a_file_is_answered_in_a_sentence(given, sentence):
    with pytest.raises(ValueError, match=sentence) as told:
        open_image(given)
    assert len(str(told.value)) < 200


def test_a_home_is_found(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    Image.new("RGB", (5, 4)).save(tmp_path / "dog.png")
    assert open_image("~/dog.png").size == (5, 4)


def test_a_name_may_begin_with_a_tilde_or_be_too_long(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (5, 4)).save("~x.png")
    assert open_image("~x.png").size == (5, 4)
    with pytest.raises(FileNotFoundError, match=r"No image at ~nobodyxyz/1\.jpg"):
        open_image("~nobodyxyz/1.jpg")
    with pytest.raises(ValueError, match=r"x+\.jpg cannot be read as an image \(.*too long"):
        open_image("x" * 300 + ".jpg")


@pytest.mark.parametrize("kind", [np.int32, np.float32])
@pytest.mark.parametrize("highest", [1, 252, 65535])
def test_grey_without_an_agreed_range_is_refused_not_made_black(tmp_path, kind, highest):
    grey = Image.fromarray(np.linspace(0, highest, 48).reshape(6, 8).astype(kind))
    grey.save(tmp_path / "grey.tif")
    with pytest.raises(ValueError, match=r"grey\.tif cannot be read as an image \(its grey levels are .* range"):
        open_image(tmp_path / "grey.tif")
    with pytest.raises(ValueError, match=r"its grey levels are .* without an agreed range"):
        upright(grey)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("entries", "size"),
    [
        (b"\x01\x00\x12\x01\x03\x00\x01\x00\x00\x00\x06\x00\x00\x00" + b"\x00" * 4, (8, 16)),
        # a pointer to GPS data that is a byte string: ImageOps.exif_transpose stumbles over it
        (
            b"\x02\x00\x12\x01\x03\x00\x01\x00\x00\x00\x06\x00\x00\x00"
            b"%\x88\x06\x00\x06\x00\x00\x004\x00\x00\x00" + b"\x00" * 24,
            (8, 16),
        ),
        (b"\xff\xff\x12", (16, 8)),  # cut short
    ],
)
def test_damaged_exif_does_not_cost_the_picture(tmp_path, entries, size):
    exif = b"Exif\x00\x00II*\x00\x08\x00\x00\x00" + entries
    Image.new("RGB", (16, 8), "white").save(tmp_path / "damaged.jpg", exif=exif)
    assert open_image(tmp_path / "damaged.jpg").size == size


def test_a_missing_picture_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"No image at .*000007\.png: complete the dataset"):
        open_image(tmp_path / "000007.png")


def test_what_is_not_a_whole_picture_is_refused(tmp_path, monkeypatch):
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    for name in ("cut.jpg", "cut.png"):
        Image.fromarray(noise).save(tmp_path / name)
        content = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(content[: len(content) // 2])
        with pytest.raises(ValueError, match=rf"{name} cannot be read as an image"):
            open_image(tmp_path / name)
    (tmp_path / "page.jpg").write_text("<html>404</html>")
    with pytest.raises(ValueError, match=r"page\.jpg cannot be read as an image"):
        open_image(tmp_path / "page.jpg")
    with pytest.raises(ValueError, match="is a folder: name a picture in it"):
        open_image(tmp_path)
    Image.fromarray(noise).save(tmp_path / "bomb.png")
    for limit in (3000, 1000):  # Pillow warns above its limit, and stops above twice that: both are refused here
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
        with pytest.raises(ValueError, match=r"bomb\.png is refused, it is too large"):
            open_image(tmp_path / "bomb.png")


def quarters(size: tuple[int, int] = (160, 96)) -> Image.Image:
    """Red, green, blue and white in the four quarters."""
    picture, (width, height) = Image.new("RGB", size, "white"), size
    for color, corner in (("red", (0, 0)), ("lime", (width // 2, 0)), ("blue", (0, height // 2))):
        picture.paste(color, (*corner, corner[0] + width // 2, corner[1] + height // 2))
    return picture


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_very_large_jpeg_is_read_smaller_and_upright(tmp_path, monkeypatch, orientation):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    quarters().save(tmp_path / "large.jpg", exif=exif, quality=95)
    whole = open_image(tmp_path / "large.jpg")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 5000)
    image = open_image(tmp_path / "large.jpg")
    assert image.size == (whole.width // 4, whole.height // 4)
    for x, y in ((0.25, 0.25), (0.75, 0.25), (0.25, 0.75), (0.75, 0.75)):
        colors = [i.getpixel((int(x * i.width), int(y * i.height))) for i in (image, whole)]
        assert np.allclose(*colors, atol=6), (x, y)


@pytest.mark.parametrize(
    ("mode", "options"),
    [("RGB", {}), ("L", {}), ("CMYK", {}), ("RGB", {"progressive": True}), ("RGB", {"subsampling": 0})],
)
def test_every_kind_of_large_jpeg_is_read_smaller(tmp_path, monkeypatch, mode, options):
    quarters().convert(mode).save(tmp_path / "large.jpg", **options)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 5000)
    image = open_image(tmp_path / "large.jpg")
    assert (image.mode, image.size) == ("RGB", (40, 24))


def test_what_is_too_large_even_so_is_refused(tmp_path, monkeypatch):
    quarters().save(tmp_path / "large.jpg")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 5000)
    monkeypatch.setattr(pictures, "LARGEST_JPEG", 15_000)
    with pytest.raises(ValueError, match=r"large\.jpg cannot be read as an image \(it has 160 x 96 pixels, too many"):
        open_image(tmp_path / "large.jpg")
    content = (tmp_path / "large.jpg").read_bytes()
    monkeypatch.setattr(pictures, "LARGEST_JPEG", 16_000)
    (tmp_path / "large.jpg").write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match=r"large\.jpg cannot be read as an image \(.*Truncated"):
        open_image(tmp_path / "large.jpg")


@pytest.mark.parametrize("orientation", [1, 3, 6])
def test_heic_is_read_upright(tmp_path, orientation):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    pillow_heif.from_pillow(quarters()).save(tmp_path / "IMG_1.HEIC", exif=exif.tobytes(), quality=95)
    jpeg = io.BytesIO()
    quarters().save(jpeg, "JPEG", exif=exif, quality=95)
    expected = ImageOps.exif_transpose(Image.open(jpeg))
    image = open_image(tmp_path / "IMG_1.HEIC")
    assert (image.mode, image.size) == ("RGB", expected.size)
    for place in ((20, 20), (70, 20), (20, 70), (70, 70)):
        assert np.allclose(image.getpixel(place), expected.getpixel(place), atol=12), place


def test_without_pillow_heif_the_way_out_is_named(tmp_path):
    for name, brand in (("1.HEIC", b"heic"), ("2.heif", b"mif1"), ("3.jpg", b"heix")):
        (tmp_path / name).write_bytes(b"\x00\x00\x00\x18ftyp" + brand + b"\x00" * 500)
        program = "import sys; sys.modules['pillow_heif'] = None\nfrom dataset.pictures import open_image\n"
        program += "try: open_image(sys.argv[1])\nexcept ValueError as error: print(error)"
        answer = subprocess.run(
            [sys.executable, "-c", program, str(tmp_path / name)],
            capture_output=True,
            text=True,
            cwd=Path(__file__).parents[2],
        )
        assert "it is HEIC: pip install pillow-heif, or save it as JPEG" in answer.stdout
        with pytest.raises(ValueError, match=rf"{name} cannot be read as an image"):  # nor is it whole
            open_image(tmp_path / name)


def test_pictures_that_come_again_are_kept_as_long_as_there_is_room(tmp_path):
    for name, red in (("a.png", 10), ("b.png", 20)):
        Image.new("RGB", (8, 6), (red, 0, 0)).save(tmp_path / name)
    opened = Opened(room=3 * 8 * 6)
    first = {name: opened[tmp_path / name] for name in ("a.png", "b.png")}
    assert opened[tmp_path / "a.png"] is first["a.png"]
    again = opened[tmp_path / "b.png"]
    assert again is not first["b.png"] and again.getpixel((0, 0)) == (20, 0, 0)
    with pytest.raises(FileNotFoundError):
        opened[tmp_path / "c.png"]
