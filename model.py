"""Pictures -> regions -> words: the encoder, attention, and the recurrent decoder (its siblings: models/decoders.py).

Comes in: pictures as bytes (uint8) or the regions of a feature map, and captions as word ids. Goes out: a score for
every word of the vocabulary at every place of the caption, and where the model looked. What it does not know: files,
words as text, losses.

Shapes, here and everywhere: B captions in the batch, N images (N <= B: captions share their image's regions), T words,
L real tokens (all captions of the batch together, `<end>` counted), R regions of the grid, E feature size, D hidden
size, A attention size, W word-embedding size, V vocabulary, K captions (or beams) of one image.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import PackedSequence

State = tuple[Tensor, ...]  # what a decoder remembers between two words; every tensor's first dimension is B


def best_device(name: str = "auto") -> torch.device:
    """The device called `name`; "auto" takes the first there is of cuda, mps, cpu."""
    if name != "auto":
        return torch.device(name)
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


# ---------------------------------------------------------------------------------------------------------- encoder


class EncoderCNN(nn.Module):
    """A classifier without its head: a picture becomes a grid of regions.

    `name` is `"small"` (a CNN that learns the drawn sample from scratch) or any torchvision classifier. `weights` is
    the name of one of torchvision's own weights for it ("IMAGENET1K_V1"), a path to a state dict, or None. The grid is
    the network's own, or averaged to `grid` x `grid` (`grid=1`: one pooled vector). Only the last `finetune` blocks
    learn (those without weights don't count); the others are frozen, and batch-norms keep their statistics everywhere.
    `finetune=None` trains the whole network, statistics too.

    `forward` is `forward_features` and then `resize_grid`. What `forward_features` gives is worth keeping on disk
    (training/features.py): the grid of the network, or the coarser one that was asked for; only a finer one (`grid=14`
    on 8 x 8) is made afterwards.

    Raises ValueError for an unknown name or weights that do not fit, FileNotFoundError for a missing file.
    """

    def __init__(
        self,
        name: str = "small",
        weights: str | Path | None = None,
        image_size: int | None = None,
        grid: int | None = None,
        finetune: int | None = 0,
    ):
        super().__init__()
        if name == "small":
            network, normalisation, own_size = small_cnn(), (0.5, 0.5), 128
            if weights is not None:
                load_weights(network, name, Path(weights))
        else:
            network, normalisation, own_size = torchvision_trunk(name, weights, image_size)
        self.name, self.grid, self.finetune = name, grid, finetune
        self.image_size = image_size or own_size
        self.blocks = network.to(memory_format=torch.channels_last)
        for name_of, numbers in zip(("mean", "std"), normalisation, strict=True):
            value = torch.as_tensor(numbers, dtype=torch.float32).expand(3).reshape(3, 1, 1).clone()
            self.register_buffer(name_of, value)
        self.config = {"name": name, "image_size": self.image_size, "grid": grid, "finetune": finetune}
        with_weights = [i for i, block in enumerate(network) if any(True for _ in block.parameters())]
        if finetune is None:
            self.first_learning = 0
        elif 0 <= finetune <= len(with_weights):
            self.first_learning = [*with_weights, len(network)][len(with_weights) - finetune]
        else:
            most = len(with_weights)
            raise ValueError(f"{name} has {most} blocks with weights: finetune must be 0 to {most}, not {finetune}")
        self.frozen_blocks.requires_grad_(False)
        self.eval()
        with torch.no_grad():  # one grey picture through the network tells R and E
            probe = self.forward_features(torch.full((1, 3, self.image_size, self.image_size), 128, dtype=torch.uint8))
        self.train()
        self.feature_regions = probe.shape[1]
        self.regions, self.feature_size = self.resize_grid(probe).shape[1:]
        stretched = self.regions != self.feature_regions
        self.cache_key = self.config | ({"grid": None} if stretched else {})  # what the kept features depend on

    @property
    def frozen_blocks(self) -> nn.Sequential:
        """The blocks that do not learn."""
        return self.blocks[: self.first_learning]

    @property
    def frozen(self) -> bool:
        """True if nothing in the encoder learns, so that its features can be computed once and kept."""
        return not any(p.requires_grad for p in self.parameters())

    def train(self, mode: bool = True) -> EncoderCNN:
        """As nn.Module's, but frozen blocks stay in eval mode; so do all batch-norms unless the whole network learns.

        What these know of ImageNet is worth more than a batch's mean, and in some published files it is part of the
        weights already: there a batch's own statistics would make nonsense of them.
        """
        super().train(mode)
        self.frozen_blocks.eval()
        if self.finetune is not None:
            for module in self.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.eval()
        return self

    def forward(self, images: Tensor) -> Tensor:
        """Pictures (N, 3, H, W) uint8 -> regions (N, R, E), row by row from the top left."""
        return self.resize_grid(self.forward_features(images))

    def forward_features(self, images: Tensor) -> Tensor:
        """As `forward`, but on the network's own grid where `grid` is finer: (N, R', E)."""
        if images.dtype != torch.uint8:
            raise ValueError(
                f"the encoder takes pictures as uint8 (0 to 255) and normalises them itself, not {images.dtype}"
            )
        x = (images.float() / 255 - self.mean) / self.std
        x = self.blocks(x.contiguous(memory_format=torch.channels_last))  # (N, E, height, width)
        if self.grid is not None and self.grid < max(x.shape[2:]):
            x = F.adaptive_avg_pool2d(x, self.grid)
        return x.flatten(2).transpose(1, 2)  # (N, R', E)

    def resize_grid(self, regions: Tensor) -> Tensor:
        """What `forward_features` gave (N, R', E) -> regions (N, R, E); each of a finer grid is the mean of those it
        overlaps.
        """
        if self.grid is None or self.grid**2 == regions.shape[1]:
            return regions
        side = round(regions.shape[1] ** 0.5)
        x = regions.transpose(1, 2).unflatten(2, (side, side))
        return F.adaptive_avg_pool2d(x, self.grid).flatten(2).transpose(1, 2)


def small_cnn(width: int = 32) -> nn.Sequential:
    """A CNN for the drawn sample: stride 8, so 128 px give 16 x 16 regions of 8 px; learns from scratch in minutes."""

    def block(inputs: int, outputs: int, stride: int) -> nn.Sequential:
        return nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False),
            nn.BatchNorm2d(outputs, momentum=0.05),
            nn.ReLU(inplace=True),
        )

    return nn.Sequential(
        block(3, width, 2),
        block(width, 2 * width, 2),
        block(2 * width, 4 * width, 2),
        block(4 * width, 4 * width, 1),
        Coordinates(),
        block(4 * width + 2, 8 * width, 1),
    )


class Coordinates(nn.Module):
    """Two more channels that say where each region is, -1..1 (Liu et al. 2018): convolution alone cannot tell left."""

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, height, width) -> (N, C + 2, height, width)."""
        rows, columns = (torch.linspace(-1, 1, side, dtype=x.dtype, device=x.device) for side in x.shape[2:])
        y, x_ = torch.meshgrid(rows, columns, indexing="ij")
        return torch.cat([x, torch.stack([y, x_]).expand(len(x), -1, -1, -1)], dim=1)


POOLING = {"avgpool", "classifier", "fc"}  # the first of these ends the grid
AUXILIARY = {"AuxLogits", "aux1", "aux2"}  # Inception's and GoogLeNet's side exits
HEADS = POOLING | AUXILIARY | {"head", "heads"}  # their weights may be missing from a file
CONTAINERS = {"features", "trunk_output", "layers", "blocks"}  # opened, so that single blocks can be fine-tuned


def torchvision_trunk(
    name: str, weights: str | Path | None, image_size: int | None
) -> tuple[nn.Sequential, tuple, int]:
    """A torchvision classifier's blocks before its pooling, its normalisation (mean, std), its picture size.

    A closing max-pool (VGG, AlexNet) is left out: it only coarsens the grid. Inception and GoogLeNet were trained on
    pictures scaled to -1..1, which torchvision hides in `transform_input`; here it is their normalisation.
    """
    import torchvision  # not at the top: it takes as long as torch itself, and the small encoder does without

    names = torchvision.models.list_models(module=torchvision.models)
    if name not in names:
        close = get_close_matches(str(name), names, n=1)
        raise ValueError(f"unknown encoder {name!r}: take 'small' or one of torchvision's classifiers" + (
            f"; did you mean {close[0]!r}?" if close else " (torchvision.models.list_models())"))  # fmt: skip
    published = torchvision.models.get_model_weights(name)
    members = published.__members__  # "DEFAULT" among them
    preprocessing = (members.get(str(weights)) or next(iter(published))).transforms()
    normalisation = (preprocessing.mean, preprocessing.std)
    options = {}
    if name in ("inception_v3", "googlenet"):
        normalisation, options = (0.5, 0.5), {"init_weights": False}
    if name.startswith("vit_"):  # its embedding of places is made for one size
        options["image_size"] = image_size or preprocessing.crop_size[0]
    network = torchvision.models.get_model(name, weights=str(weights) if str(weights) in members else None, **options)
    if weights is not None and str(weights) not in members:
        load_weights(network, name, Path(weights), f"; torchvision knows only {', '.join(members)}")
    if isinstance(network, torchvision.models.VisionTransformer):
        return nn.Sequential(PatchGrid(network)), normalisation, preprocessing.crop_size[0]
    blocks: list[nn.Module] = []
    for child_name, child in network.named_children():
        if child_name in POOLING:
            break
        if child_name in AUXILIARY:
            continue
        blocks.extend(child.children() if child_name in CONTAINERS else [child])
    if name.startswith("densenet"):
        blocks.append(nn.ReLU())  # a function in torchvision's forward
    if isinstance(blocks[-1], nn.MaxPool2d):
        blocks.pop()
    return nn.Sequential(*blocks), normalisation, preprocessing.crop_size[0]


def load_weights(network: nn.Module, name: str, path: Path, known: str = "") -> None:
    """Load a torchvision state dict from a file as torchvision's own loading does; the head alone may be missing.

    `known` ends the message for a missing file.
    """
    if not path.is_file():
        raise FileNotFoundError(f"weights {str(path)!r} for {name}: no such file{known}")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception:  # torch raises what it likes for what is not a safe archive
        state = None
    if not isinstance(state, dict) or not all(isinstance(key, str) for key in state):
        raise ValueError(f"{path}: not a state dict, tensors by name, that torch can load safely (weights_only=True)")
    for key in list(state):  # in place: a state dict carries the versions of its modules as an attribute
        # DenseNet's published files spell norm1 as norm.1
        state[re.sub(r"(denselayer\d+\.(?:norm|relu|conv))\.(\d)", r"\1\2", key)] = state.pop(key)
    try:
        missing, unexpected = network.load_state_dict(state, strict=False)
    except (RuntimeError, ValueError) as error:
        reason = str(error).splitlines()[-1].strip()
        raise ValueError(f"{path}: these weights do not fit {name}: {reason}") from None
    missing = [key for key in missing if key.split(".")[0] not in HEADS]
    if missing or unexpected:
        strange = f"lacks {missing[0]}" if missing else f"has {unexpected[0]}, which {name} does not know"
        raise ValueError(f"{path}: these weights do not fit {name}: the file {strange}")


class PatchGrid(nn.Module):
    """A vision transformer's patches as a grid; its class token is dropped."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network
        self.network.heads = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) -> (N, E, height, width)."""
        side = x.shape[-1] // self.network.patch_size
        x = self.network._process_input(x)
        x = torch.cat([self.network.class_token.expand(len(x), -1, -1), x], dim=1)
        return self.network.encoder(x)[:, 1:].transpose(1, 2).unflatten(2, (side, side))


# -------------------------------------------------------------------------------------------------------- attention


class AdditiveAttention(nn.Module):
    """Where to look, by a small network: score = v . tanh(keys + query) (Bahdanau et al. 2015, eq. 6 and A.1.2)."""

    def __init__(self, region_size: int, hidden_size: int, attention_size: int):
        super().__init__()
        self.query_size = attention_size
        self.keys = nn.Linear(region_size, attention_size)  # once per picture, in prepare()
        self.score = nn.Linear(attention_size, 1, bias=False)

    def forward(self, query: Tensor, keys: Tensor) -> Tensor:
        """Queries (N, K, A) and keys (N, R, A) -> weights (N, K, R), each row summing to one."""
        return self.scores(query, keys).softmax(-1)

    def scores(self, query: Tensor, keys: Tensor) -> Tensor:
        """The same before the softmax."""
        v = self.score.weight[0].to(keys.dtype)
        if torch.is_grad_enabled() or query.is_cuda:
            return AdditiveScores.apply(query, keys, v)
        few = max(1, 2**18 // (query.shape[1] * keys[0].numel()))  # pictures at a time stay in the processor's cache
        pairs = zip(query.split(few), keys.split(few), strict=True)
        return torch.cat([AdditiveScores.apply(*pair, v) for pair in pairs])


class AdditiveScores(torch.autograd.Function):
    """v . tanh(keys + query): queries (N, K, A), keys (N, R, A) and v (A,) -> scores (N, K, R).

    With tanh(x) = 2 sigmoid(2 x) - 1, as torch's sigmoid is several times faster on a CPU than its tanh; and in half as
    many passes over the (N, K, R, A) numbers in between, most of what attention costs, as autograd would make.
    """

    @staticmethod
    def forward(ctx, query: Tensor, keys: Tensor, v: Tensor) -> Tensor:
        s = torch.add(2 * query.unsqueeze(2), keys.unsqueeze(1), alpha=2).sigmoid_()
        ctx.save_for_backward(s, v)
        return 2 * (s @ v) - v.sum()

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        s, v = ctx.saved_tensors
        slope = torch.addcmul(s, s, s, value=-1)  # (N, K, R, A): a quarter of tanh's
        of_query = (gradient.unsqueeze(-2) @ slope).squeeze(-2) * (4 * v)  # (N, K, A)
        of_keys = slope.mul_(gradient.unsqueeze(-1))
        of_keys = of_keys.squeeze(1) if of_keys.shape[1] == 1 else of_keys.sum(1)
        return of_query, of_keys.mul_(4 * v), 2 * (gradient.flatten() @ s.flatten(0, -2)) - gradient.sum()


class DotAttention(nn.Module):
    """Where to look, by similarity: score = query . key / sqrt(A) (Luong et al. 2015; scaled: Vaswani et al. 2017)."""

    def __init__(self, region_size: int, hidden_size: int, attention_size: int):
        super().__init__()
        self.query_size = attention_size
        self.keys = nn.Linear(region_size, attention_size)

    def forward(self, query: Tensor, keys: Tensor) -> Tensor:
        """Queries (N, K, A) and keys (N, R, A) -> weights (N, K, R), each row summing to one."""
        return (query @ keys.transpose(1, 2) / keys.shape[-1] ** 0.5).softmax(-1)


ATTENTION = {"additive": AdditiveAttention, "dot": DotAttention}


# ---------------------------------------------------------------------------------------------------- recurrent cells
# Each takes the word's and the context's share of its gates, the hidden state's share, and the state before.


def rnn_cell(x: Tensor, h: Tensor, state: State) -> State:
    """Elman 1990: h' = tanh(W x + U h)."""
    return (torch.tanh(x + h),)


def gru_cell(x: Tensor, h: Tensor, state: State) -> State:
    """Cho et al. 2014, in cuDNN's form: the reset gate acts on U h."""
    (reset_x, update_x, new_x), (reset_h, update_h, new_h) = x.chunk(3, -1), h.chunk(3, -1)
    new = torch.tanh(new_x + torch.sigmoid(reset_x + reset_h) * new_h)
    update = torch.sigmoid(update_x + update_h)
    return (new + update * (state[0] - new),)


def lstm_cell(x: Tensor, h: Tensor, state: State) -> State:
    """Hochreiter & Schmidhuber 1997, with the forget gate of Gers et al. 2000."""
    i, f, g, o = (x + h).chunk(4, -1)
    c = torch.sigmoid(f) * state[1] + torch.sigmoid(i) * torch.tanh(g)
    return torch.sigmoid(o) * torch.tanh(c), c


class Cell(NamedTuple):
    """A recurrent cell: how many gates and state vectors it has, and its two forms (one step; a whole sequence)."""

    gates: int
    states: int
    step: Callable[[Tensor, Tensor, State], State]
    sequence: type[nn.RNNBase]


CELLS = {
    "rnn": Cell(1, 1, rnn_cell, nn.RNN),
    "gru": Cell(3, 1, gru_cell, nn.GRU),
    "lstm": Cell(4, 2, lstm_cell, nn.LSTM),
}


def pack_state(state: State, cell: Cell) -> Tensor | State:
    """A state as nn.LSTM (a pair) or nn.GRU and nn.RNN (a tensor) want it, each (layers, B, D).

    Between steps it is one tensor (B, D) for each layer; with an LSTM first all h, then all c.
    """
    layers = len(state) // cell.states
    packed = tuple(torch.stack(state[i : i + layers]) for i in range(0, len(state), layers))
    return packed if cell.states > 1 else packed[0]


def unpack_state(packed: Tensor | State) -> State:
    """The inverse of `pack_state`."""
    return tuple(s for layers in (packed if isinstance(packed, tuple) else (packed,)) for s in layers)


def arguments(of: dict) -> dict:
    """The arguments of an `__init__`, from its `locals()`: what a decoder needs to be built again."""
    return {name: value for name, value in of.items() if name not in ("self", "__class__")}


def as_multiplied(x: Tensor) -> Tensor:
    """x as the linear layers take it: under autocast they would cast it anew at each use."""
    kind = x.device.type
    return x.to(torch.get_autocast_dtype(kind)) if torch.is_autocast_enabled(kind) else x


def place_in_group(group: Tensor, groups: int) -> tuple[Tensor, int]:
    """Each element's place among those of its group, and the size of the largest: [0, 1, 0] -> [0, 0, 1], 2."""
    order = group.argsort(stable=True)
    sizes = group.bincount(minlength=groups)
    start = sizes.cumsum(0) - sizes
    place = torch.empty_like(group)
    place[order] = torch.arange(len(group), device=group.device) - start[group[order]]
    return place, int(sizes.max())


def named(choices: dict, name: str, what: str):
    """choices[name], or a ValueError that lists them."""
    if name not in choices:
        raise ValueError(f"unknown {what} {name!r}: take one of {', '.join(choices)}")
    return choices[name]


# ---------------------------------------------------------------------------------------------------------- decoder


class OverTime:
    """A linear map inside a time loop: x (..., n, I) -> x @ weight^T + bias, for a weight (..., O, I).

    As the plain product in value and gradient, but the weight's gradient is one product over all steps.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None = None):
        self.weight, self.bias, self.steps = weight, bias, []

    def __call__(self, x: Tensor) -> Tensor:
        product = ProductOverTime.apply(x, self.weight, self.steps)
        return product if self.bias is None else product + self.bias


def in_loop(layer: nn.Linear, like: Tensor) -> OverTime:
    """A layer for a time loop, in the precision of `like`."""
    return OverTime(layer.weight.to(like.dtype), None if layer.bias is None else layer.bias.to(like.dtype))


class ProductOverTime(torch.autograd.Function):
    """x @ weight^T at one step. Plain autograd makes a gradient of the weight's size at every step and adds them up;
    here the first step, whose turn comes last, computes it for all (`steps`, a list that they share)."""

    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, steps: list) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.steps, ctx.number = steps, len(steps)
        steps.append(None)
        return x @ weight.transpose(-1, -2)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, Tensor | None, None]:
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


class Prefixes(torch.autograd.Function):
    """x -> x[:n] for every n in `sizes`, as plain slicing gives, but with one gradient buffer for all slices.

    The time loop asks for the captions still running at every step; the gradient of plain slices would fill and add a
    whole (B, R, E) of zeros per step, half the time of training.
    """

    @staticmethod
    def forward(ctx, x: Tensor, sizes: list[int]) -> tuple[Tensor, ...]:
        ctx.shape = x.shape
        return tuple(x[:n].view_as(x[:n]) for n in sizes)

    @staticmethod
    def backward(ctx, *gradients: Tensor) -> tuple[Tensor, None]:
        total = gradients[0].new_zeros(ctx.shape)
        for gradient in gradients:
            total[: len(gradient)] += gradient
        return total, None


class EncodedImages(NamedTuple):
    """What does not depend on the words, computed by `prepare` once per picture; N rows, or B when gathered."""

    state: State  # the first state, each (N, D)
    regions: Tensor  # (N, R, E) what is looked at
    keys: Tensor  # (N, R, A) what attention compares with
    picture: Tensor | None = None  # (N, ...) what the whole picture adds to every step

    def rows(self, index: Tensor | slice) -> EncodedImages:
        """The memory of some pictures only, or of each caption's picture."""
        picture = None if self.picture is None else self.picture[index]
        return EncodedImages(tuple(s[index] for s in self.state), self.regions[index], self.keys[index], picture)


class DecoderRNN(nn.Module):
    """A recurrent network that writes a caption, looking at the picture before every word, or only once.

    `cell` is "rnn", "gru" or "lstm". With `attention` "additive" or "dot" every word looks at the regions anew (Xu et
    al. 2015, eq. 1-6; its state before the word asks where); with "none" the mean region starts the state and the
    whole sequence runs in one call. `gate` lets the state close its eyes: context * sigmoid(U h), section 4.2.1, with
    one number per feature where the paper has one in all. `project` shrinks the regions first.

    Every decoder of this project has three methods: `prepare` (once per picture), `step` (one word; for greedy, beam,
    sampling and training without teacher forcing) and `forward` (all words of known captions; equals the loop of
    `step`). The others are in models/decoders.py; some are this one with another `init_hidden_state` or `logits`.
    """

    def __init__(
        self,
        vocabulary_size: int,
        feature_size: int,
        word_size: int = 512,
        hidden_size: int = 512,
        attention_size: int = 512,
        cell: str = "lstm",
        attention: str = "additive",
        gate: bool = False,
        project: int | None = None,
        dropout: float = 0.5,
    ):
        super().__init__()
        self.config = arguments(locals())
        self.cell = named(CELLS, cell, "cell")
        make_attention = named(ATTENTION | {"none": None}, attention, "attention")
        gates = self.cell.gates * hidden_size
        region_size = project or feature_size
        self.dropout = nn.Dropout(dropout)
        self.project = nn.Linear(feature_size, project) if project else nn.Identity()
        self.first = nn.Linear(region_size, self.cell.states * hidden_size)
        self.embedding = nn.Embedding(vocabulary_size, word_size)
        self.lm_head = nn.Linear(hidden_size, vocabulary_size)
        if make_attention is None:
            self.attention = None
            self.sequence = self.cell.sequence(word_size, hidden_size, batch_first=True)
        else:
            self.attention = make_attention(region_size, hidden_size, attention_size)
            self.word_gates = nn.Linear(word_size, gates)
            self.context_gates = nn.Linear(region_size, gates, bias=False)
            # three products with the hidden state in one: the cell's gates, the query, the gate on the context
            self.splits = [gates, self.attention.query_size, region_size if gate else 0]
            self.from_hidden = nn.Linear(hidden_size, sum(self.splits))

    def prepare(self, features: Tensor) -> EncodedImages:
        """Regions (N, R, E) -> all that can be computed before the first word."""
        regions = self.dropout(self.project(features))  # (N, R, project or E)
        state, regions = self.init_hidden_state(regions), as_multiplied(regions)
        return EncodedImages(state, regions, self.attention.keys(regions) if self.attention else regions[:, :0])

    def init_hidden_state(self, regions: Tensor) -> State:
        """The first state, from the mean region (Xu et al. 2015, section 3.1.2): regions (N, R, E) -> each (N, D)."""
        return torch.tanh(self.first(regions.mean(1))).chunk(self.cell.states, -1)

    def logits(self, hidden: Tensor, context: Tensor | None, inputs: Tensor) -> Tensor:
        """States (L, D), what was seen (L, E) or None, the words before, embedded (L, W) -> scores (L, V)."""
        return self.lm_head(self.dropout(hidden))

    def step(self, words: Tensor, state: State, memory: EncodedImages) -> tuple[Tensor, State, Tensor | None]:
        """One word: the last words (B,) -> scores for the next (B, V), the state after, where it looked (B, R) or None.

        B is N or a multiple of it, the K captions of a picture behind each other; the regions are not repeated for
        them. The first state is `memory.state`, each row repeated K times.
        """
        inputs = self._embed(words)
        if self.attention is None:
            _, after = self.sequence(inputs.unsqueeze(1), pack_state(state, self.cell))
            state, context, weights = unpack_state(after), None, None
        else:

            def look(query: Tensor) -> tuple[Tensor, Tensor]:
                weights = self.attention(query.unflatten(0, (len(memory.regions), -1)), memory.keys)  # (N, K, R)
                return weights.flatten(0, 1), (weights @ memory.regions).flatten(0, 1)

            x = self.word_gates(inputs)
            state, context, weights = self._look_and_advance(x, state, look, self.from_hidden, self.context_gates)
        return self.logits(state[0], context, inputs), state, weights

    def forward(self, features: Tensor, words: PackedSequence, image_of: Tensor) -> tuple[Tensor, Tensor | None]:
        """All known words at once: scores (L, V) and attention (L, R), in the order of `words.data`.

        `words` are the input ids (`<start>` first) of B captions, longest first, packed by time: step t holds only the
        captions still running. `image_of` (B,) tells each caption's row of `features` (N, R, E).
        """
        memory = self.prepare(features)
        inputs = self._embed(words.data)  # (L, W)
        state = tuple(s[image_of] for s in memory.state)
        if self.attention is None:
            packed = PackedSequence(inputs, words.batch_sizes)
            hidden = self.sequence(packed, pack_state(state, self.cell))[0].data
            return self.logits(hidden, None, inputs), None
        from_hidden, context_gates = (in_loop(layer, memory.keys) for layer in (self.from_hidden, self.context_gates))
        mix = OverTime(memory.regions.transpose(1, 2))
        row, most = place_in_group(image_of, len(features))
        seats = image_of * most + row  # each picture's captions behind each other, so that they share its regions

        def look(keys: Tensor, query: Tensor) -> tuple[Tensor, Tensor]:
            seat = seats[: len(query)]
            weights = self.attention(query.unsqueeze(1), keys).squeeze(1)  # (running, R)
            seated = weights.new_zeros(len(features) * most, weights.shape[1]).index_copy(0, seat, weights)
            return weights, mix(seated.unflatten(0, (-1, most))).flatten(0, 1).index_select(0, seat)

        sizes, rows = words.batch_sizes.tolist(), []
        slices = Prefixes.apply(memory.keys.index_select(0, image_of), sizes)
        for x, keys in zip(self.word_gates(inputs).split(sizes), slices, strict=True):  # x: (running, gates)
            running = tuple(s[: len(x)] for s in state)
            state, *seen = self._look_and_advance(x, running, partial(look, keys), from_hidden, context_gates)
            rows.append((state[0], *seen))
        hidden, context, weights = map(torch.cat, zip(*rows, strict=True))  # (L, D), (L, E), (L, R)
        return self.logits(hidden, context, inputs), weights

    def _look_and_advance(
        self, x: Tensor, state: State, look: Callable, from_hidden: Callable, context_gates: Callable
    ) -> tuple[State, Tensor, Tensor]:
        """The word's gates (B, gates), the state, and how to look -> the state after, the context (B, E) that went
        into it, and the attention (B, R)."""
        h, query, gate = from_hidden(state[0]).split(self.splits, -1)
        weights, context = look(query)  # (B, R), (B, E)
        if gate.shape[-1]:
            context = context * torch.sigmoid(gate)
        return self.cell.step(x + context_gates(context), h, state), context, weights

    def _embed(self, words: Tensor) -> Tensor:
        return self.dropout(self.embedding(words))


class ImageBatch(Protocol):
    """What a captioner reads of a batch; data_loader.Batch is one."""

    pixels: Tensor | None  # (N, 3, H, W) uint8
    features: Tensor | None  # (N, R', E), what `encoder.forward_features` gave
    inputs: PackedSequence
    image_of: Tensor  # (B,)


class Captioner(nn.Module):
    """An encoder and a decoder: what is trained, saved and asked for captions."""

    def __init__(self, encoder: EncoderCNN, decoder: nn.Module):
        super().__init__()
        self.encoder, self.decoder = encoder, decoder

    def regions(self, batch: ImageBatch) -> Tensor:
        """Regions (N, R, E) of a batch's pixels, or of the features that this encoder made of them before."""
        if batch.features is not None:
            return self.encoder.resize_grid(batch.features.float())
        return self.encoder(batch.pixels)

    def forward(self, batch: ImageBatch) -> tuple[Tensor, Tensor | None]:
        """All words of the batch's captions: scores (L, V) and attention (L, R) or None, as its targets go."""
        return self.decoder(self.regions(batch), batch.inputs, batch.image_of)

    @property
    def config(self) -> dict:
        """Plain numbers and names from which `decoders.build` makes the same model again, without its weights."""
        return {"encoder": self.encoder.config, "decoder": {"kind": type(self.decoder).__name__} | self.decoder.config}
