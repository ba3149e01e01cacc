"""A model to begin with: what it has learned, and whether its weights mean the same in another one.

Comes in: a checkpoint, and the dataset that a training is to be on. Goes out: its words and weights, or a sentence that
says why not. What it does not know: settings, losses, files.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from model import Captioner
from models import checkpoint
from models.checkpoint import ImageIds
from vocabulary import Vocabulary


@dataclass(frozen=True)
class Begun:
    """The model of the checkpoint `name`; `learned` are the images of the new training's dataset that it has seen."""

    name: str
    model: Captioner
    vocabulary: Vocabulary
    learned: ImageIds

    @classmethod
    def of(cls, name: str, dataset: str) -> Begun:
        """Load it; errors as `checkpoint.load`'s. Datasets are told apart by the names of their folders."""
        loaded = checkpoint.load(name)
        of = loaded.metadata.get("settings", {}).get("dataset", "")
        learned = loaded.images.learned if Path(str(of)).name == Path(dataset).name else ()
        return cls(name, loaded.model, loaded.vocabulary, learned)

    def check_held_out(self, images: Iterable[int | str]) -> None:
        """ValueError if it has learned from pictures that are to be held out."""
        if known := set(images) & set(self.learned):
            raise ValueError(
                f"{self.name} has learned from {len(known)} of the pictures that --hold-out keeps apart: begin with a "
                "model that was trained with the same --hold-out"
            )

    def give_weights_to(self, model: Captioner) -> None:
        """Its weights into a model of the same kind; ValueError names what differs."""
        if differing := differences(self.model.config, model.config):
            raise ValueError(f"{self.name} is another model than these settings describe: {', '.join(differing)}")
        model.load_state_dict(self.model.state_dict())


def differences(one: dict[str, Any], other: dict[str, Any]) -> list[str]:
    """In what two models' configs differ, of that which says what their weights mean: dropout does not."""
    differing = []
    for part in ("encoder", "decoder"):
        a, b = ({k: v for k, v in of[part].items() if k not in ("dropout", "finetune")} for of in (one, other))
        differing += [f"{key} {a.get(key)}, not {b.get(key)}" for key in a | b if a.get(key) != b.get(key)]
    return differing
