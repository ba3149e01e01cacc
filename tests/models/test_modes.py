"""What a user relies on when a model is evaluated in the middle of its training: afterwards it learns on as before."""

import pytest
from torch import nn

from models.modes import eval_mode


def test_every_submodule_is_in_its_own_mode_again():
    model = nn.Sequential(nn.Dropout(), nn.BatchNorm1d(3), nn.Sequential(nn.Dropout()))
    model.train()
    model[1].eval()  # frozen
    before = [module.training for module in model.modules()]
    with eval_mode(model):
        assert not any(module.training for module in model.modules())
    assert [module.training for module in model.modules()] == before
    with pytest.raises(KeyboardInterrupt), eval_mode(model):
        raise KeyboardInterrupt
    assert [module.training for module in model.modules()] == before
    with eval_mode(model.eval()):
        pass
    assert not model.training
