"""Unpacks coco.pt of the course EECS 498-007: python -m scripts.convert coco.pt FOLDER

That file holds 10,000 training and 500 validation pictures of 112 pixels with a caption each, already as word ids, and
the words. What comes out is a folder in COCO's own layout, its pictures as PNG, with the file's words in their order as
`vocabulary.json`; from then on a dataset like any other: python -m scripts.train --dataset FOLDER --preset lstm.
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from dataset import files
from dataset.progress import shown
from scripts.ending import one_sentence
from vocabulary import SPECIALS, Vocabulary

THEIRS = ("<NULL>", "<START>", "<END>", "<UNK>")  # our specials, in the same order
UNKNOWN = "unk"  # written where the file has <UNK>; not a word of its vocabulary, so that it becomes <unk> again


def main(arguments: Sequence[str] | None = None) -> None:
    """Reads the command line and converts; the folder is there whole or not at all."""
    parser = argparse.ArgumentParser(prog="python -m scripts.convert", description=__doc__.split("\n\n")[0])
    parser.add_argument("file", type=Path, help="coco.pt")
    parser.add_argument("folder", type=Path, help="is made; must not exist yet")
    options = parser.parse_args(arguments)
    if options.folder.exists():
        raise ValueError(f"{options.folder} exists already: delete it or choose another folder")
    content = read(options.file)
    vocabulary = Vocabulary.from_words([*SPECIALS, *content["vocab"]["idx_to_token"][len(SPECIALS) :]])
    half = options.folder.with_name(options.folder.name + ".part")
    try:
        with files.explained(options.folder):
            number, changed = write(half, content, vocabulary)
            half.rename(options.folder)
    finally:
        shutil.rmtree(half, ignore_errors=True)
    print(f"{options.folder}: {number:,} pictures, {len(vocabulary):,} words")
    if changed:
        print(f"{changed:,} captions are read with other words than the file has: this tokeniser splits them otherwise")


def write(folder: Path, content: dict, vocabulary: Vocabulary) -> tuple[int, int]:
    """The dataset; returns how many pictures it has, and how many captions are read with other words than given."""
    shutil.rmtree(folder, ignore_errors=True)  # left by one that was killed
    (folder / "annotations").mkdir(parents=True)
    number, changed = 0, 0
    for split in ("train", "val"):
        pictures, captions = content[f"{split}_images"], content[f"{split}_captions"]
        texts = [text_of(ids, vocabulary) for ids in captions.tolist()]
        changed += sum(vocabulary.encode(text) != real(ids) for text, ids in zip(texts, captions.tolist(), strict=True))
        write_split(folder, split, pictures, texts, number)
        number += len(pictures)
    vocabulary.save(folder / "vocabulary.json")
    return number, changed


def read(file: Path) -> dict:
    """The content of coco.pt. ValueError if it is something else; nothing in it is run (`weights_only`)."""
    try:
        content = torch.load(file, map_location="cpu", weights_only=True, mmap=True)
    except FileNotFoundError:
        raise
    except Exception:  # torch raises what it likes for what is not a safe archive
        reason = "it is damaged, or holds more than tensors, lists and words"
        raise ValueError(f"{file} is not the course's coco.pt: {reason}") from None
    try:
        words = list(content["vocab"]["idx_to_token"])
        if not all(isinstance(word, str) for word in words):
            raise ValueError("words that are none")
        for split in ("train", "val"):
            pictures, captions = content[f"{split}_images"], content[f"{split}_captions"]
            if pictures.dtype != torch.uint8 or pictures.shape[1] != 3 or len(pictures) != len(captions):
                raise ValueError("pictures that are not bytes (N, 3, H, W), or not a caption each")
            if not (pictures.is_contiguous() and captions.is_contiguous()):  # a few numbers posing as gigabytes
                raise ValueError("tensors larger than what is in the file")
            if pictures.ndim != 4 or captions.ndim != 2 or captions.is_floating_point():
                raise ValueError("pictures or captions of another shape")
            if not 0 <= int(captions.min()) <= int(captions.max()) < len(words):
                raise ValueError("word ids beyond its vocabulary")
    except (ValueError, TypeError, LookupError, AttributeError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"{file} is not the course's coco.pt: it has {reason}") from None
    if tuple(words[: len(THEIRS)]) != THEIRS or UNKNOWN in words:
        raise ValueError(f"{file}: its vocabulary does not begin with {' '.join(THEIRS)}, or has the word {UNKNOWN!r}")
    return content


def real(ids: list[int]) -> list[int]:
    """The ids up to `<END>`, without the padding after it."""
    return ids[: ids.index(Vocabulary.end) + 1] if Vocabulary.end in ids else [i for i in ids if i != Vocabulary.pad]


def text_of(ids: list[int], vocabulary: Vocabulary) -> str:
    """The caption that the ids spell."""
    return vocabulary.decode(ids).replace(SPECIALS[Vocabulary.unk], UNKNOWN)


def write_split(folder: Path, split: str, pictures: Tensor, captions: list[str], first: int) -> None:
    """PNG files `<split>/<number>.png` and `annotations/captions_<split>.json`; ids count on from `first`."""
    (folder / split).mkdir()
    images, annotations = [], []
    for i, (picture, caption) in enumerate(zip(shown(pictures, split, "picture"), captions, strict=True)):
        number, name = first + i + 1, f"{first + i + 1:06d}.png"
        Image.fromarray(picture.permute(1, 2, 0).numpy()).save(folder / split / name)
        height, width = picture.shape[1:]
        images.append({"id": number, "file_name": name, "height": height, "width": width})
        annotations.append({"id": number, "image_id": number, "caption": caption})
    content = json.dumps({"images": images, "annotations": annotations})
    files.write(folder / "annotations" / f"captions_{split}.json", content)


if __name__ == "__main__":
    with one_sentence():
        main()
