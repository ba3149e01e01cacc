"""Where an object is in its picture, and where its mask says that it is."""

from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image
from pycocotools import mask as rle

from dataset.masks import upright_masks
from dataset.pictures import open_image
from dataset.records import Instance, Record


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("size", [(40, 24), (24, 40), (32, 32)])
@pytest.mark.parametrize("of", ["the file", "what people see"])
def test_masks_lie_over_the_picture_as_people_see_it(tmp_path, orientation, size, of):
    pixels = np.full((size[1], size[0], 3), 255, np.uint8)
    pixels[2:8, 4:20] = 0  # the object
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    Image.fromarray(pixels).save(tmp_path / "1.png", exif=exif)
    seen = np.asarray(open_image(tmp_path / "1.png"))[..., 0] == 0
    if of == "what people see" and seen.shape == size[::-1]:
        return  # nothing tells the two apart: taken as COCO's
    mask = pixels[..., 0] == 0 if of == "the file" else seen
    runs = rle.encode(np.asfortranarray(mask.astype(np.uint8)))
    record = Record(1, tmp_path / "1.png", "val", ("a dog",), *mask.shape[::-1], (Instance("dog", (0,) * 4, 1, runs),))
    ((category, turned),) = upright_masks(record)
    assert category == "dog" and turned.dtype == bool and np.array_equal(turned, seen)


def test_a_record_without_sizes_or_without_its_file(tmp_path):
    dog = Instance("dog", (0, 0, 2, 2), 4, [[0, 0, 2, 0, 2, 2, 0, 2]])
    assert upright_masks(Record(1, Path("1.png"), "val", ("a dog",), instances=(dog,))) == []
    ((_, mask),) = upright_masks(Record(1, tmp_path / "1.png", "val", ("a dog",), 6, 4, (dog,)))
    assert np.array_equal(mask, dog.mask(4, 6))
