"""One captioner and one picture: what it says, how sure it is, what else it might have said, and where it looks.

Comes in: a captioner (what `checkpoint.load` gives) and a picture. Goes out: a
`CaptionTrace` in plain lists and arrays, and the `Choice`s at each of its places. What it does not know: widgets,
figures, files.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from data_loader import Transform
from dataset.masks import upright_masks
from decoding.beam import beam
from decoding.search import BANNED, Hypothesis, sample
from evaluation.grounding import grounding
from evaluation.objects import find_object_mentions
from vocabulary import START

if TYPE_CHECKING:
    from dataset.records import Record
    from models.checkpoint import Checkpoint

LIKELIEST = 5  # words shown for each place
PATCHES = 8  # per side, of a picture whose patches are greyed one by one


class Choice(NamedTuple):
    """A word that could be said at a place: its id, the word, its probability."""

    id: int
    word: str
    probability: float


class GroundedObject(NamedTuple):
    """The annotated object that a word names: its pixels, bool (H, W); is the peak of the word's map inside them?"""

    category: str
    mask: np.ndarray
    inside: bool


@dataclass(frozen=True)
class CaptionTrace:
    """A caption of T words, `<end>` the last of them if it has ended."""

    ids: tuple[int, ...]
    words: tuple[str, ...]
    probabilities: tuple[float, ...]  # of each word, given the words before it
    maps: np.ndarray  # (T, R) where it looked for each word; by `occlusion` how much the word needs each patch
    occlusion: bool  # True: the model has no attention


class Exploration:
    """A captioner with one picture, which the encoder sees once."""

    def __init__(self, captioner: Checkpoint, picture: Image.Image) -> None:
        self.model, self.vocabulary, self.longest = captioner.model, captioner.vocabulary, captioner.max_length
        pixels = Transform.of(self.model.encoder)(picture)
        self.pixels = pixels.unsqueeze(0).to(next(self.model.parameters()).device)  # (1, 3, H, W)
        with torch.inference_mode():
            self.regions = self.model.encoder(self.pixels)  # (1, R, E)

    def decode(
        self,
        prefix: Sequence[int] = (),
        num_beams: int = 5,
        length_penalty: float = 0.7,
        temperature: float = 0.0,
        seed: int = 0,
    ) -> Hypothesis:
        """The caption that begins with the ids `prefix`: by beam search, or drawn at random at a `temperature` above 0.

        It may be as long as the captions that the model learned from. Raises ValueError as `beam_search` and `sample`.
        """
        options: dict[str, Any] = {"prefix": tuple(prefix), "max_length": max(self.longest, len(prefix) + 1)}
        if temperature:
            options |= {"temperature": temperature}
            options |= {"generator": torch.Generator(self.regions.device).manual_seed(seed)}
            (hypothesis,) = sample(self.model.decoder, self.regions, **options)
        else:
            options |= {"num_beams": num_beams, "length_penalty": length_penalty}
            (hypothesis,) = beam(self.model.decoder, self.regions, **options)
        return hypothesis

    def trace(self, hypothesis: Hypothesis) -> CaptionTrace:
        """The trace of a caption of this picture, all of it from the hypothesis; only `occlusion` asks the model."""
        ids, probabilities = tuple(hypothesis.ids), np.exp(hypothesis.logprobs)
        look = hypothesis.attention  # (T, R) or None
        maps = self._occlusion(ids, probabilities) if look is None else look.numpy()
        words = tuple(self.vocabulary.words[i] for i in ids)
        return CaptionTrace(ids, words, tuple(probabilities.tolist()), maps, look is None)

    def caption(self, prefix: Sequence[int] = (), **how: Any) -> CaptionTrace:
        """The trace of what `decode`, with the same arguments, says."""
        return self.trace(self.decode(prefix, **how))

    def what_if(self, trace: CaptionTrace, place: int, word: int, **how: Any) -> CaptionTrace:
        """The caption decoded on, as by `caption`, from the words of `trace` before `place` (from 0), then `word`."""
        return self.caption((*trace.ids[:place], word), **how)

    def choices(self, trace: CaptionTrace) -> list[list[Choice]]:
        """At each place of a caption the likeliest words, and its own word where it is not of them.

        The decoder reads the caption for that, in one pass (teacher forcing).
        """
        (chances,) = self._read(self.regions, trace.ids)  # (T, V)
        sayable = chances.index_fill(1, torch.tensor(BANNED, device=chances.device), -1.0)
        likeliest = sayable.topk(min(LIKELIEST, chances.shape[1] - len(BANNED))).indices.tolist()
        return [
            [Choice(i, self.vocabulary.words[i], row[i].item()) for i in dict.fromkeys([*best, own])]
            for row, best, own in zip(chances, likeliest, trace.ids, strict=True)
        ]

    def _occlusion(self, ids: Sequence[int], probabilities: np.ndarray) -> np.ndarray:
        """How much each word's probability falls when a patch of the picture is greyed (Zeiler & Fergus 2014): (T, R).

        All PATCHES * PATCHES greyed pictures are encoded and read in one batch.
        """
        edges = torch.linspace(0, self.pixels.shape[-1], PATCHES + 1).round().int().tolist()
        greyed = self.pixels.repeat(PATCHES**2, 1, 1, 1)
        for patch, picture in enumerate(greyed):
            row, column = divmod(patch, PATCHES)
            picture[:, edges[row] : edges[row + 1], edges[column] : edges[column + 1]] = 128
        with torch.inference_mode():
            chances = self._read(self.model.encoder(greyed), ids)  # (R, T, V)
        said = torch.tensor(ids, device=chances.device).view(1, -1, 1).expand(len(chances), -1, 1)
        left = chances.gather(2, said).squeeze(2).cpu().numpy()  # (R, T)
        return (probabilities - left).T.clip(0)

    @torch.inference_mode()
    def _read(self, regions: Tensor, ids: Sequence[int]) -> Tensor:
        """N pictures' regions, one caption of T ids for all -> probabilities (N, T, V)."""
        pictures = len(regions)
        inputs = torch.tensor([START, *ids[:-1]], device=regions.device).repeat_interleave(pictures)
        words = PackedSequence(inputs, torch.full((len(ids),), pictures))
        logits, _ = self.model.decoder(regions, words, torch.arange(pictures))
        return logits.float().softmax(-1).unflatten(0, (len(ids), pictures)).transpose(0, 1)


def grounded_objects(trace: CaptionTrace, record: Record) -> list[GroundedObject | None]:
    """For each word of a caption the annotated object that it names, None where it names none or none is known."""
    objects = upright_masks(record)
    known = {category for category, _ in objects}
    mentions = [mention for mention in find_object_mentions(trace.words) if mention.category in known]
    found: list[GroundedObject | None] = [None] * len(trace.words)
    for mention, look in zip(mentions, grounding(trace.words, trace.maps, objects), strict=True):
        mask = np.logical_or.reduce([mask for category, mask in objects if category == mention.category])
        for place in range(mention.start, mention.end):
            found[place] = GroundedObject(mention.category, mask, look.hit)
    return found
