"""What a user relies on when a training begins with a model: the weights mean the same, and nothing unseen was seen."""

import pytest
import torch

from models.checkpoint import TrainingImages, save
from models.show_and_tell import ShowAndTell
from training.begun import Begun


@pytest.fixture
def begun(captioner, vocabulary, tmp_path):
    """A model that has learned from the pictures 1 and 2 of a dataset."""
    metadata = {"settings": {"dataset": "data/pets"}}
    save(tmp_path, captioner(kind=ShowAndTell), vocabulary, metadata, images=TrainingImages((1, 2), (3,)))
    return lambda dataset="pets": Begun.of(str(tmp_path), dataset)


def test_its_weights_go_into_a_model_of_the_same_kind(begun, captioner):
    model = captioner(seed=1, kind=ShowAndTell, dropout=0.5, finetune=1)
    begun().give_weights_to(model)
    for key, value in begun().model.state_dict().items():
        assert torch.equal(model.state_dict()[key], value)


def test_weights_that_would_mean_something_else_are_refused(begun, captioner):
    """Though every tensor has the same shape."""
    with pytest.raises(ValueError, match=r"than these settings describe: image_at first, not every$"):
        begun().give_weights_to(captioner(kind=ShowAndTell, image_at="every"))


def test_pictures_that_it_has_learned_are_not_held_out(begun):
    begun().check_held_out([3, 4])
    with pytest.raises(ValueError, match="has learned from 1 of the pictures that --hold-out keeps apart"):
        begun().check_held_out([2, 3])
    begun("elsewhere/pets").check_held_out([3])
    begun("birds").check_held_out([2, 3])  # other pictures of these numbers
