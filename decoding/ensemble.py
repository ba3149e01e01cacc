"""Several captioners that write one caption together.

Comes in: models of one vocabulary. Goes out: a model with the same methods, whose probability of each word is the mean
of theirs; every search decodes it as it decodes one captioner. What it does not know: words as text, files.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn

from data_loader import Batch
from model import Captioner


class EncodedForEach(NamedTuple):
    """What `prepare` computed for each member; `state` holds the members' states one after the other."""

    state: tuple[Tensor, ...]
    members: list[Any]

    def rows(self, index: Tensor | slice) -> EncodedForEach:
        """The same for some of the pictures only."""
        return EncodedForEach(tuple(s[index] for s in self.state), [encoded.rows(index) for encoded in self.members])


class Ensemble(nn.Module):
    """The mean of several captioners' probabilities, word by word.

    Attention is the mean of the members' maps if all of them look at the same grid, else None. Raises ValueError if
    there is no member, or if their vocabularies differ in size (comparing the words is left to the caller).
    """

    def __init__(self, models: Sequence[Captioner]) -> None:
        super().__init__()
        sizes = {model.decoder.embedding.num_embeddings for model in models}
        if len(sizes) != 1:
            raise ValueError(f"the members of an ensemble need one vocabulary, not those of {sorted(sizes)} words")
        self.models = nn.ModuleList(models)

    @property
    def members(self) -> Iterable[Captioner]:
        """The models, typed."""
        return cast(Iterable[Captioner], self.models)

    @property
    def decoder(self) -> Ensemble:
        """Itself, as `prepare` and `step` are methods of the ensemble."""
        return self

    def regions(self, batch: Batch) -> list[Tensor]:
        """A batch -> every member's regions (N, R, E)."""
        return [model.regions(batch) for model in self.members]

    def prepare(self, features: list[Tensor]) -> EncodedForEach:
        """Every member's regions -> all that the members compute before the first word."""
        encoded = [model.decoder.prepare(regions) for model, regions in zip(self.members, features, strict=True)]
        return EncodedForEach(tuple(s for of_member in encoded for s in of_member.state), encoded)

    def step(
        self, words: Tensor, state: tuple[Tensor, ...], images: EncodedForEach
    ) -> tuple[Tensor, tuple[Tensor, ...], Tensor | None]:
        """The last words (B,) -> log of the mean probabilities (B, V), all states after, the mean attention (B, R)."""
        logits: list[Tensor] = []
        states: list[Tensor] = []
        maps: list[Tensor | None] = []
        for model, encoded in zip(self.members, images.members, strict=True):
            own, state = state[: len(encoded.state)], state[len(encoded.state) :]
            scores, after, attention = model.decoder.step(words, own, encoded)
            logits.append(scores)
            states.extend(after)
            maps.append(attention)
        return _log_mean_probability(logits), tuple(states), _mean_attention(maps)

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor | None]:
        """Known captions, as `Captioner.forward`: log of the mean probabilities (L, V), the mean attention (L, R)."""
        logits, maps = zip(*(model(batch) for model in self.members), strict=True)
        return _log_mean_probability(logits), _mean_attention(maps)


def _log_mean_probability(logits: Sequence[Tensor]) -> Tensor:
    return torch.stack([x.float().log_softmax(-1) for x in logits]).logsumexp(0) - math.log(len(logits))


def _mean_attention(maps: Sequence[Tensor | None]) -> Tensor | None:
    given = [attention for attention in maps if attention is not None]
    if len(given) < len(maps) or len({attention.shape for attention in given}) > 1:
        return None
    return torch.stack(given).mean(0)
