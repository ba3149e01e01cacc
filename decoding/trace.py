"""One captioner and one picture: what it says, how sure it is, what else it might have said, and where it looks.

Comes in: a captioner (what `checkpoint.load` gives) and a picture. Goes out: a
`CaptionTrace`, in plain lists and arrays. What it does not know: widgets, figures, files.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from data_loader import Transform
from decoding.search import BANNED, START, beam, sample
from evaluation.truth import find_object_mentions, grounding

if TYPE_CHECKING:
    from dataset.coco import Record
    from models.checkpoint import Checkpoint

LIKELIEST = 5  # words shown for each place
PATCHES = 8  # per side, of a picture whose patches are greyed one by one


class Choice(NamedTuple):
    """A word that could be said at a place: its id, the word, its probability."""

    id: int
    word: str
    probability: float


class GroundedObject(NamedTuple):
    """The true thing that a word names: its pixels, bool (H, W), and whether the peak of the word's map is inside."""

    category: str
    mask: np.ndarray
    inside: bool


@dataclass(frozen=True)
class CaptionTrace:
    """A caption of T words, `<end>` the last of them if it has ended."""

    ids: tuple[int, ...]
    words: tuple[str, ...]
    probabilities: tuple[float, ...]  # of each word, given the words before it
    choices: tuple[tuple[Choice, ...], ...]  # at each place the likeliest, and the word itself where it is not of them
    maps: np.ndarray  # (T, R) where it looked for each word; by `occlusion` how much the word needs each patch
    occlusion: bool  # True: the model has no attention


class Exploration:
    """A captioner before a picture; the encoder runs once."""

    def __init__(self, captioner: Checkpoint, picture: Image.Image) -> None:
        self.model, self.vocabulary, self.longest = captioner.model, captioner.vocabulary, captioner.max_length
        pixels = Transform(self.model.encoder.image_size)(picture)
        self.pixels = pixels.unsqueeze(0).to(next(self.model.parameters()).device)  # (1, 3, H, W)
        with torch.inference_mode():
            self.regions = self.model.encoder(self.pixels)  # (1, R, E)

    def caption(
        self,
        prefix: Sequence[int] = (),
        num_beams: int = 5,
        length_penalty: float = 0.7,
        temperature: float = 0.0,
        seed: int = 0,
    ) -> CaptionTrace:
        """The caption that begins with the ids `prefix`: by beam search, or drawn at random at a `temperature` above 0.

        Raises ValueError as `decoding.beam_search` and `decoding.sample` do.
        """
        rules = {"prefix": tuple(prefix), "max_length": max(self.longest, len(prefix) + 1)}
        if temperature:
            dice = torch.Generator(self.regions.device).manual_seed(seed)
            how = {"temperature": temperature, "generator": dice}
            (said,) = sample(self.model.decoder, self.regions, **how, **rules)
        else:
            (said,) = beam(
                self.model.decoder, self.regions, num_beams=num_beams, length_penalty=length_penalty, **rules
            )
        return self.read(said.ids)

    def what_if(self, trace: CaptionTrace, place: int, word: int, **how) -> CaptionTrace:
        """The caption decoded on, as by `caption`, from the words of `trace` before `place` (0 is the first) and
        `word`.
        """
        return self.caption((*trace.ids[:place], word), **how)

    @torch.inference_mode()
    def read(self, ids: Sequence[int]) -> CaptionTrace:
        """The model reads a caption, given as ids, in one pass (teacher forcing)."""
        chances, maps = self._chances(self.regions, ids)  # (1, T, V), (1, T, R) or None
        chances = chances[0]
        own = chances[range(len(ids)), list(ids)]  # (T,)
        sayable = chances.index_fill(1, torch.tensor(BANNED, device=chances.device), -1.0)
        best = sayable.topk(min(LIKELIEST, chances.shape[1] - len(BANNED))).indices.tolist()
        choices = [
            tuple(
                Choice(i, self.vocabulary.words[i], chances[place, i].item()) for i in dict.fromkeys([*row, ids[place]])
            )
            for place, row in enumerate(best)
        ]
        looks = self._occlusion(ids, own) if maps is None else maps[0]
        words = tuple(self.vocabulary.words[i] for i in ids)
        return CaptionTrace(
            tuple(ids), words, tuple(own.tolist()), tuple(choices), looks.float().cpu().numpy(), maps is None
        )

    def _occlusion(self, ids: Sequence[int], own: Tensor) -> Tensor:
        """How much each word's probability falls when a patch of the picture is greyed (Zeiler & Fergus 2014): (T, R).

        All PATCHES * PATCHES greyed pictures are seen and read in one batch.
        """
        edges = torch.linspace(0, self.pixels.shape[-1], PATCHES + 1).round().int().tolist()
        greyed = self.pixels.repeat(PATCHES**2, 1, 1, 1)
        for patch, picture in enumerate(greyed):
            row, column = divmod(patch, PATCHES)
            picture[:, edges[row] : edges[row + 1], edges[column] : edges[column + 1]] = 128
        chances, _ = self._chances(self.model.encoder(greyed), ids)  # (R, T, V)
        left = chances[:, range(len(ids)), list(ids)]  # (R, T)
        return (own - left).T.clamp(min=0)

    def _chances(self, regions: Tensor, ids: Sequence[int]) -> tuple[Tensor, Tensor | None]:
        """N pictures' regions, one caption of T ids for all -> probabilities (N, T, V), attention (N, T, R) or None."""
        pictures = len(regions)
        inputs = torch.tensor([START, *ids[:-1]], device=regions.device).repeat_interleave(pictures)
        words = PackedSequence(inputs, torch.full((len(ids),), pictures))
        logits, maps = self.model.decoder(regions, words, torch.arange(pictures, device=regions.device))
        by_picture = (len(ids), pictures)
        chances = logits.float().softmax(-1).unflatten(0, by_picture).transpose(0, 1)
        return chances, None if maps is None else maps.unflatten(0, by_picture).transpose(0, 1)


def grounded_objects(trace: CaptionTrace, record: Record) -> list[GroundedObject | None]:
    """For each word of a caption the true thing that it names, where the picture's annotations know it."""
    size = record.height, record.width
    things = [(thing.category, thing.mask(*size)) for thing in record.instances if all(size)]  # else: unknown
    found: list[GroundedObject | None] = [None] * len(trace.words)
    named = [
        mention for mention in find_object_mentions(trace.words) if any(name == mention.category for name, _ in things)
    ]
    for mention, look in zip(named, grounding(trace.words, trace.maps, things), strict=True):
        mask = np.logical_or.reduce([mask for name, mask in things if name == mention.category])
        found[mention.start : mention.end] = [GroundedObject(mention.category, mask, look.hit)] * (
            mention.end - mention.start
        )
    return found
