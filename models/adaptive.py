"""Lu et al. 2017, "Knowing When to Look: Adaptive Attention via a Visual Sentinel for Image Captioning".

The letters of the shapes are those of model.py.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import PackedSequence

from model import AdditiveAttention, Decoder
from models.cells import State, lstm_cell
from models.interface import EncodedImages
from models.packing import by_picture, caption_of, rows_of


class AdaptiveDecoder(Decoder):
    """Lu et al. 2017, "Knowing When to Look": the regions compete with a sentinel, what the LSTM knows already.

    The attention it returns sums to 1 - beta (eq. 12): how much a word looks at the picture at all. The rest went to
    the sentinel.
    """

    def __init__(
        self,
        vocabulary_size: int,
        feature_size: int,
        word_size: int = 512,
        hidden_size: int = 512,
        attention_size: int = 512,
        dropout: float = 0.5,
    ):
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.regions = nn.Linear(feature_size, hidden_size)  # eq. 17
        self.picture = nn.Linear(feature_size, word_size)  # eq. 18
        self.embedding = nn.Embedding(vocabulary_size, word_size)
        # the LSTM's four gates and the sentinel's (eq. 9), the input x = [word; picture] in two products
        self.word_gates = nn.Linear(word_size, 5 * hidden_size)
        self.picture_gates = nn.Linear(word_size, 5 * hidden_size, bias=False)
        self.from_hidden = nn.Linear(hidden_size, 5 * hidden_size)
        self.attention = AdditiveAttention(hidden_size, attention_size)  # eq. 6
        self.query = nn.Linear(hidden_size, attention_size)
        self.sentinel_key = nn.Linear(hidden_size, attention_size)
        self.lm_head = nn.Linear(hidden_size, vocabulary_size)

    def prepare(self, features: Tensor) -> EncodedImages:
        """Regions (N, R, E) -> all that can be computed before the first word; the state starts from zeros."""
        regions = self.dropout(F.relu(self.regions(features)))  # (N, R, D)
        picture = self.picture_gates(self.dropout(F.relu(self.picture(features.mean(1)))))  # (N, 5 D)
        keys = self.attention.keys(regions)
        zeros = regions.new_zeros(len(regions), regions.shape[-1])
        return EncodedImages((zeros, zeros), regions.to(keys.dtype), keys, (picture,))

    def step(self, words: Tensor, state: State, images: EncodedImages) -> tuple[Tensor, State, Tensor]:
        """One word: (B,) -> scores (B, V), the state after, where it looked (B, R)."""
        count = len(images.regions)
        inputs = self.word_gates(self.dropout(self.embedding(words)))
        inputs = (inputs.unflatten(0, (count, -1)) + images.pooled[0].unsqueeze(1)).flatten(0, 1)
        state, sentinel = self._advance(inputs, state)
        hidden, sentinel = (x.unflatten(0, (count, -1)) for x in (state[0], sentinel))
        logits, weights = self._look(hidden, sentinel, images)
        return logits.flatten(0, 1), state, weights.flatten(0, 1)

    def forward(self, features: Tensor, words: PackedSequence, image_of: Tensor) -> tuple[Tensor, Tensor]:
        """All known words at once: scores (L, V) and attention (L, R)."""
        images = self.prepare(features)
        image = image_of[caption_of(words)]  # (L,)
        inputs = self.word_gates(self.dropout(self.embedding(words.data))) + rows_of(images.pooled[0], image)
        state, rows = tuple(rows_of(s, image_of) for s in images.state), []
        for x in inputs.split(words.batch_sizes.tolist()):
            state, sentinel = self._advance(x, tuple(s[: len(x)] for s in state))
            rows.append(torch.cat([state[0], sentinel], -1))
        grouped, back = by_picture(torch.cat(rows), image, len(features))
        hidden, sentinel = grouped.chunk(2, -1)  # (N, most, D)
        logits, weights = self._look(hidden, sentinel, images)
        return back(logits), back(weights)

    def _advance(self, inputs: Tensor, state: State) -> tuple[State, Tensor]:
        """The input's gates (B, 5 D) and the state -> the state after and the sentinel (B, D) (eq. 9, 10)."""
        size = state[0].shape[-1]
        gates, from_hidden = inputs.split([4 * size, size], -1), self.from_hidden(state[0]).split([4 * size, size], -1)
        state = lstm_cell(gates[0], from_hidden[0], state)
        return state, torch.sigmoid(gates[1] + from_hidden[1]) * torch.tanh(state[1])

    def _look(self, hidden: Tensor, sentinel: Tensor, images: EncodedImages) -> tuple[Tensor, Tensor]:
        """States and sentinels (N, K, D) -> scores (N, K, V) and attention (N, K, R) (eq. 11-13)."""
        query = self.query(hidden)
        of_regions = self.attention.scores(query, images.keys)  # (N, K, R)
        of_sentinel = self.attention.v(torch.tanh(self.sentinel_key(sentinel) + query))  # (N, K, 1)
        weights = torch.cat([of_regions, of_sentinel], -1).softmax(-1)
        weights, beta = weights[..., :-1], weights[..., -1:]
        context = weights @ images.regions + beta * sentinel
        return self.lm_head(self.dropout(context + hidden)), weights
