"""The loops of model.py with hand-written gradients: the same values, sooner.

Comes in: a model. Inside `with kernels(model):` its additive attention, LSTM layers and time loop are those of this
page; outside they are the plain ones, and so are the results but for rounding. Dropout's are as random, but other
numbers. Inside `with rounded_products(model):` there is a little more rounding. docs/PERFORMANCE.md says what each is
worth.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from types import MethodType
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from model import AdditiveAttention, AttentionDecoder
from models.packing import place_in_group, rows_of


@contextmanager
def kernels(model: nn.Module) -> Iterator[None]:
    """Inside, whatever of the model has a kernel here computes by it. May be nested."""
    with _replaced(model, KERNELS):
        yield


@contextmanager
def rounded_products(model: nn.Module) -> Iterator[None]:
    """Inside, the model's linear layers may round what they multiply to bfloat16, or a GPU to TF32; they add up in
    float32, and all else stays as it is. The highest scores of the next word, among which a search chooses, are
    computed again without rounding. Worth it for many rows at once, on processors that multiply bfloat16 fast.

    RuntimeError inside `kernels`, which replaces the same layers: it stands outside. ValueError where torch would
    round nothing.
    """
    if any(getattr(vars(m).get("forward"), "__func__", None) is linear_forward for m in model.modules()):
        raise RuntimeError("rounded_products inside kernels would round nothing: kernels go inside")
    if torch.__version__ < "2.13" and next(model.parameters()).device.type == "cpu":
        raise ValueError(f"torch {torch.__version__} rounds no products on a CPU: take 2.13 or newer, or float32")
    heads = nn.ModuleList([module for name, module in model.named_modules() if name.rpartition(".")[2] == "lm_head"])
    of_scores, of_others = ((nn.Linear, "forward", function) for function in (rounded_scores, rounded_linear))
    with _replaced(heads, (of_scores,)), _replaced(model, (of_others,)):
        yield


@contextmanager
def _replaced(model: nn.Module, functions: tuple) -> Iterator[None]:
    """Methods (class, name, function) replaced in those modules of the model that do not have their own."""
    replaced = [
        (module, name, function)
        for module in model.modules()
        for kind, name, function in functions
        if isinstance(module, kind) and getattr(type(module), name) is getattr(kind, name) and name not in vars(module)
    ]
    for module, name, function in replaced:
        setattr(module, name, MethodType(function, module))
    try:
        yield
    finally:
        for module, name, _ in replaced:
            delattr(module, name)


def rounded_linear(self: nn.Linear, x: Tensor) -> Tensor:
    """`nn.Linear.forward` by torch's "medium" precision."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        return nn.functional.linear(x, self.weight, self.bias)
    finally:
        torch.set_float32_matmul_precision(before)


def rounded_scores(self: nn.Linear, x: Tensor, again: int = 8) -> Tensor:
    """`rounded_linear` of rows (B, I), each row's `again` highest as `nn.Linear.forward` has them."""
    scores = rounded_linear(self, x)
    top = highest(scores, min(again, scores.shape[1]))  # (B, again)
    exact = (self.weight[top] @ x.unsqueeze(-1)).squeeze(-1)
    return scores.scatter_(1, top, exact if self.bias is None else exact + self.bias[top])


def highest(scores: Tensor, count: int, width: int = 128) -> Tensor:
    """Scores (M, C) -> the places of the highest (M, count), as topk has them, several times sooner for large C.

    They lie in the `count` blocks of `width` whose maxima are highest, or in what remains of C.
    """
    whole = scores.shape[1] // width * width
    if whole < 2 * count * width:
        return scores.topk(count).indices
    blocks = scores[:, :whole].unflatten(1, (-1, width)).amax(-1).topk(count).indices
    within, rest = (torch.arange(*ends, device=scores.device) for ends in ((width,), (whole, scores.shape[1])))
    places = (blocks.unsqueeze(-1) * width + within).flatten(1)
    places = torch.cat([places, rest.expand(len(scores), -1)], 1)
    return places.gather(1, scores.gather(1, places).topk(count).indices)


# ------------------------------------------------------------------------------------------------ additive attention


def additive_scores(self: AdditiveAttention, query: Tensor, keys: Tensor) -> Tensor:
    """`AdditiveAttention.scores`."""
    v = self.v.weight[0].to(keys.dtype)
    if query.is_cuda:
        return AdditiveAttention.scores(self, query, keys)  # there a pass over memory less does not pay for the sums
    if torch.is_grad_enabled():
        return AdditiveScores.apply(query, keys, v)
    kernel = AdditiveScores.apply if query.shape[1] == 1 else scores_of_beams
    few = max(1, 2**18 // (query.shape[1] * keys[0].numel()))  # pictures at a time stay in the processor's cache
    pairs = zip(query.split(few), keys.split(few), strict=True)
    return torch.cat([kernel(*pair, v) for pair in pairs])


def scores_of_beams(query: Tensor, keys: Tensor, v: Tensor) -> Tensor:
    """As `AdditiveScores`, without a gradient: tanh(k + q) = 1 - 2 / (1 + e^2k e^2q).

    An exponential for each key and each query, and none for their sums: those are K times as many as the keys. It is
    computed in float32 at least, which is sooner than in bfloat16, as that is converted to and fro at every pass.
    """
    kind = torch.promote_types(keys.dtype, torch.float32)
    # Where a product overflows or vanishes, tanh is 1 or -1 to the last digit; a query's own exponential must do
    # neither, so beyond 40 it counts as 40: wrong only for a key as large that all but cancels it.
    of_query = query.to(kind).clamp(-40, 40).mul_(2 / math.log(2)).exp2_()
    of_keys = (keys.to(kind) * (2 / math.log(2))).exp2_()
    s = torch.addcmul(of_keys.new_ones(()), of_query.unsqueeze(2), of_keys.unsqueeze(1)).reciprocal_()
    v = v.to(kind)
    return (v.sum() - 2 * (s @ v)).to(keys.dtype)


class AdditiveScores(torch.autograd.Function):
    """v . tanh(keys + query): queries (N, K, A), keys (N, R, A) and v (A,) -> scores (N, K, R).

    With tanh(x) = 2 sigmoid(2 x) - 1, as torch's sigmoid is several times faster on a CPU than its tanh; and in half as
    many passes over the (N, K, R, A) numbers in between, most of what attention costs, as autograd would make.
    """

    @staticmethod
    def forward(ctx: Any, query: Tensor, keys: Tensor, v: Tensor) -> Tensor:
        s = torch.add(2 * query.unsqueeze(2), keys.unsqueeze(1), alpha=2).sigmoid_()
        ctx.save_for_backward(s, v)
        return 2 * (s @ v) - v.sum()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        s, v = ctx.saved_tensors
        slope = torch.addcmul(s, s, s, value=-1)  # (N, K, R, A): a quarter of tanh's
        of_query = (gradient.unsqueeze(-2) @ slope).squeeze(-2) * (4 * v)  # (N, K, A)
        of_keys = slope.mul_(gradient.unsqueeze(-1))
        of_keys = of_keys.squeeze(1) if of_keys.shape[1] == 1 else of_keys.sum(1)
        return of_query, of_keys.mul_(4 * v), 2 * (gradient.flatten() @ s.flatten(0, -2)) - gradient.sum()


# ------------------------------------------------------------------------------------------------------- the time loop


def attention_forward(
    self: AttentionDecoder, features: Tensor, words: PackedSequence, image_of: Tensor
) -> tuple[Tensor, Tensor]:
    """`AttentionDecoder.forward`, on the captions still running only."""
    images = self.prepare(features)
    embedded = self.dropout(self.embedding(words.data))  # (L, W)
    regions, keys = as_multiplied(images.regions), as_multiplied(images.keys)
    state = tuple(rows_of(as_multiplied(s), image_of) for s in images.state)  # (B, D) each
    from_hidden, context_gates = (OverTime.of(layer, keys.dtype) for layer in (self.from_hidden, self.context_gates))
    mix = OverTime(regions.transpose(1, 2))
    place, captions = place_in_group(image_of, len(features))
    # each picture's captions behind each other, so that they share its regions
    seats = (image_of * captions + place).to(keys.device, non_blocking=True)
    sizes, steps = words.batch_sizes.tolist(), []
    running_keys = Prefixes.apply(rows_of(keys, image_of), sizes)
    for x, keys_now in zip(self.word_gates(embedded).split(sizes), running_keys, strict=True):  # x: (running, gates)
        state, seat = tuple(s[: len(x)] for s in state), seats[: len(x)]
        h, query, gate = from_hidden(state[0]).split(self.splits, -1)
        weights = self.attention(query.unsqueeze(1), keys_now).squeeze(1)  # (running, R)
        seated = weights.new_zeros(len(features) * captions, weights.shape[1]).index_copy(0, seat, weights)
        context = mix(seated.unflatten(0, (-1, captions))).flatten(0, 1).index_select(0, seat)  # (running, E)
        if gate.shape[-1]:
            context = context * torch.sigmoid(gate)
        state = self.cell.step(x + context_gates(context), h, state)
        steps.append((state[0], context, weights))
    hidden, context, weights = map(torch.cat, zip(*steps, strict=True))  # (L, D), (L, E), (L, R)
    return self.logits(hidden, context, embedded), weights


def as_multiplied(x: Tensor) -> Tensor:
    """x as the linear layers take it: under autocast they would cast it anew at each step."""
    kind = x.device.type
    return x.to(torch.get_autocast_dtype(kind)) if torch.is_autocast_enabled(kind) else x


class OverTime:
    """A linear map inside a time loop: x (..., n, I) -> x @ weight^T + bias, for a weight (..., O, I).

    As the plain product in value and gradient, but the weight's gradient is one product over all steps.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None = None):
        self.weight, self.bias = weight, bias
        self.steps: list[tuple[Tensor, Tensor] | None] = []

    @classmethod
    def of(cls, layer: nn.Linear, dtype: torch.dtype) -> OverTime:
        """A layer, in a precision."""
        return cls(layer.weight.to(dtype), None if layer.bias is None else layer.bias.to(dtype))

    def __call__(self, x: Tensor) -> Tensor:
        product = ProductOverTime.apply(x.to(self.weight.dtype), self.weight, self.steps)  # a softmax is in float32
        return product if self.bias is None else product + self.bias


class ProductOverTime(torch.autograd.Function):
    """x @ weight^T at one step. Plain autograd makes a gradient of the weight's size at every step and adds them up;
    here the first step, whose turn comes last, computes it for all (`steps`, a list that they share)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, steps: list) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.steps, ctx.number = steps, len(steps)
        steps.append(None)
        return x @ weight.transpose(-1, -2)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor | None, None]:
        x, weight = ctx.saved_tensors
        of_weight = None
        if ctx.needs_input_grad[1]:
            ctx.steps[ctx.number] = x.detach(), gradient
            if ctx.number == 0:
                of_loss = [step for step in ctx.steps if step is not None]  # not every step need lead to the loss
                xs, gradients = (torch.cat(column, -2) for column in zip(*of_loss, strict=True))
                of_weight = gradients.transpose(-1, -2) @ xs
                # the list and the graph know each other: what stays in it would stay in memory for ever
                ctx.steps[:] = [None] * len(ctx.steps)
        return gradient @ weight, of_weight, None


# ----------------------------------------------------------------------------------- layers over all of a batch's words


def linear_forward(self: nn.Linear, x: Tensor) -> Tensor:
    """`nn.Linear.forward`, of packed words by `linear_of_many`."""
    return (
        linear_of_many(x, self.weight, self.bias) if x.dim() == 2 else nn.functional.linear(x, self.weight, self.bias)
    )


def linear_of_many(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """x (L, I) @ weight^T + bias, in bfloat16 on a CPU over a multiple of 64 rows.

    There oneDNN compiles a program for each size that it multiplies, which takes longer than a product, and keeps a
    thousand; but every batch has another number of words.
    """
    if x.is_cuda or not torch.is_autocast_enabled("cpu") or len(x) < 64:
        return nn.functional.linear(x, weight, bias)
    return nn.functional.linear(filled_up(as_multiplied(x)), weight, bias)[: len(x)]


def filled_up(x: Tensor) -> Tensor:
    """Rows (L, ...) and rows of zeros, to a multiple of 64."""
    return nn.functional.pad(x, (0, 0, 0, -len(x) % 64))


def lstm_forward(
    self: nn.LSTM, words: PackedSequence | Tensor, state: tuple[Tensor, Tensor] | None = None
) -> tuple[PackedSequence | Tensor, tuple[Tensor, Tensor]]:
    """`nn.LSTM.forward` of one layer over packed words, while it learns."""
    several = self.num_layers > 1 or self.bidirectional or self.proj_size or not self.bias
    if not isinstance(words, PackedSequence) or words.sorted_indices is not None or state is None or several:
        return nn.LSTM.forward(self, words, state)
    if words.data.is_cuda or not torch.is_grad_enabled():
        return nn.LSTM.forward(self, words, state)
    D, layer = self.hidden_size, cast(Any, self)  # its weights have no types
    double = words.data.new_ones(4 * D)
    double[2 * D : 3 * D] = 2  # tanh(x) = 2 sigmoid(2 x) - 1: one sigmoid for all four gates
    weight, bias = layer.weight_ih_l0, layer.bias_ih_l0 + layer.bias_hh_l0
    x = linear_of_many(words.data, weight * double.unsqueeze(1), bias * double)  # (L, 4 D)
    hidden_weight = (layer.weight_hh_l0 * double.unsqueeze(1)).to(x.dtype)
    sizes = words.batch_sizes
    hidden, cells = LSTMOverTime.apply(x, hidden_weight, state[0][0], state[1][0], sizes.tolist())
    rows = torch.arange(int(sizes[0]))
    last = (sizes.cumsum(0) - sizes)[(sizes.unsqueeze(1) > rows).sum(0) - 1] + rows  # each caption's last word
    return PackedSequence(hidden, sizes), (hidden[last].unsqueeze(0), cells[last].unsqueeze(0))


class LSTMOverTime(torch.autograd.Function):
    """An LSTM's loop: the words' gates (L, 4 D), weight (4 D, D), h and c (B, D) -> every h and every c, (L, D).

    Packed by time, `sizes` captions a step; the third gate comes in doubled, and is 2 sigmoid - 1. Sums and cells are
    in float32 at least. What does not need the step after is computed for all steps at once, as is the weight's
    gradient.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, h: Tensor, c: Tensor, sizes: list[int]) -> tuple[Tensor, Tensor]:
        ctx.sizes, ctx.dtypes, start = sizes, (h.dtype, c.dtype), 0
        gates = x.new_empty(x.shape, dtype=torch.promote_types(x.dtype, torch.float32))
        cells, hidden = gates.new_empty(len(x), h.shape[1]), x.new_empty(len(x), h.shape[1])
        h, c, befores = h.to(x.dtype), c.to(gates.dtype), []
        for n in sizes:
            now, start = slice(start, start + n), start + n
            h, c = h[:n], c[:n]
            befores.append((h, c))
            i, f, g, o = torch.add(x[now], h @ weight.t(), out=gates[now]).sigmoid_().chunk(4, -1)
            c = torch.addcmul(f * c, i, g, value=2, out=cells[now]).sub_(i)
            h = hidden[now].copy_(o * torch.tanh(c))
        before_h, before_c = map(torch.cat, zip(*befores, strict=True))  # (L, D)
        ctx.save_for_backward(weight, gates, cells, before_h, before_c)
        return hidden, cells

    @staticmethod
    def backward(ctx: Any, of_hidden: Tensor, of_cells: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, None]:
        weight, gates, cells, before_h, before_c = ctx.saved_tensors
        i, f, g, o = gates.chunk(4, -1)
        tanh = cells.tanh()
        slopes = torch.addcmul(gates, gates, gates, value=-1).unflatten(-1, (4, -1))  # of the gates, by c and by h
        for slope, factor in zip(slopes.unbind(1), (2 * g - 1, before_c, 2 * i, tanh), strict=True):
            slope.mul_(factor)
        through = torch.addcmul(o, o * tanh, tanh, value=-1)  # of c, by h
        before_h = filled_up(before_h)
        of_gates = weight.new_zeros(len(before_h), 4, before_h.shape[1])
        h = gates.new_zeros(ctx.sizes[0], gates.shape[1] // 4)
        c, start = torch.zeros_like(h), len(gates)
        for n in reversed(ctx.sizes):
            now, start = slice(start - n, start), start - n
            of_h = h[:n].add_(of_hidden[now])
            of_c = c[:n].add_(of_cells[now]).addcmul_(of_h, through[now])
            of_gates[now, :3] = slopes[now, :3] * of_c.unsqueeze(1)
            of_gates[now, 3] = slopes[now, 3] * of_h
            of_c.mul_(f[now])
            of_h.copy_(of_gates[now].flatten(1) @ weight)
        of_x = of_gates.flatten(1)
        return of_x[: len(gates)], of_x.t() @ before_h, h.to(ctx.dtypes[0]), c.to(ctx.dtypes[1]), None


def dropout_forward(self: nn.Dropout, x: Tensor) -> Tensor:
    """`nn.Dropout.forward`, in 256ths: a random byte for each number, as drawing numbers is most of what it costs."""
    dropped = round(256 * self.p)
    if not self.training or x.is_cuda or not 0 < dropped < 256:
        return nn.Dropout.forward(self, x)
    eight = torch.empty(-(-x.numel() // 8), dtype=torch.long, device=x.device).random_(-(2**63), None)
    kept = eight.view(torch.uint8)[: x.numel()].view(x.shape) >= dropped
    return x * kept.to(x.dtype).mul_(256 / (256 - dropped))


class Prefixes(torch.autograd.Function):
    """x -> x[:n] for every n in `sizes`, as plain slicing gives, but with one gradient buffer for all slices.

    The time loop asks for the captions still running at every step; the gradient of plain slices would fill and add a
    whole (B, R, A) of zeros per step.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, sizes: list[int]) -> tuple[Tensor, ...]:
        ctx.shape = x.shape
        return tuple(x[:n].view_as(x[:n]) for n in sizes)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        total = gradients[0].new_zeros(ctx.shape)
        for gradient in gradients:
            total[: len(gradient)] += gradient
        return total, None


KERNELS = (
    (AdditiveAttention, "scores", additive_scores),
    (AttentionDecoder, "forward", attention_forward),
    (nn.Linear, "forward", linear_forward),
    (nn.LSTM, "forward", lstm_forward),
    (nn.Dropout, "forward", dropout_forward),
)
