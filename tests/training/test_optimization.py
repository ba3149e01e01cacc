"""What a user relies on in optimizers and schedules: they do what the settings say."""

import math
import re

import pytest
import torch

from training.loop import fit
from training.optimization import OPTIMIZERS, TrainingConfig
from training.teacher_forcing import inverse_sigmoid_decay, linear_decay


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_learns(name, captioner, loader):
    plan = TrainingConfig(epochs=4, optimizer=name, learning_rate=0.05 if name == "sgd" else 2e-3)
    history = fit(captioner(), loader(), loader("val"), plan)
    assert history[-1]["train_loss"] < history[0]["train_loss"]


def test_an_unknown_optimizer_is_refused():
    with pytest.raises(ValueError, match="unknown optimizer 'adamx': take one of adamw, adam, sgd, rmsprop"):
        TrainingConfig(optimizer="adamx")


def test_schedules_begin_and_end_where_they_say():
    assert [linear_decay(0.25)(p) for p in (0, 0.5, 1)] == [1, 0.625, 0.25]
    sigmoid = inverse_sigmoid_decay()
    assert sigmoid(0) > 0.99 and sigmoid(0.5) == 0.5 and sigmoid(1) < 0.01
    assert TrainingConfig(teacher_forcing=0.7).ratio(0.3) == 0.7
    assert TrainingConfig(teacher_forcing=linear_decay(0)).ratio(0.25) == 0.75
    plan = TrainingConfig(warmup=0.2)
    assert plan.lr_factor(0) == 0 and plan.lr_factor(0.1) == 0.5 and plan.lr_factor(0.2) == 1
    assert plan.lr_factor(0.6) == pytest.approx(0.5) and plan.lr_factor(1) == pytest.approx(0)
    assert TrainingConfig(warmup=0).lr_factor(0) == 1


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"patience": 0}, "patience must be 1 or more, not 0"),
        ({"epochs": 0}, "epochs must be 1 or more, not 0"),
        ({"learning_rate": 0.0}, "learning_rate must be more than 0, not 0.0"),
        ({"learning_rate": math.nan}, "learning_rate must be more than 0, not nan"),
        ({"weight_decay": -0.1}, "weight_decay must be 0 or more, not -0.1"),
        ({"warmup": 1.5}, "warmup must be 0 to 1, not 1.5"),
        ({"clip": 0.0}, "clip must be more than 0, not 0.0"),
        ({"label_smoothing": -0.1}, "label_smoothing must be 0 to 1, not -0.1"),
        ({"teacher_forcing": 2.0}, "teacher_forcing must be 0 to 1, not 2.0"),
        ({"attention_penalty": -1.0}, "attention_penalty must be 0 or more, not -1.0"),
    ],
)
def test_a_number_outside_its_range_is_refused(wrong, sentence):
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}$"):
        TrainingConfig(**wrong)


def one_step(captioner, loader, **settings) -> dict[str, torch.Tensor]:
    """What one step on all training pictures adds to each weight of a decoder."""
    model = captioner(finetune=0)
    before = {name: p.detach().clone() for name, p in model.decoder.named_parameters()}
    how = {"epochs": 1, "warmup": 0.0, "clip": math.inf, "weight_decay": 0.0} | settings
    fit(model, loader(images_per_batch=6), loader("val"), TrainingConfig(**how))
    return {name: p.detach() - before[name] for name, p in model.decoder.named_parameters()}


def test_gradients_are_clipped_to_the_norm_that_was_asked_for(captioner, loader):
    """The first step of plain gradient descent is as long as the gradient, times the learning rate."""
    whole, clipped = (
        torch.cat(
            [
                step.flatten()
                for step in one_step(captioner, loader, optimizer="sgd", learning_rate=1.0, clip=clip).values()
            ]
        )
        for clip in (math.inf, 0.01)
    )
    rate = TrainingConfig(warmup=0.0).lr_factor(1 / 2)  # of the first step of one
    assert whole.norm() > 2 * rate * 0.01
    torch.testing.assert_close(clipped.norm().item(), rate * 0.01, rtol=1e-3, atol=0)
    assert torch.cosine_similarity(clipped, whole, dim=0) > 0.9999


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_matrices_decay_and_biases_do_not(name, captioner, loader):
    plain, decayed = (one_step(captioner, loader, optimizer=name, weight_decay=decay) for decay in (0.0, 0.5))
    shape = {key: step.ndim for key, step in plain.items()}
    changed = {key for key in plain if not torch.equal(plain[key], decayed[key])}
    assert {shape[key] for key in changed} == {2} and {shape[key] for key in plain.keys() - changed} == {1}
    assert "embedding.weight" in changed and "lm_head.bias" not in changed
