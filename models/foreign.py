"""What a path is that is no checkpoint of this project: a sentence with what it is, and what is wanted.

Comes in: a path. Goes out: text. Nothing is loaded; a few bytes and a small JSON file are looked at.
"""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path

from dataset import files

WANTED = (
    "a checkpoint is a folder with config.json, vocabulary.json and model.safetensors, as 2_Training.ipynb and "
    "python -m scripts.train leave it"
)
ENCODER = "the weights of its encoder alone may serve as scripts.train --encoder NAME --weights FILE"
STARTS = {  # of files
    b"\x89HDF\r\n\x1a\n": "a file of Keras (HDF5)",
    b"\x80": "a pickle, as older PyTorch and scikit-learn save",
}
SUFFIXES = {
    ".h5": "a file of Keras (HDF5)",
    ".hdf5": "a file of Keras (HDF5)",
    ".keras": "a model of Keras",
    ".onnx": "a model in ONNX",
    ".pb": "a model of TensorFlow",
    ".tflite": "a model of TensorFlow Lite",
    ".gguf": "a model in GGUF",
    ".safetensors": "a file of weights alone",
    **dict.fromkeys((".pth", ".pt", ".tar", ".ckpt", ".bin"), "a file of PyTorch"),
    **dict.fromkeys((".pkl", ".pickle", ".p"), "a pickle"),
}


def describe_file(path: Path, names: tuple[str, ...]) -> str:
    """Of a file given as a checkpoint: what it is. `names` are the files of a checkpoint."""
    if path.name in (*names, "training.pt", "history.json") and is_complete(path.parent, names):
        return f"{path} is a file, a checkpoint is a folder: did you mean {path.parent}?"
    what = kind(path)
    if path.suffix.lower() == ".zip":
        return f"{path} is a file, a checkpoint is a folder: unpack it first"
    further = f"; {ENCODER}" if "PyTorch" in what or "weights" in what else ""
    return f"{path} is {what}, which this project does not load: {WANTED}{further}"


def describe_folder(folder: Path, names: tuple[str, ...]) -> str | None:
    """Of a folder that lacks files of a checkpoint: what it is instead, if that can be told."""
    configs = [*folder.glob("*/config.json"), *folder.glob("*/*/config.json")]
    inside = sorted(path.parent for path in configs if is_complete(path.parent, names))
    if inside:
        which = f"did you mean {inside[0]}?" if len(inside) == 1 else f"name one of {', '.join(map(str, inside[:5]))}"
        return f"{folder} is no checkpoint, but holds {len(inside)}: {which}"
    if (folder / "training.pt").is_file():
        return f"{folder} is a run that was stopped in its first epoch: give its command again, and it goes on"
    if isinstance(name := files.read_dict(folder / "config.json").get("model_type"), str):
        return f"{folder} is a model of the library transformers ({name[:60]}), which is not loaded here: {WANTED}"
    foreign = sorted(path for path in folder.iterdir() if path.is_file() and path.suffix.lower() in SUFFIXES)
    if foreign and not any((folder / name).is_file() for name in names):
        return f"{folder} holds {foreign[0].name}, {kind(foreign[0])}, which this project does not load: {WANTED}"
    return None


def near(folder: Path) -> str:
    """Of a folder that is not there: the one beside it whose name is alike, as the end of a sentence; else nothing."""
    beside = {path.parent.name: path.parent for path in folder.parent.glob("*/config.json")}
    close = get_close_matches(folder.name, beside, n=1)
    return f"did you mean {beside[close[0]]}? Or " if close else ""


def is_complete(folder: Path, names: tuple[str, ...]) -> bool:
    """Whether a folder has all files of a checkpoint."""
    return all((folder / name).is_file() for name in names)


def kind(path: Path) -> str:
    """What a file is, by its first bytes and the end of its name."""
    with open(path, "rb") as file:
        start = file.read(8)
    found = next((what for magic, what in STARTS.items() if start.startswith(magic)), None)
    return SUFFIXES.get(path.suffix.lower()) or found or "a file of another kind"
