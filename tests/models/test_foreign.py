"""What a user relies on who names what is no checkpoint: a sentence with what it is, and what is wanted."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from models.checkpoint import RunCheckpoint, load, save

WEIGHTS = {"embedding.weight": torch.zeros(3, 2)}
TENSORFLOW = b"\x08\x07\x12\x07pytorch\x1a\x052.1.0"
HDF5 = b"\x89HDF\r\n\x1a\n" + bytes(88)


@pytest.mark.parametrize(
    ("name", "content", "what"),
    [
        ("BEST_checkpoint_coco_5_cap_per_img_5_min_word_freq.pth.tar", None, "is a file of PyTorch, which"),
        ("decoder-5-3000.ckpt", None, "is a file of PyTorch, which"),
        ("model.safetensors", None, "is a file of weights alone, which"),
        ("model-ep005-loss3.5-val_loss3.8.h5", HDF5, r"is a file of Keras \(HDF5\), which"),
        ("weights", HDF5, r"is a file of Keras \(HDF5\), which"),
        ("captioner.onnx", TENSORFLOW, "is a model in ONNX, which"),
        ("tokenizer.pkl", b"\x80\x04K\x01.", "is a pickle, which"),
        ("holiday.jpg", b"\xff\xd8\xff", "is a file of another kind, which"),
    ],
)
def test_another_projects_file_is_named_for_what_it_is(tmp_path, name, content, what):
    if name.endswith(".safetensors"):
        save_file(WEIGHTS, tmp_path / name)
    elif content is None:
        torch.save({"epoch": 5, "decoder": WEIGHTS}, tmp_path / name)
    else:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(
        ValueError, match=f"{name}.* {what} this project does not load: a checkpoint is a folder"
    ) as told:
        load(tmp_path / name)
    assert ("--weights FILE" in str(told.value)) == (content is None)  # what an encoder may begin with


def blip(folder: Path) -> None:
    config = {"architectures": ["BlipForConditionalGeneration"], "model_type": "blip", "torch_dtype": "float32"}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "preprocessor_config.json").write_text("{}")
    save_file(WEIGHTS, folder / "model.safetensors")


def tutorial(folder: Path) -> None:
    for name in ("encoder-5-3000.pkl", "decoder-5-3000.pkl"):
        torch.save(WEIGHTS, folder / name)
    (folder / "vocab.pkl").write_bytes(b"\x80\x04K\x01.")


def tensorflow(folder: Path) -> None:
    (folder / "variables").mkdir()
    (folder / "saved_model.pb").write_bytes(b"\x08\x01")


@pytest.mark.parametrize(
    ("make", "what"),
    [
        (blip, r"is a model of the library transformers \(blip\), which is not loaded here"),
        (tutorial, r"holds decoder-5-3000\.pkl, a pickle, which this project does not load"),
        (tensorflow, r"holds saved_model\.pb, a model of TensorFlow, which"),
    ],
)
def test_another_projects_folder_is_named_for_what_it_is(tmp_path, make, what):
    make(tmp_path)
    with pytest.raises(ValueError, match=f"{what}.*: a checkpoint is a folder with config.json, vocabulary.json and"):
        load(tmp_path)


def test_a_level_too_high_or_too_deep_is_answered_with_the_right_folder(captioner, vocabulary, tmp_path):
    save(tmp_path / "sample/model", captioner(), vocabulary)
    with pytest.raises(ValueError, match=r"sample is no checkpoint, but holds 1: did you mean .*sample/model\?"):
        load(tmp_path / "sample")
    with pytest.raises(ValueError, match=r"a checkpoint is a folder: did you mean .*sample/model\?"):
        load(tmp_path / "sample/model/config.json")
    with pytest.raises(ValueError, match=r"is no checkpoint, but holds 1: did you mean .*sample/model\?"):
        load(tmp_path)
    with pytest.raises(
        FileNotFoundError, match=r"no checkpoint at .*modle: did you mean .*sample/model\? Or train one"
    ):
        load(tmp_path / "sample/modle")
    shutil.copytree(tmp_path / "sample/model", tmp_path / "sample/lstm")
    with pytest.raises(ValueError, match=r"holds 2: name one of .*sample/lstm, .*sample/model$"):
        load(tmp_path / "sample")


def test_a_run_that_was_stopped_in_its_first_epoch_is_gone_on_with(captioner, vocabulary, tmp_path):
    RunCheckpoint(tmp_path, vocabulary).save_training(captioner(), {})
    with pytest.raises(ValueError, match="was stopped in its first epoch: give its command again, and it goes on"):
        load(tmp_path)
