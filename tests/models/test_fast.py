"""The kernels compute what the plain page computes: values, gradients, and they keep no memory."""

import gc
import inspect

import pytest
import torch
from conftest import rounds
from torch.nn import functional as F
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence

from model import AdditiveAttention, AttentionDecoder
from models.decoders import DECODERS
from models.devices import best_precision
from models.fast import OverTime, Prefixes, additive_scores, filled_up, kernels, rounded_products

OPTIONS = [
    *((name, {}) for name in DECODERS),
    *(("AttentionDecoder", {"cell": cell, "attention": a}) for cell in ("rnn", "gru") for a in ("additive", "dot")),
    ("AttentionDecoder", {"gate": True, "project": 3}),
    ("ShowAttendTell", {"deep_output": True}),
    ("SpatialDecoder", {"cell": "gru"}),
]


@pytest.mark.parametrize(("name", "options"), OPTIONS, ids=[" ".join([n, *map(str, o.values())]) for n, o in OPTIONS])
def test_with_kernels_scores_attention_and_gradients_are_those_of_the_plain_page(name, options):
    torch.manual_seed(0)
    kind = DECODERS[name]
    sizes = {"word_size": 6, "hidden_size": 6, "attention_size": 4, "project": 3, "heads": 2, "dropout": 0.0} | options
    known = {key: value for key, value in sizes.items() if key in inspect.signature(kind).parameters}
    decoder = kind(11, 7, **known).double()
    features = torch.randn(3, 9, 7, dtype=torch.float64)
    words = pack_padded_sequence(torch.randint(0, 11, (4, 6)), torch.tensor([6, 4, 4, 1]), batch_first=True)

    def results() -> list[torch.Tensor]:
        scores, looks = decoder(features, words, torch.tensor([1, 0, 2, 1]))
        loss = scores.square().sum() + (0 if looks is None else looks.square().sum())
        return [scores, *([] if looks is None else [looks]), *torch.autograd.grad(loss, list(decoder.parameters()))]

    plain = results()
    with kernels(decoder):
        fast = results()
        with torch.no_grad():
            torch.testing.assert_close(decoder(features, words, torch.tensor([1, 0, 2, 1]))[0], plain[0])
    for a, b in zip(fast, plain, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)


def test_an_lstm_ends_in_the_plain_state_and_that_has_the_plain_gradient():
    torch.manual_seed(0)
    lstm = torch.nn.LSTM(5, 3, batch_first=True).double()
    x, sizes = torch.randn(8, 5).double(), torch.tensor([4, 2, 1, 1])
    state = [torch.randn(1, 4, 3).double().requires_grad_() for _ in range(2)]

    def results() -> list[torch.Tensor]:
        _, after = lstm(PackedSequence(x, sizes), state)
        return [*after, *torch.autograd.grad(after[0].square().sum() + after[1].sin().sum(), state)]

    plain = results()
    with kernels(lstm):
        fast = results()
        two = torch.nn.LSTM(5, 3, num_layers=2)
        with kernels(two):  # what the kernel does not know goes the plain way
            assert two(PackedSequence(x.float(), sizes))[1][0].shape == (2, 4, 3)
        assert lstm(x.unsqueeze(0))[0].shape == (1, 8, 3)
    for a, b in zip(fast, plain, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


def test_products_of_many_words_are_filled_up_without_a_trace():
    torch.manual_seed(0)
    linear, lstm = torch.nn.Linear(8, 5), torch.nn.LSTM(8, 16)
    x, sizes = torch.randn(70, 8, requires_grad=True), torch.tensor([30, 25, 15])
    state = [torch.zeros(1, 30, 16)] * 2

    def results() -> list[torch.Tensor]:
        with torch.autocast("cpu", torch.bfloat16):
            scores, hidden = linear(x), lstm(PackedSequence(x, sizes), state)[0].data
        loss = scores.float().square().sum() + hidden.float().square().sum()
        return [scores, hidden, *torch.autograd.grad(loss, [x, *linear.parameters(), *lstm.parameters()])]

    plain = results()
    with kernels(linear), kernels(lstm):
        fast = results()
    assert filled_up(x).shape == (128, 8) and not filled_up(x)[70:].any() and filled_up(x[:64]).shape == (64, 8)
    for a, b in zip(fast, plain, strict=True):
        torch.testing.assert_close(a.float(), b.float(), rtol=0.03, atol=0.03 * b.abs().max().item())


def test_dropout_drops_its_share_and_keeps_the_mean():
    torch.manual_seed(0)
    x = torch.ones(1001, 101, requires_grad=True)
    for share in (0.2, 0.5):
        dropout = torch.nn.Dropout(share)
        with kernels(dropout):
            y = dropout(x)
            assert abs((y == 0).float().mean().item() - share) < 0.005
            assert abs(y.mean().item() - 1) < 0.01 and len(y.unique()) == 2
            assert torch.equal(torch.autograd.grad(y.sum(), x)[0], y)
            assert not torch.equal(dropout(x), y)
            assert torch.equal(dropout.eval()(x), x)


def test_kernels_are_there_inside_only_and_may_be_nested():
    decoder = AttentionDecoder(11, 7, 4, 4, 4)
    plain = set(vars(decoder)), set(vars(decoder.attention))
    with pytest.raises(KeyError), kernels(decoder):
        with kernels(decoder):
            pass
        assert {"forward"} == set(vars(decoder)) - plain[0] and {"scores"} == set(vars(decoder.attention)) - plain[1]
        raise KeyError
    assert (set(vars(decoder)), set(vars(decoder.attention))) == plain


@rounds
def test_rounded_products_are_nearly_the_same_and_there_inside_only():
    torch.manual_seed(0)
    linear, x = torch.nn.Linear(256, 64), torch.randn(128, 256)
    plain = linear(x)
    with rounded_products(linear), torch.no_grad():
        torch.testing.assert_close(linear(x), plain, rtol=0.02, atol=0.02)
        assert torch.get_float32_matmul_precision() == "highest"
        if best_precision(torch.device("cpu")) is not None:
            assert not torch.equal(linear(x), plain)
            with kernels(linear):
                assert not torch.equal(linear(x), plain)
    assert torch.equal(linear(x), plain)
    with kernels(linear), pytest.raises(RuntimeError, match="would round nothing"), rounded_products(linear):
        pass


@rounds
def test_of_rounded_products_the_highest_scores_are_exact():
    """So a search chooses as it would without rounding, where the scores themselves are all that is rounded."""
    torch.manual_seed(0)
    decoder, x = AttentionDecoder(3000, 7, 4, 256, 4).eval(), torch.randn(50, 256)
    with torch.inference_mode():
        plain = decoder.lm_head(x)
        with rounded_products(decoder), kernels(decoder):
            scores = decoder.lm_head(x)
    top = plain.topk(5).indices
    torch.testing.assert_close(scores.gather(1, top), plain.gather(1, top), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(scores, plain, rtol=0.02, atol=0.02)
    assert torch.equal(scores.topk(5).indices, top)
    if best_precision(torch.device("cpu")) is not None:
        assert (scores - plain).abs().max() > 1e-4, "the others are rounded"


def test_a_decoder_with_another_forward_keeps_it():
    class Silent(AttentionDecoder):
        def forward(self, features, words, image_of):
            return torch.zeros(1), torch.zeros(1)

    decoder = Silent(11, 7, 4, 4, 4)
    with kernels(decoder):
        assert not decoder(None, None, None)[0].any()


def test_additive_scores_are_the_plain_formula_in_value_and_gradient():
    torch.manual_seed(0)
    attention = AdditiveAttention(7, 4).double()
    for captions in (1, 3):
        query, keys = (
            torch.randn(2, captions, 4).double().requires_grad_(),
            torch.randn(2, 9, 4).double().requires_grad_(),
        )
        plain = attention.scores(query, keys)
        scores = additive_scores(attention, query, keys)
        torch.testing.assert_close(scores, plain)
        with torch.no_grad():
            torch.testing.assert_close(additive_scores(attention, query, keys), plain)
        weight, of = torch.randn_like(plain), (query, keys, attention.v.weight)
        for a, b in zip(*(torch.autograd.grad((s * weight).sum(), of) for s in (scores, plain)), strict=True):
            torch.testing.assert_close(a, b)


def test_scores_of_beams_stay_right_where_tanh_is_one():
    attention = AdditiveAttention(7, 4)
    query = torch.tensor([-39.0, -30, 0.3, 39]).view(1, 4, 1).expand(1, 4, 4)
    keys = torch.tensor([-300.0, -1, 29.5, 60]).view(1, 4, 1).expand(1, 4, 4)
    with torch.no_grad():
        torch.testing.assert_close(additive_scores(attention, query, keys), attention.scores(query, keys))
        low, exact = query.bfloat16(), attention.scores(query, keys).bfloat16()
        torch.testing.assert_close(additive_scores(attention, low, keys.bfloat16()), exact, rtol=0.02, atol=0.02)


def test_a_product_over_time_is_the_plain_product_in_value_and_gradient():
    torch.manual_seed(0)
    weight, bias = torch.randn(6, 6).double().requires_grad_(), torch.randn(6).double().requires_grad_()
    first = torch.randn(4, 6).double().requires_grad_()

    def loop(linear):
        x, total = first, 0.0
        for running in (4, 3, 1):
            x = torch.tanh(linear(x[:running]))
            total = total + x.square().sum()
        return torch.autograd.grad(total, (first, weight, bias))

    for a, b in zip(loop(OverTime(weight, bias)), loop(lambda x: F.linear(x, weight, bias)), strict=True):
        torch.testing.assert_close(a, b)


def test_it_may_be_asked_twice_and_for_the_first_steps_only():
    torch.manual_seed(0)
    weight, first = (torch.randn(6, 6).double().requires_grad_() for _ in range(2))
    gradients = []
    for linear in (OverTime(weight), lambda x: F.linear(x, weight)):
        steps = [first]
        for _ in range(3):
            steps.append(torch.tanh(linear(steps[-1])))
        for loss in (steps[3].sum(), steps[1].sum(), steps[3].square().sum()):
            gradients.append(torch.autograd.grad(loss, weight, retain_graph=True)[0])
    for a, b in zip(gradients[:3], gradients[3:], strict=True):
        torch.testing.assert_close(a, b)


def test_prefixes_are_plain_slices_in_value_and_gradient():
    x = torch.randn(5, 2, 3, dtype=torch.float64, requires_grad=True)
    sizes = [5, 4, 4, 1]
    weights = [torch.randn(n, 2, 3, dtype=torch.float64) for n in sizes]

    def gradient(slices):
        return torch.autograd.grad(sum((s * w).sum() for s, w in zip(slices, weights, strict=True)), x)[0]

    slices = Prefixes.apply(x, sizes)
    assert all(torch.equal(s, x[:n]) for s, n in zip(slices, sizes, strict=True))
    torch.testing.assert_close(gradient(slices), gradient([x[:n] for n in sizes]))
    assert torch.autograd.gradcheck(lambda x: Prefixes.apply(x, sizes), x)


def test_training_steps_give_their_memory_back():
    """A time loop that shares lists between its steps can keep whole graphs alive without anybody knowing."""
    torch.manual_seed(0)
    decoder = AttentionDecoder(50, 16, 16, 16, 16)
    words = pack_padded_sequence(torch.randint(4, 50, (16, 12)), torch.full((16,), 12), batch_first=True)

    def steps(count: int) -> int:
        for _ in range(count):
            with kernels(decoder):
                scores, _ = decoder(torch.randn(16, 196, 16), words, torch.arange(16))
            scores.logsumexp(-1).sum().backward()
        return sum(issubclass(type(thing), torch.Tensor) for thing in gc.get_objects())

    few = steps(2)
    assert steps(5) <= few + 5


def test_a_product_over_time_takes_a_step_in_another_precision():
    weight = torch.randn(3, 4, dtype=torch.bfloat16, requires_grad=True)
    product, x = OverTime(weight), torch.randn(2, 4)  # as a softmax's result under autocast on a GPU
    (product(x) + product(2 * x)).sum().backward()
    torch.testing.assert_close(weight.grad, 3 * x.sum(0).expand(3, 4).bfloat16(), rtol=0.02, atol=0.02)
