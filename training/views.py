"""Pictures as features are computed from them: whole, or seen otherwise.

Comes in: records. Goes out: pictures as tensors, read on all cores; where one cannot be read, the reason. What it does
not know: encoders, captions.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image, ImageEnhance, ImageOps
from torch import Tensor
from torch.utils.data import Dataset

from data_loader import Looks, Transform, in_threads
from dataset.pictures import open_image
from dataset.records import Record


class RandomCropFlip:
    """A photograph seen otherwise: three fifths of its area or more, half of the time mirrored, its colours varied.

    Left may become right and what a caption names may be cut off at the edge, which `Transform` never does: not for the
    drawn sample, whose captions say where things are. `size` is the side of the square that comes out, in pixels.
    """

    def __init__(self, size: int, interpolation: str = "bilinear"):
        self.size, self.interpolation = size, Image.Resampling[interpolation.upper()]

    def __call__(self, picture: Image.Image, random: np.random.Generator) -> Tensor:
        """A picture of any size -> (3, size, size) uint8."""
        picture = picture.convert("RGB")
        area, shape = random.uniform(0.6, 1), 2 ** random.uniform(-0.4, 0.4)  # of the part: share, and width to height
        width, height = (
            side * min(1, (area * by) ** 0.5) for side, by in zip(picture.size, (shape, 1 / shape), strict=True)
        )
        left, top = random.uniform(0, (picture.width - width, picture.height - height))
        part = (left, top, left + width, top + height)
        picture = picture.resize((self.size, self.size), self.interpolation, box=part)
        if random.random() < 0.5:
            picture = ImageOps.mirror(picture)
        for enhance in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
            picture = enhance(picture).enhance(1 + random.uniform(-0.15, 0.15))
        return torch.from_numpy(np.array(picture)).permute(2, 0, 1)


class ViewOfPictures(Dataset[tuple[int, Tensor, str]]):
    """The pictures, whole (view 0) or varied: another view, other random numbers."""

    def __init__(self, records: Sequence[Record], encoder: Looks, view: int):
        self.records, self.view = records, view
        self.transform: RandomCropFlip | Transform = Transform.of(encoder)
        if view:
            self.transform = RandomCropFlip(encoder.image_size, encoder.interpolation)

    def __len__(self) -> int:
        return len(self.records)

    def __getitems__(self, numbers: Sequence[int]) -> list[tuple[int, Tensor, str]]:
        """A batch, read on all cores."""
        return in_threads(self.__getitem__, numbers)

    def __getitem__(self, place: int) -> tuple[int, Tensor, str]:
        """Its place, a picture, and nothing; or, where it cannot be read, a black one and why."""
        try:
            picture = open_image(self.records[place].path)
            return place, self.transform(picture, np.random.default_rng((self.view, place))), ""
        except ValueError as error:
            return place, torch.zeros(3, self.transform.size, self.transform.size, dtype=torch.uint8), str(error)
