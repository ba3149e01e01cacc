"""CIDEr-D of one caption at a time, for who scores many captions against references that stay the same.

Comes in: references of images and captions, as words or as ids. Goes out: scores from 0 to 10. What it does not know:
models, tensors, files.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence

Id = int | str
Vector = tuple[dict[tuple, float], list[float], int]  # n-grams' weights, the norm of each length's, number of words


class CiderD:
    """CIDEr-D (Vedantam et al. 2015, section 5) of one caption, against references whose n-grams are counted once.

    pycocoevalcap's scorer, which evaluation/metrics.py uses, takes the document frequencies from the set that it
    scores; a batch is none, and would be counted anew at every step. Where the sets are the same, so are the scores.
    `references` of all images make the document frequencies; a caption is any sequence of words or ids. A reward should
    have `<end>` among the ids on both sides: else nothing is lost by stopping at "a man on a".
    """

    def __init__(self, references: Mapping[Id, Sequence[Sequence[Hashable]]], longest: int = 4, sigma: float = 6.0):
        self.longest, self.sigma = longest, sigma
        counted = {image: [self._grams(words) for words in of_image] for image, of_image in references.items()}
        documents = Counter(gram for of_image in counted.values() for gram in set().union(*of_image))
        self.rarity = {gram: math.log(len(references) / n) for gram, n in documents.items()}
        self.unseen = math.log(len(references))
        self.references = {image: [self._vector(grams) for grams in of_image] for image, of_image in counted.items()}

    def __call__(self, image: Id, words: Sequence[Hashable]) -> float:
        """The score of a caption of this image, 0 to 10. KeyError for an image without references."""
        alike = self.alike([image], words)
        return sum(alike) / len(alike)

    def alike(self, images: Sequence[Id], words: Sequence[Hashable]) -> list[float]:
        """A caption against each reference of these images, one at a time, 0 to 10; `__call__` is the mean over one
        image's. KeyError as there."""
        references = (reference for image in images for reference in self.references[image])
        return self._against(references, self._vector(self._grams(words)))

    def among(self, captions: Sequence[Sequence[Hashable]]) -> list[float]:
        """How much each of some captions is like all of them, itself among them: the mean of its scores, 0 to 10."""
        vectors = [self._vector(self._grams(words)) for words in captions]
        return [sum(self._against(vectors, vector)) / len(captions) for vector in vectors]

    def _against(self, references: Iterable[Vector], caption: Vector) -> list[float]:
        said, norms, length = caption
        scores = []
        for true, true_norms, true_length in references:
            match = [0.0] * self.longest
            for gram in said.keys() & true.keys():
                match[len(gram) - 1] += min(said[gram], true[gram]) * true[gram]
            cosine = sum(m / (a * b) for m, a, b in zip(match, norms, true_norms, strict=True) if m) / self.longest
            scores.append(10 * cosine * math.exp(-((length - true_length) ** 2) / (2 * self.sigma**2)))
        return scores

    def _grams(self, words: Sequence[Hashable]) -> Counter:
        sizes = range(1, self.longest + 1)
        return Counter(tuple(words[i : i + n]) for n in sizes for i in range(len(words) - n + 1))

    def _vector(self, grams: Counter) -> Vector:
        """n-grams weighted by their rarity."""
        vector = {gram: n * self.rarity.get(gram, self.unseen) for gram, n in grams.items()}
        squares = [0.0] * self.longest
        for gram, weight in vector.items():
            squares[len(gram) - 1] += weight**2
        return vector, [math.sqrt(s) for s in squares], sum(n for gram, n in grams.items() if len(gram) == 1)
