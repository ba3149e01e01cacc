"""Vinyals et al. 2015, "Show and Tell: A Neural Image Caption Generator".

The letters of the shapes are those of model.py.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from model import Decoder
from models.cells import CELLS, State, named, run
from models.interface import EncodedImages
from models.packing import caption_of, rows_of


class ShowAndTell(Decoder):
    """Vinyals et al. 2015, "Show and Tell" (eq. 10-12): the picture, pooled, is the LSTM's first input; no attention.

    `image_at="every"` adds it to every word instead, which the paper found to learn by heart sooner. `tied` lets the
    vocabulary layer share the embedding's weights (Press & Wolf 2017); `word_size` must then be `hidden_size`.
    """

    def __init__(
        self,
        vocabulary_size: int,
        feature_size: int,
        word_size: int = 512,
        hidden_size: int = 512,
        layers: int = 2,
        cell: str = "lstm",
        image_at: str = "first",
        tied: bool = False,
        dropout: float = 0.0,
    ):
        super().__init__()
        self.cell = named(CELLS, cell, "cell")
        self.every_step = named({"first": False, "every": True}, image_at, "image_at")
        self.layers, self.hidden_size = layers, hidden_size
        self.picture = nn.Linear(feature_size, word_size)
        self.embedding = nn.Embedding(vocabulary_size, word_size)
        between = dropout if layers > 1 else 0.0
        self.rnn = self.cell.sequence(word_size, hidden_size, layers, batch_first=True, dropout=between)
        self.lm_head = nn.Linear(hidden_size, vocabulary_size)
        self.dropout = nn.Dropout(dropout)
        if tied:
            if word_size != hidden_size:
                raise ValueError(f"tied weights need word_size = hidden_size, not {word_size} and {hidden_size}")
            nn.init.normal_(self.embedding.weight, std=hidden_size**-0.5)  # the vocabulary layer's scale
            self.lm_head.weight = self.embedding.weight

    def prepare(self, features: Tensor) -> EncodedImages:
        """Regions (N, R, E) -> the state after the picture, or before the first word and the picture for each step."""
        pooled = self.picture(features.mean(1))  # (N, W)
        zeros = pooled.new_zeros(len(features), self.hidden_size)
        state: State = (zeros,) * (self.cell.states * self.layers)
        if not self.every_step:
            _, state = run(self.rnn, pooled, None, state)
        nothing = features[:, :0]
        return EncodedImages(state, nothing, nothing, (pooled,))

    def step(self, words: Tensor, state: State, images: EncodedImages) -> tuple[Tensor, State, None]:
        """One word: (B,) -> scores (B, V), the state after, None: it looks only once."""
        embedded = self.embedding(words)
        if self.every_step:
            (pooled,) = images.pooled
            embedded = embedded + pooled.repeat_interleave(len(words) // len(pooled), dim=0)
        hidden, state = run(self.rnn, self.dropout(embedded), None, state)
        return self.lm_head(self.dropout(hidden)), state, None

    def forward(self, features: Tensor, words: PackedSequence, image_of: Tensor) -> tuple[Tensor, None]:
        """All known words at once: scores (L, V) and None."""
        images = self.prepare(features).rows(image_of)
        embedded = self.embedding(words.data)
        if self.every_step:
            embedded = embedded + rows_of(images.pooled[0], caption_of(words))
        hidden, _ = run(self.rnn, self.dropout(embedded), words.batch_sizes, images.state)  # (L, D)
        return self.lm_head(self.dropout(hidden)), None
