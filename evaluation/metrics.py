"""How good are captions? The field's scores against people's captions, with intervals, and a test of a difference.

Comes in: captions and references as words (`tokenized`), by image id. Goes out: BLEU, ROUGE-L and CIDEr-D as COCO's
evaluation counts them (pycocoevalcap's scorers over `vocabulary.tokenize`, without Java), with 95 % intervals; and what
the captions are like beside that. What it does not know: models, tensors, pictures, files, and whether a caption is
true (evaluation/hallucination.py). METEOR and SPICE, which need Java, are in evaluation/official.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from pycocoevalcap.bleu.bleu_scorer import BleuScorer
from pycocoevalcap.cider.cider import Cider
from pycocoevalcap.rouge.rouge import Rouge

from evaluation.objects import Tokens
from vocabulary import tokenize

Id = int | str


class Score(NamedTuple):
    """A score and half the width of its 95 % interval."""

    value: float
    margin: float

    def __str__(self) -> str:
        return f"{self.value:.3f} ± {self.margin:.3f}"


@dataclass(frozen=True)
class Statistics:
    """What every image contributes to the scores, N rows in the order of `ids`.

    A set's scores follow from the sums of these rows, so that a resampled set is one product with a matrix.
    """

    ids: list[Id]
    bleu: np.ndarray  # (N, 10): the caption's words, the closest reference's; n-grams said and those found, n = 1 to 4
    rouge: np.ndarray  # (N,)
    cider: np.ndarray  # (N,), under the document frequencies of the whole set

    def scores(self, weights: np.ndarray | None = None) -> dict[str, np.ndarray]:
        """The scores of the set in which image i occurs weights[..., i] times; of the set itself without weights."""
        weights = np.ones(len(self.ids)) if weights is None else weights
        images = weights.sum(-1)
        names = [f"BLEU-{n}" for n in range(1, 5)]
        return dict(zip(names, _bleu(weights @ self.bleu), strict=True)) | {
            "ROUGE-L": weights @ self.rouge / images,
            "CIDEr-D": weights @ self.cider / images,
        }


def _bleu(sums: np.ndarray) -> list[np.ndarray]:
    """BLEU-1 to 4 (Papineni et al. 2002) from summed counts (..., 10), rounded as pycocoevalcap's scorer does."""
    said, meant, guessed, found = sums[..., 0], sums[..., 1], sums[..., 2:6], sums[..., 6:10]
    precision = (found + 1e-15) / (guessed + 1e-9)
    brevity = np.exp(np.minimum(0, 1 - (meant + 1e-9) / (said + 1e-15)))
    return [precision[..., :n].prod(-1) ** (1 / n) * brevity for n in range(1, 5)]


def tokenized(captions: Mapping[Id, str]) -> dict[Id, list[str]]:
    """Captions as words, by image id: what all measures here take."""
    return {image: tokenize(caption) for image, caption in captions.items()}


def tokenized_references(references: Mapping[Id, Iterable[str]]) -> dict[Id, list[list[str]]]:
    """The same for images with several captions each."""
    return {image: [tokenize(caption) for caption in captions] for image, captions in references.items()}


def statistics(captions: Mapping[Id, Tokens], references: Mapping[Id, Sequence[Tokens]]) -> Statistics:
    """Count what the scores need: captions by image id against all references of these images, both as words.

    Raises ValueError if there are none, or if an image has no reference; TypeError for a text instead of words.
    """
    checked(captions, references)
    said = {image: [" ".join(tokens)] for image, tokens in captions.items()}
    true = {image: [" ".join(tokens) for tokens in references[image]] for image in captions}
    bleu = BleuScorer(n=4)
    for image in said:
        bleu += (said[image][0], true[image])
    rows = [
        (c["testlen"], min((abs(n - c["testlen"]), n) for n in c["reflen"])[1], *c["guess"], *c["correct"])
        for c in bleu.ctest
    ]
    _, rouge = Rouge().compute_score(true, said)
    rouge = np.where([bool(tokens) for tokens in captions.values()], rouge, 0)  # to it, two without words are alike
    # the length of the set is the base of the document frequencies' logarithm: a single image scores zero
    _, cider = Cider().compute_score(true, said)
    return Statistics(list(said), np.array(rows, float), rouge, np.asarray(cider))


def checked(captions: Mapping[Id, Tokens], references: Mapping[Id, Sequence[Tokens]]) -> None:
    """Raises what `statistics` raises."""
    if not captions:
        raise ValueError("there are no captions to score")
    for image, tokens in captions.items():
        if not references.get(image):
            raise ValueError(f"image {image} has a caption but no references: nothing to score it against")
        if isinstance(tokens, str) or any(isinstance(reference, str) for reference in references[image]):
            raise TypeError(f"captions are scored as words, and image {image} has text: use metrics.tokenized")


# -------------------------------------------------------------------------------------------------------- intervals


def bootstrap(
    measured: Statistics,
    other: Statistics | None = None,
    *,
    resamples: int = 1000,
    seed: int = 0,
) -> dict[str, Score]:
    """Every score with its 95 % interval over images; of the difference `measured` - `other`, if there is another.

    The set is drawn anew `resamples` times, its images with replacement (Efron 1979; for BLEU: Koehn 2004); the margin
    is 1.96 standard deviations of the redrawn scores, the reported score stands in its middle. Two systems are compared
    on the same draws. Raises ValueError if they did not caption the same images.
    """
    images = len(measured.ids)
    if other is not None and other.ids != measured.ids:
        if set(other.ids) != set(measured.ids):
            raise ValueError("the two results are not of the same images: no paired comparison")
        row = {image: i for i, image in enumerate(other.ids)}
        order = [row[image] for image in measured.ids]
        other = Statistics(measured.ids, other.bleu[order], other.rouge[order], other.cider[order])
    weights = np.random.default_rng(seed).multinomial(images, np.full(images, 1 / images), size=resamples).astype(float)
    value, drawn = measured.scores(), measured.scores(weights)
    if other is not None:
        value = {name: value[name] - score for name, score in other.scores().items()}
        drawn = {name: drawn[name] - score for name, score in other.scores(weights).items()}
    return {name: Score(float(value[name]), float(1.96 * drawn[name].std())) for name in value}


def describe_difference(name: str, difference: Score) -> str:
    """What a difference means, in a sentence."""
    told = f"{name}: {round(difference.value, 3) + 0.0:+.3f} ± {difference.margin:.3f}"  # + 0.0: never -0.000
    if abs(difference.value) <= difference.margin:
        return f"{told}, no difference that means anything"
    return f"{told}, {'better' if difference.value > 0 else 'worse'}"


# ---------------------------------------------------------------------------------------------- what they are like


def caption_statistics(
    captions: Mapping[Id, Tokens], words: Iterable[str], training_captions: Iterable[Tokens] = ()
) -> dict[str, float]:
    """What captions are like, whoever they are of: lengths, variety, and what was learned by heart.

    Comes in: captions as words, by image id, the `words` that a model could say, and the captions that it was trained
    on. Goes out: the mean length in words, how many of the words occur and how many never do, the number of different
    captions as a share of all, and the share that repeats a training caption word for word. Raises ValueError if there
    are no captions.
    """
    if not captions:
        raise ValueError("there are no captions to describe")
    said = [tuple(tokens) for tokens in captions.values()]
    known, used = set(words), {word for tokens in said for word in tokens}
    by_heart = set(map(tuple, training_captions))
    shares = {
        "mean length": sum(map(len, said)) / len(said),
        "words used": len(used & known),
        "words never used": len(known - used),
        "distinct captions": len(set(said)) / len(said),
    }
    return shares | ({"copied from training": sum(c in by_heart for c in said) / len(said)} if by_heart else {})
