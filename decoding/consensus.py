"""Which of several captions would people give? The one most like those they gave to the pictures most alike.

Comes in: a captioner and a loader of the pictures that it learned from. Goes out: a search like those of
decoding/search.py: a beam proposes, and the captions of the nearest pictures choose (Devlin et al. 2015,
"Exploring nearest neighbor approaches for image captioning"; Mao et al. 2015, "Deep captioning with multimodal
recurrent neural networks"). What it does not know: text, files, the references of the pictures it captions.

A model ranks by probability, and the likeliest caption is a cautious one. The neighbours tell what people find worth
saying of such pictures. They add no words of their own: only captions that the model itself found can be chosen. And a
caption may count the more, the more the others that were found agree with it: that is decoding for the least expected
loss, or minimum Bayes risk (Kumar and Byrne 2004).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from data_loader import Batch
from dataset.progress import shown
from decoding.beam import beam_search
from decoding.ensemble import Ensemble
from decoding.search import Hypothesis, StepwiseDecoder
from evaluation.cider import CiderD
from model import Captioner
from models.modes import eval_mode


class Consensus:
    """A search: of all that `beam_search` finds for a picture, the hypothesis that agrees most with its neighbours'
    captions.

    Pictures are compared by the cosine of their mean regions; an ensemble compares every member's mean region. Of the
    captions of the `neighbours` nearest pictures, a hypothesis is scored by its mean CIDEr-D against the `most` that
    are most like it, one reference at a time, because some neighbours show something else; and by `own` times its mean
    CIDEr-D against all that the beam found. `loader` must not hold the pictures to be captioned: each would find its
    own captions.

    Raises ValueError if `neighbours` or `most` is not at least 1, or `own` is negative.
    """

    def __init__(
        self,
        model: Captioner | Ensemble,
        loader: Iterable[Batch],
        neighbours: int = 90,
        most: int = 125,
        own: float = 0.0,
        progress: bool = True,
    ) -> None:
        if min(neighbours, most) < 1:
            raise ValueError(f"neighbours and most must be at least 1, not {neighbours} and {most}")
        if not own >= 0:
            raise ValueError(f"own must be 0 or more, not {own}")
        self.neighbours, self.most, self.own = neighbours, most, own
        self.images: list[int | str] = []
        captions: dict[int | str, list[list[int]]] = {}
        directions: list[Tensor] = []
        device = next(model.parameters()).device
        with eval_mode(model), torch.inference_mode():
            for batch in shown(loader, "neighbours", disable=not progress):
                directions.append(_direction(model.regions(batch.to(device))))
                for image, said in zip(batch.image_of.tolist(), _words_of(batch), strict=True):
                    captions.setdefault(batch.image_ids[image], []).append(said)
                self.images += batch.image_ids
        self.directions = torch.cat(directions)  # (M, E)
        self.cider = CiderD(captions)

    def __call__(self, decoder: StepwiseDecoder, features: Tensor | list[Tensor], **options: Any) -> list[Hypothesis]:
        """Regions (N, R, E), or those of an ensemble's members -> one hypothesis per picture.

        `options` are those of `beam_search`.
        """
        found = beam_search(decoder, features, **options)
        return [self.choose(near, of_one) for near, of_one in zip(self.nearest(features), found, strict=True)]

    def nearest(self, features: Tensor | list[Tensor]) -> list[list[int | str]]:
        """Regions of N pictures -> the ids of each one's neighbours, the nearest first."""
        alike = _direction(features) @ self.directions.T  # (N, M)
        rows = alike.topk(min(self.neighbours, len(self.images))).indices
        return [[self.images[i] for i in row] for row in rows.tolist()]

    def choose(self, near: Sequence[int | str], hypotheses: Sequence[Hypothesis]) -> Hypothesis:
        """The hypothesis that agrees most with the captions of these pictures, and with the others; of equals the
        first."""
        among = self.cider.among([hypothesis.ids for hypothesis in hypotheses]) if self.own else [0.0] * len(hypotheses)
        scored = []
        for hypothesis, agreed in zip(hypotheses, among, strict=True):
            alike = sorted(self.cider.alike(near, hypothesis.ids))[-self.most :]
            scored.append(replace(hypothesis, score=sum(alike) / len(alike) + self.own * agreed))
        return max(scored, key=lambda h: h.score)


def _direction(features: Tensor | list[Tensor]) -> Tensor:
    """Regions (N, R, E), or several models' -> a vector for each picture (N, sum of E), each model's of length 1."""
    every = features if isinstance(features, list) else [features]
    return torch.cat([F.normalize(regions.float().mean(1), dim=1) for regions in every], dim=1)


def _words_of(batch: Batch) -> list[list[int]]:
    """The ids of a batch's captions, from the first word to `<end>`, as a hypothesis holds them."""
    return [row[1 : length + 1].tolist() for row, length in zip(batch.captions, batch.lengths, strict=True)]
