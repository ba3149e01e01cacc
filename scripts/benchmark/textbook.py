"""The way it is usually written: what the library's speed is measured against, and what its results must equal.

Comes in: a `DecoderRNN` or an `AttentionDecoder`, whose own weights are used, so that loss, gradients and captions can
be compared. Goes out: the loss of a batch, and captions. Nothing here is slow on purpose: it is the time loop of the
best-known PyTorch tutorial, one image per caption, every projection and the vocabulary layer in every step, and its
beam, one image at a time. The letters of the shapes are those of model.py.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from decoding.search import BANNED
from model import AdditiveAttention, AttentionDecoder, DecoderRNN
from models.cells import CELLS, Cell, State
from vocabulary import END, START

TORCHS_OWN: dict[Cell, Callable[..., Tensor | State]] = {
    CELLS["rnn"]: torch.rnn_tanh_cell,
    CELLS["gru"]: torch.gru_cell,
    CELLS["lstm"]: torch.lstm_cell,
}

Textbook = DecoderRNN | AttentionDecoder
Step = Callable[[Tensor, State, Tensor], tuple[Tensor, State]]


def layers(decoder: Textbook) -> tuple[Callable[[Tensor], State], Step]:
    """A decoder's weights as the textbook's layers: the first state from regions (B, R, E), and one step.

    The step takes words (B,), the state and regions (B, R, E), and gives scores (B, V) and the state after. Dropout is
    left out: it would draw other numbers in another order.
    """
    cell = TORCHS_OWN[decoder.cell]

    def as_cell(inputs: Tensor, state: State, *weights: Tensor) -> State:
        after = cell(inputs, state if len(state) > 1 else state[0], *weights)
        return after if isinstance(after, tuple) else (after,)

    if isinstance(decoder, DecoderRNN):
        own_weights = tuple(decoder.rnn.parameters())

        def mean_state(regions: Tensor) -> State:
            return torch.tanh(decoder.init_state(regions.mean(1))).chunk(decoder.cell.states, -1)

        def blind_step(words: Tensor, state: State, regions: Tensor) -> tuple[Tensor, State]:
            state = as_cell(decoder.embedding(words), state, *own_weights)
            return decoder.lm_head(state[0]), state

        return mean_state, blind_step

    def init_hidden_state(regions: Tensor) -> State:
        return torch.tanh(decoder.init_state(decoder.project(regions).mean(1))).chunk(decoder.cell.states, -1)

    # the three layers that read the hidden state, one after the other in `from_hidden`
    of_gates, of_query, of_gate = zip(
        decoder.from_hidden.weight.split(decoder.splits), decoder.from_hidden.bias.split(decoder.splits), strict=True
    )
    of_inputs = torch.cat([decoder.word_gates.weight, decoder.context_gates.weight], 1)
    weights = (of_inputs, of_gates[0], decoder.word_gates.bias, of_gates[1])

    def scores(query: Tensor, keys: Tensor) -> Tensor:
        if isinstance(decoder.attention, AdditiveAttention):
            return decoder.attention.v(torch.tanh(keys + query.unsqueeze(1))).squeeze(-1)  # (B, R)
        return (keys * query.unsqueeze(1)).sum(-1) / keys.shape[-1] ** 0.5

    def step(words: Tensor, state: State, regions: Tensor) -> tuple[Tensor, State]:
        regions = decoder.project(regions)
        keys = decoder.attention.keys(regions)  # (B, R, A)
        attention = scores(F.linear(state[0], *of_query), keys).softmax(1)  # (B, R)
        context = (regions * attention.unsqueeze(2)).sum(1)  # (B, E)
        if decoder.splits[2]:
            context = torch.sigmoid(F.linear(state[0], *of_gate)) * context
        state = as_cell(torch.cat([decoder.embedding(words), context], 1), state, *weights)
        return decoder.lm_head(state[0]), state

    return init_hidden_state, step


def textbook_loss(decoder: Textbook, features: Tensor, captions: Tensor, lengths: Tensor) -> Tensor:
    """Regions of every caption's image (B, R, E), captions (B, T + 1) padded with 0, longest first -> mean loss."""
    init_hidden_state, step = layers(decoder)
    state = init_hidden_state(features)
    scores = features.new_zeros(len(captions), int(lengths[0]), decoder.lm_head.out_features)  # (B, T, V)
    for t in range(int(lengths[0])):
        running = int((lengths > t).sum())
        scores[:running, t], state = step(captions[:running, t], tuple(s[:running] for s in state), features[:running])
    targets = captions[:, 1 : scores.shape[1] + 1]
    return F.cross_entropy(scores.flatten(0, 1), targets.flatten(), ignore_index=0)


@torch.no_grad()
def textbook_beam(
    decoder: DecoderRNN | AttentionDecoder,
    features: Tensor,
    num_beams: int,
    min_length: int,
    max_length: int,
    length_penalty: float,
) -> list[list[int]]:
    """Beam search, one image (of N, R, E) after the other; every beam has its own copy of the regions."""
    init_hidden_state, step = layers(decoder)
    size = decoder.lm_head.out_features
    captions = []
    for image in features:
        regions = image.expand(num_beams, -1, -1).contiguous()  # (K, R, E)
        state = init_hidden_state(regions)
        words, said = torch.full((num_beams,), START), torch.zeros(num_beams, 0, dtype=torch.long)
        total = torch.full((num_beams,), -torch.inf)
        done: list[tuple[float, list[int]]] = []
        total[0] = 0.0  # all beams are alike at first: only one may go on
        for t in range(max_length):
            scores, state = step(words, state, regions)
            logprobs = scores.log_softmax(1)
            logprobs[:, list(BANNED)] = -torch.inf
            if t < min_length:
                logprobs[:, END] = -torch.inf
            total, best = (total.unsqueeze(1) + logprobs).flatten().topk(num_beams - len(done))
            parents, words = best // size, best % size
            said = torch.cat([said[parents], words.unsqueeze(1)], 1)
            ended = words == END
            done += [(value.item() / (t + 1) ** length_penalty, ids.tolist())
                     for value, ids in zip(total[ended], said[ended], strict=True)]  # fmt: skip
            if ended.all():
                break
            going = ~ended
            said, words, total, regions = said[going], words[going], total[going], regions[: int(going.sum())]
            state = tuple(s[parents][going] for s in state)
        done = done or [(value.item(), ids.tolist()) for value, ids in zip(total, said, strict=True)]
        captions.append(max(done)[1])
    return captions
