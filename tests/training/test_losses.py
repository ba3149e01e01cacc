"""What a user relies on in a loss: a perplexity that means what it says."""

import math

import pytest
import torch

from training.loop import evaluate, fit
from training.losses import doubly_stochastic_penalty, perplexity, token_loss
from training.optimization import TrainingConfig

CPU = torch.device("cpu")


def equal_weights(a: dict, b: dict) -> bool:
    return all(torch.equal(a[key], b[key]) for key in a.keys() | b.keys())


def test_a_uniform_models_perplexity_is_the_vocabularys_size(captioner, loader, vocabulary):
    model = captioner()
    with torch.no_grad():
        model.decoder.lm_head.weight.zero_()
        model.decoder.lm_head.bias.zero_()
    assert evaluate(model, loader("val"), CPU) == pytest.approx(len(vocabulary), rel=1e-5)


def test_perplexity_is_over_all_tokens_not_a_mean_of_batches(captioner, loader):
    model = captioner().eval()
    with torch.no_grad():
        model.decoder.lm_head.weight.mul_(20)  # sure of itself, so that batches differ
    batches = list(loader("val", images_per_batch=2))  # two images, and one left over
    nll, tokens = [], []
    for batch in batches:
        logprobs = model(batch)[0].log_softmax(-1)
        nll.append(-logprobs[torch.arange(len(logprobs)), batch.targets].sum().item())
        tokens.append(len(batch.targets))
    assert tokens[0] != tokens[1]
    expected = math.exp(sum(nll) / sum(tokens))
    mean_of_batches = sum(math.exp(n / t) for n, t in zip(nll, tokens, strict=True)) / 2
    assert abs(mean_of_batches - expected) > 0.01 * expected
    assert evaluate(model, batches, CPU) == pytest.approx(expected, rel=1e-4)
    assert perplexity(sum(nll), sum(tokens)) == expected
    assert perplexity(1e9, 1) < math.inf  # absurd, but a number


def test_padding_and_start_are_not_in_the_loss(captioner, loader, vocabulary):
    """A model that holds them for impossible is not punished: they are never asked for."""
    model = captioner().eval()
    batch = next(iter(loader(images_per_batch=6)))
    assert (batch.captions == vocabulary.pad).any()
    losses = []
    for never in ([], [vocabulary.pad, vocabulary.start], [vocabulary.end]):
        logits = model(batch)[0].clone()
        logits[:, never] = -1e4
        losses.append(token_loss(logits, batch.targets).item() / len(batch.targets))
    assert losses[1] <= losses[0] < 10  # a little lower: their share goes to the words
    assert losses[2] > 100  # but <end> is asked for


def test_label_smoothing_is_not_in_the_reported_perplexity(captioner, loader):
    histories, weights = [], []
    for smoothing in (0.0, 0.3):
        model = captioner(finetune=0)
        fit(model, loader(), loader("val"), TrainingConfig(epochs=1, learning_rate=0.01, label_smoothing=smoothing))
        weights.append(model.state_dict())
        model = captioner(finetune=0)
        before = evaluate(model, loader(), CPU)
        still = TrainingConfig(epochs=1, learning_rate=1e-30, weight_decay=0.0, label_smoothing=smoothing)
        histories += fit(model, loader(), loader("val"), still)
        assert histories[-1]["train_perplexity"] == pytest.approx(before, rel=1e-5)
        assert histories[-1]["train_loss"] == pytest.approx(math.log(before), rel=1e-5)
    assert not equal_weights(*weights)  # it does smooth what is learned
    assert histories[0]["val_perplexity"] == histories[1]["val_perplexity"]


def test_looks_that_cover_the_picture_once_cost_nothing(captioner, loader):
    attention = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])  # of captions 0, 1, 0
    assert doubly_stochastic_penalty(attention, torch.tensor([2, 1])).item() == pytest.approx((0 + 0 + 0 + 1) / 4)
    assert doubly_stochastic_penalty(attention[[0, 2]], torch.tensor([1, 1])).item() == 0
    plain, even = (
        fit(captioner(), loader(), loader("val"), TrainingConfig(epochs=1, attention_penalty=weight))[0]
        for weight in (0.0, 5.0)
    )
    assert plain["train_loss"] != even["train_loss"]  # it learned otherwise
    assert even["train_perplexity"] == pytest.approx(math.exp(even["train_loss"]))  # and the penalty is in neither
    with pytest.raises(ValueError, match="attention_penalty is for a decoder with attention"):
        fit(captioner(attention="none"), loader(), loader("val"), TrainingConfig(attention_penalty=1.0))


def test_the_loss_is_that_of_smoothed_targets(vocabulary):
    """Written out: -log p of the true word, and with smoothing some of every other word's."""
    torch.manual_seed(0)
    logits, targets = torch.randn(7, 5).bfloat16(), torch.randint(0, 5, (7,))
    logprobs = logits.float().log_softmax(1)
    for smoothing in (0.0, 0.1):
        aim = torch.nn.functional.one_hot(targets, 5) * (1 - smoothing) + smoothing / 5
        loss = token_loss(logits, targets, smoothing)
        assert loss.dtype == torch.float32
        torch.testing.assert_close(loss, -(aim * logprobs).sum())
