"""Learning from one's own captions: one that scores above its siblings becomes likelier, one that scores below less so.

Comes in: a model, a batch of pictures, and a reward: (image id, the ids said) -> a number, such as `CiderD` here. Goes
out: a loss to add to that of the true words. What it does not know: text, files, optimizers.

Teacher forcing teaches the next true word; captions are judged whole, and no gradient leads through a score. Drawing
captions gives one all the same (REINFORCE, Williams 1992): self-critical sequence training (Rennie et al. 2017), where
what a caption should have reached is the mean of the other captions drawn of its picture (Luo 2020).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from data_loader import collate
from decoding import START, sample

Id = int | str
Reward = Callable[[Id, Sequence[int]], float]


class CiderD:
    """CIDEr-D (Vedantam et al. 2015, section 5) of one caption, against references whose n-grams are counted once.

    pycocoevalcap's scorer, which metrics.py uses, takes the document frequencies from the set that it scores; a batch
    is none, and would be counted anew at every step. Where the sets are the same, so are the scores.
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
        said, norms, length = self._vector(self._grams(words))
        scores = []
        for true, true_norms, true_length in (reference for image in images for reference in self.references[image]):
            match = [0.0] * self.longest
            for gram in said.keys() & true.keys():
                match[len(gram) - 1] += min(said[gram], true[gram]) * true[gram]
            cosine = sum(m / (a * b) for m, a, b in zip(match, norms, true_norms, strict=True) if m) / self.longest
            scores.append(10 * cosine * math.exp(-((length - true_length) ** 2) / (2 * self.sigma**2)))
        return scores

    def _grams(self, words: Sequence[Hashable]) -> Counter:
        sizes = range(1, self.longest + 1)
        return Counter(tuple(words[i : i + n]) for n in sizes for i in range(len(words) - n + 1))

    def _vector(self, grams: Counter) -> tuple[dict, list[float], int]:
        """n-grams weighted by their rarity, the norm of each length's, and the number of words."""
        vector = {gram: n * self.rarity.get(gram, self.unseen) for gram, n in grams.items()}
        squares = [0.0] * self.longest
        for gram, weight in vector.items():
            squares[len(gram) - 1] += weight**2
        return vector, [math.sqrt(s) for s in squares], sum(n for gram, n in grams.items() if len(gram) == 1)


class SelfCritical:
    """The loss of a batch whose captions the model draws itself, `samples` of each picture, `weight` times.

    The mean over their words of -log p(word) * (the caption's reward - the mean reward of its siblings). Captions are
    drawn without dropout, from torch's own random numbers.
    """

    def __init__(self, reward: Reward, weight: float, samples: int = 5, max_length: int = 21):
        if samples < 2:
            raise ValueError(f"a caption is compared with its siblings: draw at least 2 of each picture, not {samples}")
        self.reward, self.weight, self.samples, self.max_length = reward, weight, samples, max_length

    def __call__(self, model: nn.Module, batch) -> Tensor:
        """A batch with `images` and `image_ids` -> a scalar; the true captions are not looked at."""
        images, was_training = batch.images, model.training
        model.eval()
        with torch.inference_mode():
            drawn = sample(model.decoder, model.regions(images), each=self.samples, max_length=self.max_length)
        model.train(was_training)
        captions = [[START, *hypothesis.ids] for hypothesis in drawn]
        rows = [captions[i : i + self.samples] for i in range(0, len(captions), self.samples)]
        unseen = torch.empty(0)  # the pictures stay where they are
        own = collate([(image, unseen, of_image) for image, of_image in zip(batch.image_ids, rows, strict=True)])
        own = replace(own, images=images).to(images.device)
        logits, _ = model(own.images, own.inputs, own.image_of)
        of_token = F.cross_entropy(logits.float(), own.targets, reduction="none")  # -log p
        caption = torch.cat([torch.arange(running) for running in own.inputs.batch_sizes.tolist()])
        better = self.advantage(own)[caption].to(of_token)
        return self.weight * (better * of_token).mean()

    def advantage(self, own) -> Tensor:
        """How much more than its siblings each caption of a batch scored: (B,), on the CPU."""
        pictures = own.image_of.tolist()
        captions = own.captions[:, 1:].tolist()
        scored = zip(pictures, captions, own.lengths.tolist(), strict=True)
        reward = torch.tensor([float(self.reward(own.image_ids[n], words[:length])) for n, words, length in scored])
        total = torch.zeros(len(own.image_ids)).index_add(0, torch.tensor(pictures), reward)
        return reward - (total[pictures] - reward) / (self.samples - 1)
