"""A trained captioner as a folder: saved so that it can be built again from the folder alone.

`model.safetensors` holds the weights, `config.json` how to build the model (picture size and normalisation with it),
`vocabulary.json` the words, `training.pt` what a stopped run needs to go on. Tensors, JSON and plain containers only:
no pickled class is ever saved or loaded. What it does not know: how a model is trained.
"""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import safe_open
from safetensors.torch import load_file
from safetensors.torch import save as to_bytes

from dataset import files
from model import Captioner, EncoderCNN
from models.decoders import build
from vocabulary import Vocabulary

VERSION = 1
# Settings that may differ when a run goes on: how long it learns, and where the dataset lies, told by its fingerprint.
FREE = ("dataset", "epochs", "tune_epochs", "patience")
LARGEST = {"image_size": 2048, "grid": 64, "layers": 64}  # settings that cost memory or time, whatever the weights are


class Checkpoint(NamedTuple):
    """What `load` gives back; `metadata` is the free part of config.json: dataset, preset, seed, versions, scores."""

    model: Captioner
    vocabulary: Vocabulary
    metadata: dict


def save(folder: str | Path, model: Captioner, vocabulary: Vocabulary, metadata: dict | None = None) -> None:
    """Write the checkpoint, whole or not at all; OSError names the file that could not be written, and what to do."""
    folder = Path(folder)
    weights = {key: value.detach().cpu().contiguous() for key, value in model.state_dict().items()}
    config = {"version": VERSION, "model": model.config, "words": vocabulary.fingerprint, "metadata": metadata or {}}
    files.write_all(
        {
            folder / "vocabulary.json": vocabulary.to_json(),
            folder / "config.json": json.dumps(config, indent=1),
            folder / "model.safetensors": to_bytes(weights),
        }
    )


def load(folder: str | Path, device: torch.device | str = "cpu") -> Checkpoint:
    """The model in eval mode, its vocabulary, and what was noted about it.

    Raises FileNotFoundError if the folder or one of its files is missing, ValueError if a file is damaged, of another
    version, or does not fit the others. The folder may be anybody's: nothing in it is run, and it gets no more memory
    than its weights take.
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
    except (ValueError, KeyError, TypeError, RecursionError):
        raise ValueError(f"{folder / 'config.json'} is not a checkpoint's config: copy or train it again") from None
    if version != VERSION:
        raise ValueError(
            f"{folder} is a checkpoint of version {version}, this project reads version {VERSION}: train it again"
        )
    vocabulary = Vocabulary.load(folder / "vocabulary.json")
    try:
        _check_sizes(config["model"], folder / "model.safetensors")
        model = build(config["model"])
        model.load_state_dict(load_file(folder / "model.safetensors"))
    except Exception as error:  # torch raises what it likes for numbers and tensors that make no sense
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise ValueError(
            f"{folder}: weights and config do not fit together ({reason}): copy or train it again"
        ) from None
    if len(vocabulary) != model.decoder.config["vocabulary_size"]:
        raise ValueError(
            f"{folder}: vocabulary.json has {len(vocabulary)} words, the model another number: copy it again"
        )
    if config.get("words", vocabulary.fingerprint) != vocabulary.fingerprint:
        raise ValueError(f"{folder}: vocabulary.json holds other words than the model learned: copy it again")
    return Checkpoint(model.to(device).eval(), vocabulary, config.get("metadata", {}))


def _check_sizes(config: dict, weights: Path) -> None:
    """ValueError if the model would be larger than its weights, found out before any of it takes memory.

    So it is built without memory first, all but a RegNet, which reckons with tensors while it is built.
    """
    for part in (config["encoder"], config["decoder"]):
        for name, most in LARGEST.items():
            if (part.get(name) or 0) > most:
                raise ValueError(f"{name} is {part[name]}, more than {most}")
    if "weights" in config["encoder"]:
        raise ValueError("its encoder asks for weights from elsewhere")
    with torch.device("meta"):
        sketch = build(config | {"encoder": {}}).decoder.state_dict(prefix="decoder.")
        with contextlib.suppress(NotImplementedError):
            sketch |= EncoderCNN(**config["encoder"]).state_dict(prefix="encoder.")
    with safe_open(weights, "pt") as content:
        shapes = {key: content.get_slice(key).get_shape() for key in content.keys()}  # noqa: SIM118
    for key, value in sketch.items():
        if shapes.get(key) != list(value.shape):
            raise ValueError(f"{key} is {shapes.get(key)} in the weights and {list(value.shape)} in the config")


class RunCheckpoint:
    """Keeps a run in a folder while `training.fit` works: the best model, and where to go on."""

    def __init__(self, folder: str | Path, vocabulary: Vocabulary, metadata: dict | None = None):
        self.folder, self.vocabulary, self.metadata = Path(folder), vocabulary, metadata

    def save_best(self, model: Captioner) -> None:
        """The model as `load` reads it."""
        save(self.folder, model, self.vocabulary, self.metadata)

    def load_best(self, model: Captioner) -> None:
        """The best weights so far back into the model."""
        model.load_state_dict(load_file(self.folder / "model.safetensors"))

    def save_training(self, model: Captioner, state: dict) -> None:
        """The newest weights with optimizer, generators, history: all that `fit` needs to go on."""
        everything = {"model": model.state_dict(), "config": model.config, "words": self.vocabulary.words}
        everything |= {"of": self._of()} | state
        content = io.BytesIO()
        torch.save(everything, content)
        files.write(self.folder / "training.pt", content.getvalue())

    def load_training(self, model: Captioner) -> dict | None:
        """The state that `save_training` was given, its weights put into the model; None where there is none.

        Raises ValueError if the file is damaged, or of a run with another model, vocabulary, dataset, seed or settings.
        """
        path = self.folder / "training.pt"
        if not path.is_file():
            return None
        try:
            state = torch.load(path, map_location="cpu", weights_only=True)
            config, words, of = state.pop("config"), state.pop("words"), list(state.pop("of", ()))
        except Exception:  # torch raises what it likes for what is not a safe archive
            raise ValueError(f"{path} is damaged or not a run's state: delete it to start the run anew") from None
        for same, what in (
            (config == model.config, "model"),
            (words == self.vocabulary.words, "vocabulary"),
            (
                of == self._of()[: len(of)],
                "dataset, seed or settings",
            ),  # older files have only the first of these, or none
        ):
            if not same:
                raise ValueError(f"{self.folder} holds a run of another {what}: delete it or choose another folder")
        model.load_state_dict(state.pop("model"))
        return state

    def _of(self) -> list:
        """What a run must have in common with the one it goes on with."""
        metadata = self.metadata or {}
        settings = {key: value for key, value in metadata.get("settings", {}).items() if key not in FREE}
        return [metadata.get("dataset"), metadata.get("seed"), settings, metadata.get("begun_with")]
