"""Recurrent cells: one step by its equations, and torch's own loop over a whole sequence.

Comes in: the input's share of the gates, the hidden state's share, and the state before. Goes out: the state after.
What it does not know: words, pictures. Shapes: B captions, D hidden size; a state is one tensor (B, D), with an LSTM
two, h and c; with several layers first every layer's h, then every layer's c.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

Choice = TypeVar("Choice")
State = tuple[Tensor, ...]  # what a decoder remembers between two words; every tensor's first dimension is B


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
    sequence: Callable[..., nn.RNNBase]


CELLS = {
    "rnn": Cell(1, 1, rnn_cell, nn.RNN),
    "gru": Cell(3, 1, gru_cell, nn.GRU),
    "lstm": Cell(4, 2, lstm_cell, nn.LSTM),
}


def run(rnn: nn.RNNBase, x: Tensor, batch_sizes: Tensor | None, state: State) -> tuple[Tensor, State]:
    """A recurrent layer over packed inputs (L, W), or over one step of them (B, W) where `batch_sizes` is None.

    Goes out: the hidden states (L, D), and the state after the last step.
    """
    if x.is_cuda and torch.is_autocast_enabled("cuda"):  # cuDNN's layers would take float16, whatever is asked for
        with torch.autocast("cuda", enabled=False):
            return run(rnn, x.float(), batch_sizes, tuple(s.float() for s in state))
    packed = pack_state(state, 2 if isinstance(rnn, nn.LSTM) else 1)
    if batch_sizes is None:
        hidden, after = rnn(x.unsqueeze(1), packed)
        return hidden.squeeze(1), unpack_state(after)
    hidden, after = rnn(PackedSequence(x, batch_sizes), packed)
    return hidden.data, unpack_state(after)


def pack_state(state: State, vectors: int) -> Tensor | State:
    """A state of so many `vectors` a layer as nn.LSTM (2) and nn.GRU or nn.RNN (1) want it, each (layers, B, D)."""
    layers = len(state) // vectors
    packed = tuple(torch.stack(state[i : i + layers]) for i in range(0, len(state), layers))
    return packed if vectors > 1 else packed[0]


def unpack_state(packed: Tensor | State) -> State:
    """The inverse of `pack_state`."""
    return tuple(s for layers in (packed if isinstance(packed, tuple) else (packed,)) for s in layers)


def named(choices: Mapping[str, Choice], name: str, what: str) -> Choice:
    """choices[name], or a ValueError that lists them."""
    if name not in choices:
        raise ValueError(f"unknown {what} {name!r}: take one of {', '.join(choices)}")
    return choices[name]
