"""A trained captioner as a folder: saved so that it can be built again from the folder alone.

`model.safetensors` holds the weights, `config.json` how to build the model (picture size and normalisation with it),
`vocabulary.json` the words, `training.pt` what a stopped run needs to go on. Tensors, JSON and plain containers only:
no pickled class is ever saved or loaded. What it does not know: how a model is trained.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from decoders import build
from model import Captioner
from vocabulary import Vocabulary

VERSION = 1


class Checkpoint(NamedTuple):
    """What `load` gives back; `about` is the free part of config.json: dataset, preset, seed, versions, scores."""

    model: Captioner
    vocabulary: Vocabulary
    about: dict


def save(folder: str | Path, model: Captioner, vocabulary: Vocabulary, about: dict | None = None) -> None:
    """Write the checkpoint; each file is complete or not there, also when the machine stops meanwhile."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    weights = {key: value.detach().cpu().contiguous() for key, value in model.state_dict().items()}
    config = {"version": VERSION, "model": model.config, "about": about or {}}
    _replace(folder / "vocabulary.json", vocabulary.save)
    _replace(folder / "config.json", lambda path: path.write_text(json.dumps(config, indent=1), encoding="utf-8"))
    _replace(folder / "model.safetensors", lambda path: save_file(weights, path))


def load(folder: str | Path, device: torch.device | str = "cpu") -> Checkpoint:
    """The model in eval mode, its vocabulary, and what was noted about it.

    Raises FileNotFoundError if the folder or one of its files is missing, ValueError if a file is damaged, of another
    version, or does not fit the others.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(
            f"no checkpoint at {folder}: train one with 2_Training.ipynb or python -m scripts.train"
        )
    for name in ("config.json", "vocabulary.json", "model.safetensors"):
        if not (folder / name).is_file():
            raise FileNotFoundError(f"the checkpoint {folder} is incomplete: {name} is missing; copy or train it again")
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        version = config["version"]
    except (ValueError, KeyError, TypeError):
        raise ValueError(f"{folder / 'config.json'} is not a checkpoint's config: copy or train it again") from None
    if version != VERSION:
        raise ValueError(
            f"{folder} is a checkpoint of version {version}, this project reads version {VERSION}: train it again"
        )
    vocabulary = Vocabulary.load(folder / "vocabulary.json")
    try:
        model = build(config["model"])
        model.load_state_dict(load_file(folder / "model.safetensors"))
    except (SafetensorError, RuntimeError, ValueError, KeyError, TypeError, AttributeError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(
            f"{folder}: weights and config do not fit together ({reason}): copy or train it again"
        ) from None
    if len(vocabulary) != model.decoder.config["vocabulary_size"]:
        raise ValueError(
            f"{folder}: vocabulary.json has {len(vocabulary)} words, the model another number: copy it again"
        )
    return Checkpoint(model.to(device).eval(), vocabulary, config.get("about", {}))


class Keeper:
    """Keeps a run in a folder while `training.fit` works: the best model, and where to go on."""

    def __init__(self, folder: str | Path, vocabulary: Vocabulary, about: dict | None = None):
        self.folder, self.vocabulary, self.about = Path(folder), vocabulary, about

    def save_best(self, model: Captioner) -> None:
        """The model as `load` reads it."""
        save(self.folder, model, self.vocabulary, self.about)

    def load_best(self, model: Captioner) -> None:
        """The best weights so far back into the model."""
        model.load_state_dict(load_file(self.folder / "model.safetensors"))

    def save_training(self, model: Captioner, state: dict) -> None:
        """The newest weights with optimizer, generators, history: all that `fit` needs to go on."""
        self.folder.mkdir(parents=True, exist_ok=True)
        everything = {"model": model.state_dict(), "config": model.config, "words": self.vocabulary.words} | state
        _replace(self.folder / "training.pt", lambda path: torch.save(everything, path))

    def load_training(self, model: Captioner) -> dict | None:
        """The state that `save_training` was given, its weights put into the model; None where there is none.

        Raises ValueError if the file is damaged, or of a run with another model or vocabulary.
        """
        path = self.folder / "training.pt"
        if not path.is_file():
            return None
        try:
            state = torch.load(path, map_location="cpu", weights_only=True)
            config, words = state.pop("config"), state.pop("words")
        except Exception:  # torch raises what it likes for what is not a safe archive
            raise ValueError(f"{path} is damaged or not a run's state: delete it to start the run anew") from None
        if config != model.config or words != self.vocabulary.words:
            raise ValueError(
                f"{self.folder} holds a run of another model or vocabulary: delete it or choose another folder"
            )
        model.load_state_dict(state.pop("model"))
        return state


def _replace(path: Path, write) -> None:
    """Write beside the file, then put it in place in one move."""
    half = path.with_name(path.name + ".part")
    write(half)
    os.replace(half, path)
