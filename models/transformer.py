"""Vaswani et al. 2017, "Attention Is All You Need": its decoder, over the regions of a picture.

The letters of the shapes are those of model.py.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import PackedSequence

from model import Decoder
from models.cells import State
from models.interface import EncodedImages
from models.packing import CaptionGrid


class TransformerDecoder(Decoder):
    """Vaswani et al. 2017's decoder over the regions; layer norm comes first in each part (Xiong et al. 2020).

    What a caption has said so far is kept as keys and values of every layer, so that `step` computes one word only: its
    state is a tensor (B, words so far, D) for each layer's keys, then for each layer's values. The attention it returns
    is the last layer's, the mean of its heads.
    """

    def __init__(
        self,
        vocabulary_size: int,
        feature_size: int,
        hidden_size: int = 512,
        layers: int = 3,
        heads: int = 8,
        dropout: float = 0.1,
    ):
        super().__init__()
        self.size, self.dropout = hidden_size, nn.Dropout(dropout)
        self.embedding = nn.Embedding(vocabulary_size, hidden_size)
        nn.init.normal_(self.embedding.weight, std=0.02)
        self.regions = nn.Sequential(nn.Linear(feature_size, hidden_size), nn.LayerNorm(hidden_size))
        self.keys_and_values = nn.Linear(hidden_size, 2 * layers * hidden_size)  # of all layers, once per picture
        self.layers = nn.ModuleList(TransformerLayer(hidden_size, heads, dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(hidden_size)
        self.lm_head = nn.Linear(hidden_size, vocabulary_size)

    def prepare(self, features: Tensor) -> EncodedImages:
        """Regions (N, R, E) -> each layer's keys and values of them, and a state without words."""
        keys, values = self.keys_and_values(self.dropout(self.regions(features))).chunk(2, -1)  # (N, R, layers * D)
        nothing = keys.new_zeros(len(features), 0, self.size)
        return EncodedImages((nothing,) * (2 * len(self.layers)), values, keys)

    def step(self, words: Tensor, state: State, images: EncodedImages) -> tuple[Tensor, State, Tensor]:
        """One word: (B,) -> scores (B, V), the state after, where it looked (B, R)."""
        hidden, state, weights = self._layers(words.unsqueeze(1), state, images)
        return self.lm_head(self.dropout(hidden.squeeze(1))), state, weights.squeeze(1)

    def forward(self, features: Tensor, words: PackedSequence, image_of: Tensor) -> tuple[Tensor, Tensor]:
        """All known words at once: scores (L, V) and attention (L, R)."""
        images, grid = self.prepare(features), CaptionGrid(words, image_of, len(features))
        state = tuple(s.repeat_interleave(grid.captions, dim=0) for s in images.state)
        hidden, _, weights = self._layers(grid.spread(words.data).T, state, images)  # (N * K, T, ...)
        hidden, weights = grid.gather(hidden.transpose(0, 1)), grid.gather(weights.transpose(0, 1))  # (L, ...)
        return self.lm_head(self.dropout(hidden)), weights

    def _layers(self, ids: Tensor, state: State, images: EncodedImages) -> tuple[Tensor, State, Tensor]:
        """T more words (B, T) after those in the state -> hidden vectors, the state after, attention (B, T, R)."""
        count = len(self.layers)
        x = self.dropout(self.embedding(ids) * self.size**0.5 + self._places(state[0].shape[1], ids))
        after: list[Tensor] = []
        looks = zip(images.keys.chunk(count, -1), images.regions.chunk(count, -1), strict=True)
        for i, (layer, (keys, values)) in enumerate(zip(self.layers, looks, strict=True)):
            x, *past, weights = layer(x, state[i], state[count + i], keys, values)
            after += past
        return self.norm(x), (*after[::2], *after[1::2]), weights

    def _places(self, first: int, ids: Tensor) -> Tensor:
        """Sines and cosines of the places first, first + 1, ... (section 3.5): (T, D)."""
        rate = 1e4 ** (-torch.arange(0, self.size, 2, device=ids.device) / self.size)
        angle = torch.arange(first, first + ids.shape[1], device=ids.device).unsqueeze(1) * rate
        return torch.stack([angle.sin(), angle.cos()], -1).flatten(1).to(self.embedding.weight.dtype)


class TransformerLayer(nn.Module):
    """Words look at the words before them, then at the picture, then think by themselves."""

    def __init__(self, size: int, heads: int, dropout: float):
        super().__init__()
        if size % heads or size % 2:  # places are sines and cosines by turns
            raise ValueError(f"hidden_size must be even and a multiple of heads, not {size} and {heads}")
        self.heads, self.dropout = heads, nn.Dropout(dropout)
        self.norms = nn.ModuleList(nn.LayerNorm(size) for _ in range(3))
        self.words, self.of_words = nn.Linear(size, 3 * size), nn.Linear(size, size)
        self.query, self.of_regions = nn.Linear(size, size), nn.Linear(size, size)
        self.think = nn.Sequential(nn.Linear(size, 4 * size), nn.GELU(), nn.Dropout(dropout), nn.Linear(4 * size, size))

    def forward(
        self, x: Tensor, past_keys: Tensor, past_values: Tensor, keys: Tensor, values: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """New words (B, T, D), what is kept of earlier ones (B, t, D), the picture's keys and values (N, R, D) ->
        (B, T, D), all words' keys and values (B, t + T, D), attention over the regions (B, T, R)."""
        query, own_keys, own_values = self.words(self.norms[0](x)).chunk(3, -1)
        past_keys, past_values = torch.cat([past_keys, own_keys], 1), torch.cat([past_values, own_values], 1)
        # either many words without a past (training), or one word with one
        q, k, v = map(self._split, (query, past_keys, past_values))
        seen = F.scaled_dot_product_attention(q, k, v, is_causal=x.shape[1] > 1)
        x = x + self.dropout(self.of_words(self._join(seen)))
        query = self.query(self.norms[1](x)).reshape(len(keys), -1, x.shape[-1])  # (N, K * T, D)
        query, keys, values = map(self._split, (query, keys, values))
        weights = (query @ keys.transpose(-1, -2) / query.shape[-1] ** 0.5).softmax(-1)  # (N, heads, K * T, R)
        seen = self._join(weights @ values).reshape(x.shape)
        x = x + self.dropout(self.of_regions(seen))
        x = x + self.dropout(self.think(self.norms[2](x)))
        return x, past_keys, past_values, weights.mean(1).reshape(*x.shape[:2], -1)

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)  # (B, heads, T, D / heads)

    def _join(self, x: Tensor) -> Tensor:
        return x.transpose(1, 2).flatten(2)
