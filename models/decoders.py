"""The decoders beside DecoderRNN: one for each way to write a caption that the literature knows best.

Comes in and goes out: as for `model.DecoderRNN`; all have its `prepare`, `step` and `forward`, and `forward` equals the
loop of `step`. `DECODERS` lists them by name, `build` makes a whole captioner from a checkpoint's config. What it does
not know: files, words as text, losses. The letters of the shapes are those of model.py.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import PackedSequence, pad_packed_sequence

from model import (
    ATTENTION,
    CELLS,
    AdditiveAttention,
    Captioner,
    DecoderRNN,
    EncodedImages,
    EncoderCNN,
    State,
    arguments,
    lstm_cell,
    named,
    pack_state,
    place_in_group,
    unpack_state,
)

# ------------------------------------------------------------------------------- DecoderRNN, begun or ended otherwise


class AttentionLSTM(DecoderRNN):
    """The attention LSTM of the course EECS 498-007 (Michigan, assignment 5): scaled dot products with the grid itself.

    The picture is projected to the size of the state; its regions are the keys, and their mean is h0 and c0. (The
    course asks with the state as it is; here a linear map of it asks, as in DecoderRNN.)
    """

    def __init__(
        self,
        vocabulary_size: int,
        feature_size: int,
        word_size: int = 256,
        hidden_size: int = 512,
        dropout: float = 0.0,
    ):
        super().__init__(
            vocabulary_size,
            feature_size,
            word_size,
            hidden_size,
            attention_size=hidden_size,
            cell="lstm",
            attention="dot",
            project=hidden_size,
            dropout=dropout,
        )
        self.config = arguments(locals())
        del self.first
        self.attention.keys = nn.Identity()

    def init_hidden_state(self, regions: Tensor) -> State:
        """h0 = c0 = the mean region: (N, R, D) -> (N, D) twice."""
        mean = regions.mean(1)
        return mean, mean


class BahdanauGRU(DecoderRNN):
    """The decoder of TensorFlow's image-captioning tutorial: FC + ReLU, additive attention, GRU, two linear layers.

    It starts from zeros. Its state is kept from word to word, which the tutorial's own code forgets to do.
    """

    def __init__(
        self,
        vocabulary_size: int,
        feature_size: int,
        word_size: int = 256,
        hidden_size: int = 512,
        attention_size: int = 512,
        project: int = 256,
        dropout: float = 0.0,
    ):
        super().__init__(
            vocabulary_size,
            feature_size,
            word_size,
            hidden_size,
            attention_size,
            cell="gru",
            attention="additive",
            project=project,
            dropout=dropout,
        )
        self.config = arguments(locals())
        del self.first
        self.project = nn.Sequential(self.project, nn.ReLU())
        self.before_vocabulary = nn.Linear(hidden_size, hidden_size)

    def init_hidden_state(self, regions: Tensor) -> State:
        """Zeros (N, D)."""
        return (regions.new_zeros(len(regions), self.lm_head.in_features),)

    def logits(self, hidden: Tensor, context: Tensor | None, inputs: Tensor) -> Tensor:
        """As in DecoderRNN, with one more linear layer."""
        return super().logits(self.before_vocabulary(hidden), context, inputs)


class ShowAttendTell(DecoderRNN):
    """Xu et al. 2015, "Show, Attend and Tell": LSTM, additive attention, gate; `deep_output` as in its equation 7.

    With deep output the word before, the state and what was seen say the next word together: L_o (E y + L_h h + L_z z).
    Without it the state alone does, as in most implementations.
    """

    def __init__(
        self,
        vocabulary_size: int,
        feature_size: int,
        word_size: int = 512,
        hidden_size: int = 512,
        attention_size: int = 512,
        deep_output: bool = False,
        dropout: float = 0.5,
    ):
        super().__init__(
            vocabulary_size,
            feature_size,
            word_size,
            hidden_size,
            attention_size,
            cell="lstm",
            attention="additive",
            gate=True,
            dropout=dropout,
        )
        self.config = arguments(locals())
        self.deep_output = deep_output
        if deep_output:
            self.of_hidden = nn.Linear(hidden_size, word_size)
            self.of_context = nn.Linear(feature_size, word_size, bias=False)
            self.lm_head = nn.Linear(word_size, vocabulary_size)

    def logits(self, hidden: Tensor, context: Tensor | None, inputs: Tensor) -> Tensor:
        """As in DecoderRNN, or equation 7."""
        if self.deep_output:
            hidden = inputs + self.of_hidden(self.dropout(hidden)) + self.of_context(context)
        return super().logits(hidden, context, inputs)


# ------------------------------------------------------------------------------------------- the picture as a word


class ShowAndTell(nn.Module):
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
        self.config = arguments(locals())
        self.cell = named(CELLS, cell, "cell")
        self.every_step = named({"first": False, "every": True}, image_at, "image_at")
        self.layers, self.hidden_size = layers, hidden_size
        self.picture = nn.Linear(feature_size, word_size)
        self.embedding = nn.Embedding(vocabulary_size, word_size)
        between = dropout if layers > 1 else 0.0
        self.sequence = self.cell.sequence(word_size, hidden_size, layers, batch_first=True, dropout=between)
        self.lm_head = nn.Linear(hidden_size, vocabulary_size)
        self.dropout = nn.Dropout(dropout)
        if tied:
            if word_size != hidden_size:
                raise ValueError(f"tied weights need word_size = hidden_size, not {word_size} and {hidden_size}")
            nn.init.normal_(self.embedding.weight, std=hidden_size**-0.5)  # the vocabulary layer's scale
            self.lm_head.weight = self.embedding.weight

    def prepare(self, features: Tensor) -> EncodedImages:
        """Regions (N, R, E) -> the state after the picture, or before the first word and the picture for each step."""
        picture = self.picture(features.mean(1))  # (N, W)
        zeros = picture.new_zeros(len(features), self.hidden_size)
        state = (zeros,) * (self.cell.states * self.layers)
        if not self.every_step:
            _, after = self.sequence(picture.unsqueeze(1), pack_state(state, self.cell))
            state = unpack_state(after)
        nothing = features[:, :0]
        return EncodedImages(state, nothing, nothing, picture)

    def step(self, words: Tensor, state: State, memory: EncodedImages) -> tuple[Tensor, State, None]:
        """One word, as `DecoderRNN.step`: (B,) -> scores (B, V), the state after, None: it looks only once."""
        inputs = self.embedding(words)
        if self.every_step:
            pictures = memory.picture.repeat_interleave(len(words) // len(memory.picture), dim=0)
            inputs = inputs + pictures
        hidden, after = self.sequence(self.dropout(inputs).unsqueeze(1), pack_state(state, self.cell))
        return self.lm_head(self.dropout(hidden.squeeze(1))), unpack_state(after), None

    def forward(self, features: Tensor, words: PackedSequence, image_of: Tensor) -> tuple[Tensor, None]:
        """All known words at once, as `DecoderRNN.forward`: scores (L, V) and None."""
        memory = self.prepare(features).rows(image_of)
        inputs = self.embedding(words.data)
        if self.every_step:
            inputs = inputs + memory.picture[caption_of(words)]
        packed = PackedSequence(self.dropout(inputs), words.batch_sizes)
        hidden = self.sequence(packed, pack_state(memory.state, self.cell))[0].data  # (L, D)
        return self.lm_head(self.dropout(hidden)), None


# -------------------------------------------------------------------------------------- first the word, then the look


class SpatialDecoder(nn.Module):
    """A recurrent network that takes in a word first and looks then, with the state it has now.

    The order of Luong et al. 2015 (section 3.1) and of Lu et al. 2017 (section 2.1, "spatial attention"): the state
    after the last word asks where the next one is. A second cell above remembers what was seen so far (as the language
    LSTM of Anderson et al. 2018 does), and what is seen now and what is remembered say the word together. As no look
    enters the first cell, the words of a known caption run in one call, and all looks of a picture are one product: no
    time loop. It also learns sooner than `DecoderRNN`, as what is looked at reaches the word directly.
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
        self.config = arguments(locals())
        self.cell = named(CELLS, cell, "cell")
        self.dropout = nn.Dropout(dropout)
        self.first = nn.Linear(feature_size, 2 * self.cell.states * hidden_size)
        self.embedding = nn.Embedding(vocabulary_size, word_size)
        self.sequence = self.cell.sequence(word_size, hidden_size, batch_first=True)
        self.attention = named(ATTENTION, attention, "attention")(feature_size, hidden_size, attention_size)
        self.query = nn.Linear(hidden_size, self.attention.query_size)
        self.context = nn.Linear(feature_size, hidden_size)
        self.remember = self.cell.sequence(hidden_size, hidden_size, batch_first=True)
        self.lm_head = nn.Linear(hidden_size, vocabulary_size)

    def prepare(self, features: Tensor) -> EncodedImages:
        """Regions (N, R, E) -> all that can be computed before the first word."""
        regions = self.dropout(features)
        state = torch.tanh(self.first(regions.mean(1))).chunk(2 * self.cell.states, -1)
        keys = self.attention.keys(regions)
        return EncodedImages(state, regions.to(keys.dtype), keys)

    def step(self, words: Tensor, state: State, memory: EncodedImages) -> tuple[Tensor, State, Tensor]:
        """One word, as `DecoderRNN.step`: (B,) -> scores (B, V), the state after, where it looked (B, R)."""
        reading, remembering = state[: self.cell.states], state[self.cell.states :]
        embedded = self.dropout(self.embedding(words)).unsqueeze(1)
        hidden, reading = self.sequence(embedded, pack_state(reading, self.cell))
        seen, weights = self._look(hidden.squeeze(1).unflatten(0, (len(memory.regions), -1)), memory)
        seen = seen.flatten(0, 1)
        known, remembering = self.remember(self.dropout(seen).unsqueeze(1), pack_state(remembering, self.cell))
        state = (*unpack_state(reading), *unpack_state(remembering))
        return self.lm_head(self.dropout(seen + known.squeeze(1))), state, weights.flatten(0, 1)

    def forward(self, features: Tensor, words: PackedSequence, image_of: Tensor) -> tuple[Tensor, Tensor]:
        """All known words at once, as `DecoderRNN.forward`: scores (L, V) and attention (L, R)."""
        memory = self.prepare(features)
        state = tuple(s[image_of] for s in memory.state)
        reading, remembering = (
            pack_state(part, self.cell) for part in (state[: self.cell.states], state[self.cell.states :])
        )
        packed = PackedSequence(self.dropout(self.embedding(words.data)), words.batch_sizes)
        hidden = self.sequence(packed, reading)[0].data  # (L, D)
        image = image_of[caption_of(words)]
        grouped, row = by_picture(hidden, image, len(features))
        seen, weights = (x[image, row] for x in self._look(grouped, memory))  # (L, D), (L, R)
        known = self.remember(PackedSequence(self.dropout(seen), words.batch_sizes), remembering)[0].data
        return self.lm_head(self.dropout(seen + known)), weights

    def _look(self, hidden: Tensor, memory: EncodedImages) -> tuple[Tensor, Tensor]:
        """Any number of states per picture (N, K, D) -> state and what is seen (N, K, D), attention (N, K, R)."""
        weights = self.attention(self.query(hidden), memory.keys)
        context = self.context(weights @ memory.regions)  # (N, K, D)
        return torch.tanh(hidden + context), weights


class AdaptiveDecoder(nn.Module):
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
        self.config = arguments(locals())
        self.dropout = nn.Dropout(dropout)
        self.regions = nn.Linear(feature_size, hidden_size)  # eq. 17
        self.picture = nn.Linear(feature_size, word_size)  # eq. 18
        self.embedding = nn.Embedding(vocabulary_size, word_size)
        # the LSTM's four gates and the sentinel's (eq. 9), the input x = [word; picture] in two products
        self.word_gates = nn.Linear(word_size, 5 * hidden_size)
        self.picture_gates = nn.Linear(word_size, 5 * hidden_size, bias=False)
        self.from_hidden = nn.Linear(hidden_size, 5 * hidden_size)
        self.attention = AdditiveAttention(hidden_size, hidden_size, attention_size)  # eq. 6
        self.query = nn.Linear(hidden_size, attention_size)
        self.sentinel_key = nn.Linear(hidden_size, attention_size)
        self.lm_head = nn.Linear(hidden_size, vocabulary_size)

    def prepare(self, features: Tensor) -> EncodedImages:
        """Regions (N, R, E) -> all that can be computed before the first word; the state starts from zeros."""
        regions = self.dropout(F.relu(self.regions(features)))  # (N, R, D)
        picture = self.picture_gates(self.dropout(F.relu(self.picture(features.mean(1)))))  # (N, 5 D)
        keys = self.attention.keys(regions)
        zeros = regions.new_zeros(len(regions), regions.shape[-1])
        return EncodedImages((zeros, zeros), regions.to(keys.dtype), keys, picture)

    def step(self, words: Tensor, state: State, memory: EncodedImages) -> tuple[Tensor, State, Tensor]:
        """One word, as `DecoderRNN.step`: (B,) -> scores (B, V), the state after, where it looked (B, R)."""
        pictures = len(memory.regions)
        inputs = self.word_gates(self.dropout(self.embedding(words)))
        inputs = (inputs.unflatten(0, (pictures, -1)) + memory.picture.unsqueeze(1)).flatten(0, 1)
        state, sentinel = self._advance(inputs, state)
        hidden, sentinel = (x.unflatten(0, (pictures, -1)) for x in (state[0], sentinel))
        logits, weights = self._look(hidden, sentinel, memory)
        return logits.flatten(0, 1), state, weights.flatten(0, 1)

    def forward(self, features: Tensor, words: PackedSequence, image_of: Tensor) -> tuple[Tensor, Tensor]:
        """All known words at once, as `DecoderRNN.forward`: scores (L, V) and attention (L, R)."""
        memory = self.prepare(features)
        image = image_of[caption_of(words)]  # (L,)
        inputs = self.word_gates(self.dropout(self.embedding(words.data))) + memory.picture[image]
        state, rows = tuple(s[image_of] for s in memory.state), []
        for x in inputs.split(words.batch_sizes.tolist()):
            state, sentinel = self._advance(x, tuple(s[: len(x)] for s in state))
            rows.append(torch.cat([state[0], sentinel], -1))
        grouped, row = by_picture(torch.cat(rows), image, len(features))
        logits, weights = self._look(*grouped.chunk(2, -1), memory)
        return logits[image, row], weights[image, row]

    def _advance(self, inputs: Tensor, state: State) -> tuple[State, Tensor]:
        """The input's gates (B, 5 D) and the state -> the state after and the sentinel (B, D) (eq. 9, 10)."""
        size = state[0].shape[-1]
        gates, from_hidden = inputs.split([4 * size, size], -1), self.from_hidden(state[0]).split([4 * size, size], -1)
        state = lstm_cell(gates[0], from_hidden[0], state)
        return state, torch.sigmoid(gates[1] + from_hidden[1]) * torch.tanh(state[1])

    def _look(self, hidden: Tensor, sentinel: Tensor, memory: EncodedImages) -> tuple[Tensor, Tensor]:
        """States and sentinels (N, K, D) -> scores (N, K, V) and attention (N, K, R) (eq. 11-13)."""
        query = self.query(hidden)
        of_regions = self.attention.scores(query, memory.keys)  # (N, K, R)
        of_sentinel = self.attention.score(torch.tanh(self.sentinel_key(sentinel) + query))  # (N, K, 1)
        weights = torch.cat([of_regions, of_sentinel], -1).softmax(-1)
        weights, beta = weights[..., :-1], weights[..., -1:]
        context = weights @ memory.regions + beta * sentinel
        return self.lm_head(self.dropout(context + hidden)), weights


# ------------------------------------------------------------------------------------------------------- Transformer


class TransformerDecoder(nn.Module):
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
        self.config = arguments(locals())
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

    def step(self, words: Tensor, state: State, memory: EncodedImages) -> tuple[Tensor, State, Tensor]:
        """One word, as `DecoderRNN.step`: (B,) -> scores (B, V), the state after, where it looked (B, R)."""
        hidden, state, weights = self._layers(words.unsqueeze(1), state, memory)
        return self.lm_head(self.dropout(hidden.squeeze(1))), state, weights.squeeze(1)

    def forward(self, features: Tensor, words: PackedSequence, image_of: Tensor) -> tuple[Tensor, Tensor]:
        """All known words at once, as `DecoderRNN.forward`: scores (L, V) and attention (L, R)."""
        memory, (ids, _) = self.prepare(features), pad_packed_sequence(words, batch_first=True)  # (B, T)
        row, most = place_in_group(image_of, len(features))
        seat = image_of * most + row  # each picture's captions behind each other, as in `step`
        seated = ids.new_zeros(len(features) * most, ids.shape[1]).index_put((seat,), ids)  # (N * K, T)
        state = tuple(s.repeat_interleave(most, dim=0) for s in memory.state)
        hidden, _, weights = self._layers(seated, state, memory)
        caption = caption_of(words)
        place = torch.arange(len(words.batch_sizes), device=ids.device).repeat_interleave(
            words.batch_sizes.to(ids.device)
        )
        real = (seat[caption], place)  # (L,) twice
        return self.lm_head(self.dropout(hidden[real])), weights[real]

    def _layers(self, ids: Tensor, state: State, memory: EncodedImages) -> tuple[Tensor, State, Tensor]:
        """T more words (B, T) after those in the state -> hidden vectors, the state after, attention (B, T, R)."""
        count = len(self.layers)
        x = self.dropout(self.embedding(ids) * self.size**0.5 + self._places(state[0].shape[1], ids))
        after: list[Tensor] = []
        looks = zip(memory.keys.chunk(count, -1), memory.regions.chunk(count, -1), strict=True)
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
        if size % heads:
            raise ValueError(f"hidden_size must be a multiple of heads, not {size} and {heads}")
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
        seen = F.scaled_dot_product_attention(
            *map(self._split, (query, past_keys, past_values)), is_causal=x.shape[1] > 1
        )
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


# ------------------------------------------------------------------------------------------------------------ seating


def caption_of(words: PackedSequence) -> Tensor:
    """Which caption each packed word belongs to, (L,)."""
    captions = torch.arange(int(words.batch_sizes[0]))
    return torch.cat([captions[:running] for running in words.batch_sizes.tolist()]).to(words.data.device)


def by_picture(x: Tensor, image: Tensor, images: int) -> tuple[Tensor, Tensor]:
    """Words (L, D) of the pictures `image` (L,) -> the same side by side (N, most, D), and each word's place (L,)."""
    row, most = place_in_group(image, images)
    return x.new_zeros(images, most, x.shape[-1]).index_put((image, row), x), row


# ------------------------------------------------------------------------------------------------------------ by name

DECODERS: dict[str, type[nn.Module]] = {
    kind.__name__: kind
    for kind in (
        DecoderRNN,
        SpatialDecoder,
        AttentionLSTM,
        BahdanauGRU,
        ShowAndTell,
        ShowAttendTell,
        AdaptiveDecoder,
        TransformerDecoder,
    )
}


def build(config: dict) -> Captioner:
    """The captioner whose `config` this is, with fresh weights; ValueError for a decoder this version does not know."""
    decoder = dict(config["decoder"])
    kind = named(DECODERS, decoder.pop("kind"), "decoder")
    return Captioner(EncoderCNN(**config["encoder"]), kind(**decoder))
