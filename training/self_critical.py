"""Learning from one's own captions: one that scores above its siblings becomes likelier, one that scores below less so.

Comes in: a model, a batch of pictures, and a reward: (image id, the ids said) -> a number, such as
`evaluation.cider.CiderD`. Goes out: a loss to add to that of the true words. What it does not know: text, files,
optimizers.

Teacher forcing teaches the next true word; captions are judged whole, and no gradient leads through a score. Drawing
captions gives one all the same (REINFORCE, Williams 1992): self-critical sequence training (Rennie et al. 2017), where
what a caption should have reached is the mean of the other captions drawn of its picture (Luo 2020).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from data_loader import Batch
from decoding.search import sample
from model import Captioner
from models.modes import eval_mode
from training import world
from training.losses import wide
from vocabulary import START

Reward = Callable[[int | str, Sequence[int]], float]


class SelfCritical:
    """The loss of a batch whose captions the model draws itself, `samples` of each picture, `weight` times.

    The mean over their words of -log p(word) * (the caption's reward - the mean reward of its siblings). Captions are
    drawn without dropout, from torch's own random numbers. Of several processes the means average to that of all words.
    """

    def __init__(self, reward: Reward, weight: float, samples: int = 5, max_length: int = 21):
        if samples < 2:
            raise ValueError(f"a caption is compared with its siblings: draw at least 2 of each picture, not {samples}")
        self.reward, self.weight, self.samples, self.max_length = reward, weight, samples, max_length

    def __call__(self, model: Captioner, batch: Batch) -> Tensor:
        """A batch of pictures -> a scalar; the true captions are not looked at."""
        if not batch.image_ids:
            return torch.zeros((), device=batch.captions.device) * world.weight_of(0)
        with eval_mode(model), torch.inference_mode():
            drawn = sample(model.decoder, model.regions(batch), num_samples=self.samples, max_length=self.max_length)
        captions = [[START, *hypothesis.ids] for hypothesis in drawn]
        rows = [captions[i : i + self.samples] for i in range(0, len(captions), self.samples)]
        own = Batch.of(batch.image_ids, rows, batch.pixels, batch.features)
        caption = torch.cat([torch.arange(running) for running in own.inputs.batch_sizes.tolist()])
        better = self.advantage(own)[caption]  # while its captions are on the CPU
        own = own.to(batch.captions.device)
        logits, _ = model(own)
        of_token = F.cross_entropy(wide(logits), own.targets, reduction="none")  # -log p
        better = better.to(of_token, non_blocking=True)
        return self.weight * world.weight_of(len(own.targets)) * (better * of_token).mean()

    def advantage(self, own: Batch) -> Tensor:
        """How much more than its siblings each caption of a batch scored: (B,), on the CPU."""
        pictures = own.image_of.tolist()
        captions = own.captions[:, 1:].tolist()
        scored = zip(pictures, captions, own.lengths.tolist(), strict=True)
        reward = torch.tensor([float(self.reward(own.image_ids[n], words[:length])) for n, words, length in scored])
        total = torch.zeros(len(own.image_ids)).index_add(0, torch.tensor(pictures), reward)
        return reward - (total[pictures] - reward) / (self.samples - 1)
