"""What a user relies on in the pointing game: looks are counted rightly, at the right word and place."""

import numpy as np
import pytest

from evaluation.grounding import Look, grounding
from vocabulary import tokenize


def box(top: int, left: int, bottom: int, right: int, size: int = 16) -> np.ndarray:
    mask = np.zeros((size, size), dtype=bool)
    mask[top:bottom, left:right] = True
    return mask


def test_a_look_is_measured_at_the_noun():
    tokens = tokenize("a dog beside a hot dog")
    attention = np.full((7, 16), 0.01)  # 4 x 4 regions, each of 4 x 4 pixels; a row for <end>
    attention[1, 1 * 4 + 2] = 0.85  # "dog": second row, third column
    attention[5, 3 * 4 + 0] = 0.85  # the "dog" of "hot dog": last row, first column
    instances = [("dog", box(4, 8, 8, 12)), ("hot dog", box(12, 0, 16, 4)), ("cat", box(0, 0, 16, 16))]
    dog, hot_dog = grounding(tokens, attention, instances)
    assert dog == Look("dog", True, pytest.approx(0.85), 1 / 16)
    assert hot_dog == Look("hot dog", True, pytest.approx(0.85), 1 / 16)
    assert grounding(["a", "kite"], attention, instances) == []  # not annotated: nothing to look at


def test_rows_and_columns_are_not_swapped():
    attention = np.zeros((1, 16))
    attention[0, 3] = 1.0  # the right end of the first row
    for mask, hit in ((box(0, 12, 4, 16), True), (box(12, 0, 16, 4), False)):
        (look,) = grounding(["dog"], attention, [("dog", mask)])
        assert look.hit == hit and look.mass == pytest.approx(float(hit))


def test_masks_of_one_category_count_together_and_cells_by_their_share():
    attention = np.zeros((1, 16))
    attention[0, [0, 5]] = 0.6, 0.4
    masks = [("dog", box(0, 0, 4, 2)), ("dog", box(4, 4, 8, 8))]  # the left half of region 0, the whole of region 5
    (look,) = grounding(["dog"], attention, masks)
    assert look.mass == pytest.approx(0.6 * 0.5 + 0.4)
    assert look.chance == (8 + 16) / 256
    assert not look.hit  # the centre of region 0 is just outside


def test_a_mask_need_not_be_square_nor_a_multiple_of_the_grid():
    mask = np.zeros((30, 50), dtype=bool)
    mask[15:, 25:] = True  # the last quarter
    attention = np.zeros((1, 4))
    attention[0, 3] = 1.0
    assert grounding(["dog"], attention, [("dog", mask)]) == [Look("dog", True, 1.0, 0.25)]


def test_a_peak_is_the_centre_of_its_region():
    attention = np.array([[0.7, 0.1, 0.1, 0.1]])  # the first of 2 x 2 regions, pixels 0 to 3
    for place, hit in (((2, 2), True), ((0, 0), False), ((3, 3), False)):
        mask = np.zeros((8, 8), bool)
        mask[place] = True
        (look,) = grounding(["dog"], attention, [("dog", mask)])
        assert look.hit == hit, place
