"""How good are captions? The field's scores against people's captions, with intervals, and a test of a difference.

Comes in: captions and references as text, by image id. Goes out: BLEU, ROUGE-L and CIDEr-D as COCO's evaluation counts
them (pycocoevalcap's scorers over `vocabulary.tokenize`, without Java), with 95 % intervals; METEOR and SPICE where
Java and their data are there; what the captions are like beside that. What it does not know: models, tensors, pictures,
and whether a caption is true (evaluation/truth.py).
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import numpy as np
from pycocoevalcap.bleu.bleu_scorer import BleuScorer
from pycocoevalcap.cider.cider import Cider
from pycocoevalcap.rouge.rouge import Rouge

from dataset import files
from vocabulary import tokenize

Id = int | str


class Score(NamedTuple):
    """A score and half the width of its 95 % interval."""

    value: float
    margin: float

    def __str__(self) -> str:
        return f"{self.value:.3f} ± {self.margin:.3f}"


@dataclass(frozen=True)
class Statistics:
    """What every image contributes to the scores, N rows in the order of `ids`.

    A set's scores follow from the sums of these rows, so that a resampled set is one product with a matrix.
    """

    ids: list[Id]
    bleu: np.ndarray  # (N, 10): the caption's words, the closest reference's; n-grams said and those found, n = 1 to 4
    rouge: np.ndarray  # (N,)
    cider: np.ndarray  # (N,), under the document frequencies of the whole set

    def scores(self, weights: np.ndarray | None = None) -> dict[str, np.ndarray]:
        """The scores of the set in which image i occurs weights[..., i] times; of the set itself without weights."""
        weights = np.ones(len(self.ids)) if weights is None else weights
        images = weights.sum(-1)
        names = [f"BLEU-{n}" for n in range(1, 5)]
        return dict(zip(names, _bleu(weights @ self.bleu), strict=True)) | {
            "ROUGE-L": weights @ self.rouge / images,
            "CIDEr-D": weights @ self.cider / images,
        }


def _bleu(sums: np.ndarray) -> list[np.ndarray]:
    """BLEU-1 to 4 (Papineni et al. 2002) from summed counts (..., 10), rounded as pycocoevalcap's scorer does."""
    said, meant, guessed, found = sums[..., 0], sums[..., 1], sums[..., 2:6], sums[..., 6:10]
    precision = (found + 1e-15) / (guessed + 1e-9)
    brevity = np.exp(np.minimum(0, 1 - (meant + 1e-9) / (said + 1e-15)))
    return [precision[..., :n].prod(-1) ** (1 / n) * brevity for n in range(1, 5)]


def statistics(captions: Mapping[Id, str], references: Mapping[Id, Sequence[str]]) -> Statistics:
    """Count what the scores need: captions by image id against all references of these images.

    Raises ValueError if there are none, or if an image has no reference.
    """
    said, true = _tokenized(captions, references)
    bleu = BleuScorer(n=4)
    for image in said:
        bleu += (said[image][0], true[image])
    rows = [
        (c["testlen"], min((abs(n - c["testlen"]), n) for n in c["reflen"])[1], *c["guess"], *c["correct"])
        for c in bleu.ctest
    ]
    _, rouge = Rouge().compute_score(true, said)
    # the length of the set is the base of the document frequencies' logarithm: a single image scores zero
    _, cider = Cider().compute_score(true, said)
    return Statistics(list(said), np.array(rows, float), np.asarray(rouge), np.asarray(cider))


def _tokenized(captions: Mapping[Id, str], references: Mapping[Id, Sequence[str]]) -> tuple[dict, dict]:
    """Captions and references as the scorers want them: image id -> a list of texts, words between single blanks."""
    if not captions:
        raise ValueError("there are no captions to score")
    for image in captions:
        if not references.get(image):
            raise ValueError(f"image {image} has a caption but no references: nothing to score it against")
    said = {image: [" ".join(tokenize(caption))] for image, caption in captions.items()}
    return said, {image: [" ".join(tokenize(c)) for c in references[image]] for image in captions}


# -------------------------------------------------------------------------------------------------------- intervals


def bootstrap(
    measured: Statistics,
    other: Statistics | None = None,
    *,
    resamples: int = 1000,
    seed: int = 0,
) -> dict[str, Score]:
    """Every score with its 95 % interval over images; of the difference `measured` - `other`, if there is another.

    The set is drawn anew `resamples` times, its images with replacement (Efron 1979; for BLEU: Koehn 2004); the margin
    is 1.96 standard deviations of the redrawn scores, the reported score stands in its middle. Two systems are compared
    on the same draws. Raises ValueError if they did not caption the same images.
    """
    images = len(measured.ids)
    if other is not None and other.ids != measured.ids:
        if set(other.ids) != set(measured.ids):
            raise ValueError("the two results are not of the same images: no paired comparison")
        row = {image: i for i, image in enumerate(other.ids)}
        order = [row[image] for image in measured.ids]
        other = Statistics(measured.ids, other.bleu[order], other.rouge[order], other.cider[order])
    weights = np.random.default_rng(seed).multinomial(images, np.full(images, 1 / images), size=resamples).astype(float)
    value, drawn = measured.scores(), measured.scores(weights)
    if other is not None:
        value = {name: value[name] - score for name, score in other.scores().items()}
        drawn = {name: drawn[name] - score for name, score in other.scores(weights).items()}
    return {name: Score(float(value[name]), float(1.96 * drawn[name].std())) for name in value}


def describe_difference(name: str, difference: Score) -> str:
    """What a difference means, in a sentence."""
    if abs(difference.value) <= difference.margin:
        return f"{name}: {difference.value:+.3f} ± {difference.margin:.3f}, no difference that means anything"
    return f"{name}: {difference.value:+.3f} ± {difference.margin:.3f}, {'better' if difference.value > 0 else 'worse'}"


# ------------------------------------------------------------------------------------------------- with Java: METEOR


_METEOR = """
meteor = Meteor()
def evaluated(rows):  # the score of the set with these rows: the last of the lines that come back
    meteor.meteor_p.stdin.write((" ||| ".join(["EVAL", *rows]) + "\\n").encode())
    meteor.meteor_p.stdin.flush()
    return [float(meteor.meteor_p.stdout.readline()) for _ in range(len(rows) + 1)][-1]
rows = [meteor._stat(said[image][0], true[image]) for image in said]
draws = np.random.default_rng(0).integers(len(rows), size=(200, len(rows)))
print(json.dumps([evaluated(rows), 1.96 * np.std([evaluated([rows[i] for i in draw]) for draw in draws])]))
"""
_SPICE = """
score, scores = Spice().compute_score(true, said)
each = [row["All"]["f"] for row in scores]
print(json.dumps([float(score), 1.96 * np.std(each) / len(each) ** 0.5]))
"""
_HEAD = "import json, sys\nimport numpy as np\nfrom pycocoevalcap.{} import {}\ntrue, said = json.load(sys.stdin)"
JAVA = {  # what must be there beside pycocoevalcap, and what a process of its own runs
    "METEOR": ("meteor/meteor-1.5.jar", _HEAD.format("meteor.meteor", "Meteor") + _METEOR),
    "SPICE": ("spice/lib/stanford-corenlp-3.6.0-models.jar", _HEAD.format("spice.spice", "Spice") + _SPICE),
}


def java_score(
    name: str, captions: Mapping[Id, str], references: Mapping[Id, Sequence[str]], *, seconds: float = 600
) -> Score | str:
    """METEOR or SPICE of a set, by pycocoevalcap and Java in a process of their own; or a line saying what is missing.

    After `seconds` that process and its Java are stopped. SPICE needs Stanford's models (once, over the network:
    `python -c "from pycocoevalcap.spice.spice import Spice; Spice()"`).
    """
    data, program = JAVA[name]
    if shutil.which("java") is None:
        return f"{name} needs Java: no `java` was found"
    home = Path(next(iter(find_spec("pycocoevalcap").submodule_search_locations)))
    if not (home / data).exists():
        return f"{name} needs {data} beside pycocoevalcap: it is not there"
    said, true = _tokenized(captions, references)
    keys = {image: str(i) for i, image in enumerate(said)}
    content = json.dumps([{keys[i]: c for i, c in table.items()} for table in (true, said)])
    child = subprocess.Popen(
        [sys.executable, "-c", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,  # so that its Java can be stopped with it
    )
    try:
        out, complaint = child.communicate(content, timeout=seconds)
    except BaseException as error:  # Ctrl-C, too: the child is in a session of its own and does not hear it
        with contextlib.suppress(ProcessLookupError):  # it may have ended just now
            if hasattr(os, "killpg"):
                os.killpg(child.pid, signal.SIGKILL)
            else:  # Windows, where its Java ends when nobody asks it any more
                child.kill()
        child.communicate()
        if not isinstance(error, subprocess.TimeoutExpired):
            raise
        return f"{name} was stopped after {seconds:.0f} seconds"
    if child.returncode:
        return f"{name} failed: {complaint.strip().splitlines()[-1] if complaint.strip() else child.returncode}"
    return Score(*json.loads(out.strip().splitlines()[-1]))


# ---------------------------------------------------------------------------------------------- what they are like


def caption_statistics(
    captions: Mapping[Id, str], words: Iterable[str], learned: Iterable[str] = ()
) -> dict[str, float]:
    """What captions are like, whoever they are of: lengths, variety, and what was learned by heart.

    Comes in: captions by image id, the `words` a model could say, the captions it has `learned` from. Goes out: the
    mean length in words, how many of its words it used, how many never, the share of captions said once only, and the
    share that is a training caption word for word.
    """
    said = [tuple(tokenize(caption)) for caption in captions.values()]
    known, used = set(words), {word for caption in said for word in caption}
    by_heart = {tuple(tokenize(caption)) for caption in learned}
    times = Counter(said)
    shares = {
        "mean length": sum(map(len, said)) / len(said),
        "words used": len(used & known),
        "words never used": len(known - used),
        "distinct captions": len(times) / len(said),
    }
    return shares | ({"copied from training": sum(c in by_heart for c in said) / len(said)} if by_heart else {})


# -------------------------------------------------------------------------------------------------------- results


def save_results(path: str | Path, captions: Mapping[Id, str]) -> None:
    """Captions as COCO's results JSON: what pycocotools' `loadRes` and COCO's evaluation read."""
    rows = [{"image_id": image, "caption": caption} for image, caption in captions.items()]
    files.write(path, json.dumps(rows, ensure_ascii=False, indent=0))


def load_results(path: str | Path, images: Iterable[Id], *, more: bool = False) -> dict[Id, str]:
    """Read COCO's results JSON: the caption of every one of these images; with `more` it may hold others, too.

    Raises FileNotFoundError, or a ValueError that says which image is unknown, missing, repeated or without a caption.
    """
    try:
        rows = json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise FileNotFoundError(f"there are no results at {path}") from None
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not a results file: {error}") from None
    if not isinstance(rows, list):
        raise ValueError(f"{path} is not a results file: it should be a list of objects with image_id and caption")
    wanted, captions = set(images), {}
    for number, row in enumerate(rows, 1):
        if not isinstance(row, dict) or not isinstance(row.get("caption"), str) or not _is_id(row.get("image_id")):
            raise ValueError(f"{path}: entry {number} is not an object with image_id and caption")
        image = row["image_id"]
        if more and image not in wanted:
            continue
        if image not in wanted:
            raise ValueError(f"{path}: entry {number} captions image {image}, which is not in this split")
        if image in captions:
            raise ValueError(f"{path}: image {image} has two captions, the second is entry {number}")
        if not tokenize(row["caption"]):
            raise ValueError(f"{path}: the caption of image {image} (entry {number}) has no words")
        captions[image] = row["caption"]
    missing = wanted - captions.keys()
    if missing:
        some = ", ".join(map(str, sorted(missing, key=str)[:3]))
        raise ValueError(f"{path}: {len(missing)} of {len(wanted)} images have no caption, such as {some}")
    return captions


def _is_id(value: object) -> bool:
    return isinstance(value, (int, str)) and not isinstance(value, bool)
