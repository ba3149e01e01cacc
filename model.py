"""Pictures -> regions -> words: the encoder, attention, and the decoders that the course builds and trains.

Comes in: pictures as bytes (uint8), and captions as word ids. Goes out: a score for every word at every place of the
caption, and where the model looked. What it does not know: files, words as text, losses. models/fast.py computes the
same loops sooner; models/ has the other decoders.

Shapes, here and everywhere: B captions in the batch, N images (N <= B: captions share their image's regions), T words,
L real tokens (all captions of the batch together, `<end>` counted), R regions of the grid, E feature size, D hidden
size, A attention size, W word-embedding size, V vocabulary, K captions (or beams) of one image.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from models.cells import CELLS, State, named, run
from models.encoders import Trunk
from models.interface import EncodedImages, ImageBatch, records_config
from models.packing import CaptionGrid, by_picture, caption_of, rows_of


class EncoderCNN(Trunk):
    """A classifier without its head: a picture becomes a grid of regions, the network's own or `grid` x `grid`.

    models/encoders.py says which networks there are, with what weights, and how much of them learns (`finetune`).
    """

    def forward(self, images: Tensor) -> Tensor:
        """Pictures (N, 3, H, W) uint8 -> regions (N, R, E), row by row from the top left."""
        return self.resize_grid(self.forward_features(images))

    def forward_features(self, images: Tensor) -> Tensor:
        """What is worth keeping on disk: as `forward`, but where `grid` is finer, the network's own grid (N, R', E)."""
        x = self.blocks(self.normalise(images))  # (N, E, height, width)
        if self.grid is not None and self.grid < max(x.shape[2:]):
            x = nn.functional.adaptive_avg_pool2d(x, self.grid)
        return x.flatten(2).transpose(1, 2)  # (N, R', E)


class Attention(nn.Module):
    """Where to look. By itself everywhere alike ("uniform"): what is seen is the mean region, whoever asks."""

    def __init__(self, region_size: int, attention_size: int):
        super().__init__()
        self.keys: nn.Module = nn.Linear(region_size, attention_size)  # once per picture, in prepare()

    def forward(self, query: Tensor, keys: Tensor) -> Tensor:
        """Queries (N, K, A) and keys (N, R, A) -> weights (N, K, R), each row summing to one."""
        return self.scores(query, keys).softmax(-1)

    def scores(self, query: Tensor, keys: Tensor) -> Tensor:
        """The same before the softmax."""
        return query.new_zeros(*query.shape[:2], keys.shape[1])


class AdditiveAttention(Attention):
    """Where to look, by a small network: score = v . tanh(keys + query) (Bahdanau et al. 2015, eq. 6 and A.1.2)."""

    def __init__(self, region_size: int, attention_size: int):
        super().__init__(region_size, attention_size)
        self.v = nn.Linear(attention_size, 1, bias=False)

    def scores(self, query: Tensor, keys: Tensor) -> Tensor:
        return self.v(torch.tanh(keys.unsqueeze(1) + query.unsqueeze(2))).squeeze(-1)  # (N, K, R, A) -> (N, K, R)


class DotAttention(Attention):
    """Where to look, by similarity: score = query . key / sqrt(A) (Luong et al. 2015; scaled: Vaswani et al. 2017)."""

    def scores(self, query: Tensor, keys: Tensor) -> Tensor:
        return query @ keys.transpose(1, 2) / keys.shape[-1] ** 0.5


ATTENTION = {"additive": AdditiveAttention, "dot": DotAttention, "uniform": Attention}


class Decoder(nn.Module, ABC):
    """Writes captions, word after word. Every search and every loss works through these three methods."""

    config: dict[str, Any]  # the arguments that build it again
    embedding: nn.Embedding
    lm_head: nn.Linear  # a score for every word

    def __init_subclass__(cls) -> None:
        if "__init__" in vars(cls):
            cls.__init__ = records_config(cls.__init__)  # type: ignore[method-assign]

    @abstractmethod
    def prepare(self, features: Tensor) -> EncodedImages:
        """Regions (N, R, E) -> all that can be computed before the first word."""

    @abstractmethod
    def step(self, words: Tensor, state: State, images: EncodedImages) -> tuple[Tensor, State, Tensor | None]:
        """The last words (B,) -> scores for the next (B, V), the state after, where it looked (B, R) or None.

        B is N * K, the captions of a picture behind each other. The first state is `images.state`, each row K times.
        """

    @abstractmethod
    def forward(self, features: Tensor, words: PackedSequence, image_of: Tensor) -> tuple[Tensor, Tensor | None]:
        """All words of known captions, equal to the loop of `step`: scores (L, V), attention (L, R) or None.

        `words` are the input ids of B captions, longest first, packed by time: step t holds those still running.
        `image_of` (B,), on the CPU, tells each caption's row of `features` (N, R, E).
        """


class DecoderRNN(Decoder):
    """A recurrent network that sees the picture once: the mean region is its first state (rnn, gru or lstm)."""

    def __init__(
        self,
        vocabulary_size: int,
        feature_size: int,
        word_size: int = 512,
        hidden_size: int = 512,
        cell: str = "lstm",
        dropout: float = 0.5,
    ):
        super().__init__()
        self.cell = named(CELLS, cell, "cell")
        self.dropout = nn.Dropout(dropout)
        self.init_state = nn.Linear(feature_size, self.cell.states * hidden_size)
        self.embedding = nn.Embedding(vocabulary_size, word_size)
        self.lm_head = nn.Linear(hidden_size, vocabulary_size)
        self.rnn = self.cell.sequence(word_size, hidden_size, batch_first=True)

    def prepare(self, features: Tensor) -> EncodedImages:
        state = torch.tanh(self.init_state(self.dropout(features).mean(1))).chunk(self.cell.states, -1)
        return EncodedImages(state, features[:, :0], features[:, :0])

    def step(self, words: Tensor, state: State, images: EncodedImages) -> tuple[Tensor, State, None]:
        hidden, state = run(self.rnn, self.dropout(self.embedding(words)), None, state)  # (B, D)
        return self.lm_head(self.dropout(hidden)), state, None

    def forward(self, features: Tensor, words: PackedSequence, image_of: Tensor) -> tuple[Tensor, None]:
        state = tuple(rows_of(s, image_of) for s in self.prepare(features).state)
        hidden, _ = run(self.rnn, self.dropout(self.embedding(words.data)), words.batch_sizes, state)  # (L, D)
        return self.lm_head(self.dropout(hidden)), None


class AttentionDecoder(Decoder):
    """A recurrent network that looks at the regions before every word (Xu et al. 2015, eq. 1-6).

    Its state asks where to look; what is seen there goes into the next state with the word. `gate` weighs what is seen:
    context * sigmoid(W h) (section 4.2.1, there one number for all features). `project` shrinks the regions first.
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
        self.cell = named(CELLS, cell, "cell")
        gates, region_size = self.cell.gates * hidden_size, project or feature_size
        self.dropout = nn.Dropout(dropout)
        self.project: nn.Module = nn.Linear(feature_size, project) if project else nn.Identity()
        self.init_state: nn.Module = nn.Linear(region_size, self.cell.states * hidden_size)
        self.embedding = nn.Embedding(vocabulary_size, word_size)
        self.lm_head = nn.Linear(hidden_size, vocabulary_size)
        self.attention = named(ATTENTION, attention, "attention")(region_size, attention_size)
        self.word_gates = nn.Linear(word_size, gates)
        self.context_gates = nn.Linear(region_size, gates, bias=False)
        # three products with the hidden state in one: the cell's gates, the query, the gate on the context
        self.splits = [gates, attention_size, region_size if gate else 0]
        self.from_hidden = nn.Linear(hidden_size, sum(self.splits))

    def init_hidden_state(self, regions: Tensor) -> State:
        """The first state, from the mean region (section 3.1.2): regions (N, R, E) -> each (N, D)."""
        return torch.tanh(self.init_state(regions.mean(1))).chunk(self.cell.states, -1)

    def logits(self, hidden: Tensor, context: Tensor, embedded: Tensor) -> Tensor:
        """States (L, D), what was seen (L, E), the words before, embedded (L, W) -> scores (L, V)."""
        return self.lm_head(self.dropout(hidden))

    def prepare(self, features: Tensor) -> EncodedImages:
        regions = self.dropout(self.project(features))  # (N, R, E), or as large as `project`
        keys = self.attention.keys(regions)  # (N, R, A)
        return EncodedImages(self.init_hidden_state(regions), regions.to(keys.dtype), keys)

    def advance(self, x: Tensor, state: State, images: EncodedImages) -> tuple[State, Tensor, Tensor]:
        """The words' gates (B, gates) and the state -> the state after, context (B, E), attention (B, R); B = N * K."""
        h, query, gate = self.from_hidden(state[0]).split(self.splits, -1)
        weights = self.attention(query.unflatten(0, (len(images.keys), -1)), images.keys)  # (N, K, R)
        context = (weights @ images.regions).flatten(0, 1)  # (B, E)
        context = context * torch.sigmoid(gate) if gate.shape[-1] else context
        return self.cell.step(x + self.context_gates(context), h, state), context, weights.flatten(0, 1)

    def step(self, words: Tensor, state: State, images: EncodedImages) -> tuple[Tensor, State, Tensor]:
        embedded = self.dropout(self.embedding(words))  # (B, W)
        state, context, weights = self.advance(self.word_gates(embedded), state, images)
        return self.logits(state[0], context, embedded), state, weights

    def forward(self, features: Tensor, words: PackedSequence, image_of: Tensor) -> tuple[Tensor, Tensor]:
        images = self.prepare(features)
        grid = CaptionGrid(words, image_of, len(features))
        embedded = self.dropout(self.embedding(words.data))  # (L, W)
        state, steps = tuple(s.repeat_interleave(grid.captions, 0) for s in images.state), []
        for x in grid.spread(self.word_gates(embedded)):  # (N * K, gates)
            state, context, weights = self.advance(x, state, images)
            steps.append((state[0], context, weights))
        hidden, context, weights = (grid.gather(torch.stack(column)) for column in zip(*steps, strict=True))  # (L, ...)
        return self.logits(hidden, context, embedded), weights


class SpatialDecoder(Decoder):
    """A recurrent network that takes in a word first and looks then (Luong et al. 2015, 3.1; Lu et al. 2017, 2.1).

    The state after the last word asks where the next one is. A second cell, the language LSTM of Anderson et al. 2018,
    remembers what was seen; both say the word. As no look enters the first cell, a known caption needs no loop.
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
        dropout: float = 0.5,
    ):
        super().__init__()
        self.cell = named(CELLS, cell, "cell")
        self.dropout = nn.Dropout(dropout)
        self.init_state = nn.Linear(feature_size, 2 * self.cell.states * hidden_size)
        self.embedding = nn.Embedding(vocabulary_size, word_size)
        self.word_rnn = self.cell.sequence(word_size, hidden_size, batch_first=True)
        self.attention = named(ATTENTION, attention, "attention")(feature_size, attention_size)
        self.query = nn.Linear(hidden_size, attention_size)
        self.context = nn.Linear(feature_size, hidden_size)
        self.language_rnn = self.cell.sequence(hidden_size, hidden_size, batch_first=True)
        self.lm_head = nn.Linear(hidden_size, vocabulary_size)

    def prepare(self, features: Tensor) -> EncodedImages:
        regions = self.dropout(features)
        state = torch.tanh(self.init_state(regions.mean(1))).chunk(2 * self.cell.states, -1)
        keys = self.attention.keys(regions)  # (N, R, A)
        return EncodedImages(state, regions.to(keys.dtype), keys)

    def look(self, hidden: Tensor, images: EncodedImages) -> tuple[Tensor, Tensor]:
        """Any number of states per picture (N, K, D) -> state and what is seen (N, K, D), attention (N, K, R)."""
        weights = self.attention(self.query(hidden), images.keys)
        return torch.tanh(hidden + self.context(weights @ images.regions)), weights

    def step(self, words: Tensor, state: State, images: EncodedImages) -> tuple[Tensor, State, Tensor]:
        embedded, half = self.dropout(self.embedding(words)), self.cell.states
        hidden, word_state = run(self.word_rnn, embedded, None, state[:half])  # (B, D)
        looks = self.look(hidden.unflatten(0, (len(images.keys), -1)), images)  # (N, K, D), (N, K, R)
        seen, weights = (x.flatten(0, 1) for x in looks)  # (B, D), (B, R)
        known, language_state = run(self.language_rnn, self.dropout(seen), None, state[half:])  # (B, D)
        return self.lm_head(self.dropout(seen + known)), (*word_state, *language_state), weights

    def forward(self, features: Tensor, words: PackedSequence, image_of: Tensor) -> tuple[Tensor, Tensor]:
        images = self.prepare(features)
        state, half = tuple(rows_of(s, image_of) for s in images.state), self.cell.states  # (B, D) each
        embedded = self.dropout(self.embedding(words.data))  # (L, W)
        hidden, _ = run(self.word_rnn, embedded, words.batch_sizes, state[:half])  # (L, D)
        grouped, back = by_picture(hidden, image_of[caption_of(words)], len(features))  # (N, most, D)
        seen, weights = map(back, self.look(grouped, images))  # (L, D), (L, R)
        known, _ = run(self.language_rnn, self.dropout(seen), words.batch_sizes, state[half:])  # (L, D)
        return self.lm_head(self.dropout(seen + known)), weights


class Captioner(nn.Module):
    """An encoder and a decoder: what is trained, saved and asked for captions."""

    def __init__(self, encoder: EncoderCNN, decoder: Decoder):
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
    def config(self) -> dict[str, dict[str, Any]]:
        """Plain numbers and names from which `decoders.build` makes the same model again, without its weights."""
        return {"encoder": self.encoder.config, "decoder": {"kind": type(self.decoder).__name__} | self.decoder.config}
