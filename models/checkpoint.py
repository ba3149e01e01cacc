"""A trained captioner as a folder: saved so that it can be built again from the folder alone.

`model.safetensors` holds the weights, `config.json` how to build the model (picture size and normalisation with it),
how long its captions may be, and what was noted about it, `vocabulary.json` the words, `training_images.json` which
images it learned from, `training.pt` what a stopped run needs to go on. Tensors, JSON and plain containers only: no
pickled class is ever saved or loaded. What it does not know: how a model is trained.
"""

from __future__ import annotations

import io
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file
from safetensors.torch import save as to_bytes

from dataset import files
from model import Captioner, EncoderCNN
from models import foreign
from models.decoders import build
from models.hub import MissingPackage, fetch
from vocabulary import Vocabulary

VERSION = 2
FILES = ("config.json", "vocabulary.json", "model.safetensors", "training_images.json")
# Settings that may differ when a run goes on: how long it learns, and where the dataset lies, told by its fingerprint.
FREE = ("dataset", "epochs", "tune_epochs", "patience")
LARGEST = {"image_size": 2048, "grid": 64, "layers": 64}  # settings that cost memory or time, whatever the weights are
LONGEST = 1000  # ids of a caption
USUAL_LENGTH = 20  # ids of a caption of a model that nobody has set a limit for

ImageIds = tuple[int | str, ...]


@dataclass(frozen=True)
class TrainingImages:
    """Which images of the training split a model learned from, and which were held out; empty: nobody has noted it."""

    learned: ImageIds = ()
    held_out: ImageIds = ()

    @classmethod
    def from_json(cls, text: str) -> TrainingImages:
        """Read what `to_json` gives; ValueError if it is something else."""
        content = json.loads(text)
        if not isinstance(content, dict) or set(content) != {"learned", "held_out"}:
            raise ValueError("it is not an object with the lists learned and held_out")
        for ids in content.values():
            if not isinstance(ids, list) or any(type(i) not in (int, str) for i in ids):
                raise ValueError("its image ids are not numbers and names")
        return cls(tuple(content["learned"]), tuple(content["held_out"]))

    def to_json(self) -> str:
        """As JSON, in one line: COCO has 113,287 of them."""
        return json.dumps({"learned": self.learned, "held_out": self.held_out}, separators=(",", ":"))


@dataclass(frozen=True)
class Checkpoint:
    """What `load` gives back; `metadata` is the free part of config.json: dataset, preset, seed, versions, scores."""

    model: Captioner
    vocabulary: Vocabulary
    metadata: dict[str, Any] = field(default_factory=dict)
    max_length: int = USUAL_LENGTH  # ids that its captions may have, `<end>` counted: as long as those it learned from
    images: TrainingImages = TrainingImages()


def save(
    folder: str | Path,
    model: Captioner,
    vocabulary: Vocabulary,
    metadata: dict[str, Any] | None = None,
    *,
    max_length: int = USUAL_LENGTH,
    images: TrainingImages = TrainingImages(),
) -> None:
    """Write the checkpoint, whole or not at all; OSError names the file that could not be written, and what to do.

    Raises ValueError if `max_length` is not 1 to 1000.
    """
    if not 1 <= max_length <= LONGEST:
        raise ValueError(f"max_length must be 1 to {LONGEST} ids, not {max_length}")
    folder = Path(folder)
    # copies, as safetensors refuses tensors that are one
    weights = {key: value.detach().to("cpu", copy=True).contiguous() for key, value in model.state_dict().items()}
    config = {"version": VERSION, "model": model.config, "words": vocabulary.fingerprint}
    config |= {"max_length": max_length, "metadata": metadata or {}}
    files.write_all(
        {
            folder / "vocabulary.json": vocabulary.to_json(),
            folder / "training_images.json": images.to_json(),
            folder / "config.json": json.dumps(config, indent=1),
            folder / "model.safetensors": to_bytes(weights),
        }
    )


def load(folder: str | Path, device: torch.device | str = "cpu") -> Checkpoint:
    """The model in eval mode, its vocabulary, and what was noted about it; "hf:OWNER/NAME[@REVISION]" is on the Hub.

    Raises FileNotFoundError if the folder or one of its files is missing, ValueError if a file is damaged, of another
    version, or does not fit the others. The folder may be anybody's: nothing in it is run, and it gets no more memory
    than its weights take. MissingPackage (an OSError) if its encoder is timm's, which is not installed.
    """
    folder = fetch(folder, FILES) if isinstance(folder, str) and folder.startswith("hf:") else Path(folder)
    config = _read_config(folder)
    vocabulary = Vocabulary.load(folder / "vocabulary.json")
    try:
        images = TrainingImages.from_json((folder / "training_images.json").read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(
            f"{folder / 'training_images.json'} is damaged ({reason}): copy or train the checkpoint again"
        ) from None
    try:
        _check_sizes(config["model"], folder / "model.safetensors")
        model = build(config["model"])
        model.load_state_dict(load_file(folder / "model.safetensors"))
    except MissingPackage:  # the folder is as it should be
        raise
    except Exception as error:  # torch raises what it likes for numbers and tensors that make no sense
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise ValueError(
            f"{folder}: weights and config do not fit together ({reason}): copy or train it again"
        ) from None
    if len(vocabulary) != model.config["decoder"]["vocabulary_size"]:
        raise ValueError(
            f"{folder}: vocabulary.json has {len(vocabulary)} words, the model another number: copy it again"
        )
    if config.get("words") != vocabulary.fingerprint:
        raise ValueError(f"{folder}: vocabulary.json holds other words than the model learned: copy it again")
    return Checkpoint(model.to(device).eval(), vocabulary, config["metadata"], config["max_length"], images)


def _read_config(folder: Path) -> dict[str, Any]:
    """config.json of a checkpoint that is complete and of this version; errors as `load`'s."""
    if folder.is_file():
        raise ValueError(foreign.describe_file(folder, FILES))
    if not folder.is_dir():
        raise FileNotFoundError(
            f"no checkpoint at {folder}: {foreign.near(folder)}train one with 2_Training.ipynb or python -m "
            "scripts.train"
        )
    if not foreign.is_complete(folder, FILES) and (other := foreign.describe_folder(folder, FILES)):
        raise ValueError(other)
    path = folder / "config.json"
    strange = f"{path} is not a checkpoint's config: copy or train it again"
    if path.is_file():
        try:
            config = json.loads(path.read_text(encoding="utf-8"))
            version = config["version"]
        except (ValueError, KeyError, TypeError, RecursionError):
            raise ValueError(strange) from None
        if version != VERSION:
            raise ValueError(
                f"{folder} is a checkpoint of version {version}, this project reads version {VERSION}: train it again"
            )
    for name in FILES:
        if not (folder / name).is_file():
            raise FileNotFoundError(f"the checkpoint {folder} is incomplete: {name} is missing; copy or train it again")
    max_length, metadata = config.get("max_length"), config.get("metadata")
    if type(max_length) is not int or not 1 <= max_length <= LONGEST or not isinstance(metadata, dict):
        raise ValueError(strange)
    return config


def _check_sizes(config: dict[str, Any], weights: Path) -> None:
    """ValueError if the model would be larger than its weights, found out before any of it takes memory.

    So it is built without memory first, all but networks that reckon with tensors while they are built, as RegNet.
    """
    for part in (config["encoder"], config["decoder"]):
        for name, most in LARGEST.items():
            if (part.get(name) or 0) > most:
                raise ValueError(f"{name} is {part[name]}, more than {most}")
    if "weights" in config["encoder"]:
        raise ValueError("its encoder asks for weights from elsewhere")
    with torch.device("meta"):
        sketch = build(config | {"encoder": {}}).decoder.state_dict(prefix="decoder.")
        try:
            sketch |= EncoderCNN(**config["encoder"]).state_dict(prefix="encoder.")
        except RuntimeError as error:
            if "meta tensor" not in str(error):
                raise
    with safe_open(weights, "pt") as content:
        shapes = {key: content.get_slice(key).get_shape() for key in content.keys()}  # noqa: SIM118
    for key, value in sketch.items():
        if shapes.get(key) != list(value.shape):
            raise ValueError(f"{key} is {shapes.get(key)} in the weights and {list(value.shape)} in the config")


class RunCheckpoint:
    """Keeps a run in a folder while `training.fit` works: the best model, as `save` does, and where to go on."""

    def __init__(
        self,
        folder: str | Path,
        vocabulary: Vocabulary,
        metadata: dict[str, Any] | None = None,
        *,
        max_length: int = USUAL_LENGTH,
        images: TrainingImages = TrainingImages(),
        before: int | None = None,
    ):
        """As for `save`; `before` is of how many epochs the stage before was, if there was one."""
        self.folder, self.vocabulary, self.metadata = Path(folder), vocabulary, metadata or {}
        self.max_length, self.images, self.before = max_length, images, before

    def save_best(self, model: Captioner) -> None:
        """The model as `load` reads it."""
        save(self.folder, model, self.vocabulary, self.metadata, max_length=self.max_length, images=self.images)

    def load_best(self, model: Captioner) -> None:
        """The best weights so far back into the model."""
        path = self.folder / "model.safetensors"
        try:
            model.load_state_dict(load_file(path))
        except Exception as error:  # safetensors and torch raise what they like
            reason = (str(error) or type(error).__name__).splitlines()[0]
            raise ValueError(f"{path} is damaged ({reason}): delete {self.folder} to start the run anew") from None

    def check_free(self) -> None:
        """ValueError if another run's model is in the folder, but not what that needs to go on: it would be lost."""
        if (self.folder / "training.pt").exists() or not (self.folder / "model.safetensors").exists():
            return
        try:
            of = _made_of(json.loads((self.folder / "config.json").read_text(encoding="utf-8"))["metadata"])
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            of = []
        if of != _made_of(self.metadata):
            raise ValueError(
                f"{self.folder} holds another run's model, which training would replace: choose another --name, "
                "or move it away"
            )

    def save_training(self, model: Captioner, state: dict[str, Any]) -> None:
        """The newest weights with optimizer, generators, history: all that `fit` needs to go on."""
        everything = {"model": model.state_dict(), "config": model.config, "words": self.vocabulary.words}
        everything |= {"of": self._of()} | state
        content = io.BytesIO()
        torch.save(everything, content)
        files.write(self.folder / "training.pt", content.getvalue())

    def load_training(self, model: Captioner) -> dict[str, Any] | None:
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
        own = self._of()
        same = {
            "model": config == model.config,
            "vocabulary": words == self.vocabulary.words,
            "dataset, seed or settings": of[:4] == own[:4][: len(of)],  # older files have only the first, or none
            "number of --epochs before the encoder learned": of[4:] == own[4:][: len(of[4:])],
        }
        for what, agrees in same.items():
            if not agrees:
                raise ValueError(f"{self.folder} holds a run of another {what}: delete it or choose another folder")
        model.load_state_dict(state.pop("model"))
        return state

    def _of(self) -> list:
        """What a run must have in common with the one it goes on with."""
        return [*_made_of(self.metadata), self.before]


def _made_of(metadata: dict[str, Any]) -> list:
    """What a run was made of, by its metadata: the same wherever its folder lies."""
    settings = {key: value for key, value in metadata.get("settings", {}).items() if key not in FREE}
    if "small_cnn-" in str(settings.get("weights")):  # which the run has pre-trained, among the other runs
        settings["weights"] = Path(settings["weights"]).name
    return [*map(metadata.get, ("dataset", "seed")), settings, metadata.get("begun_with")]
