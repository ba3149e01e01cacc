"""Checkpoints and a split -> captions and scores: what scripts.evaluate and scripts.compare both do.

Comes in: loaded checkpoints, a split, a search; or captions, whoever made them. Goes out: captions of the split's
images, their scores, and files of both. What it does not know: command lines.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from data_loader import Loader, Transform, get_loader
from dataset import files
from dataset import records as dataset_records
from dataset.loading import load_records
from dataset.masks import upright_masks
from dataset.records import Record
from decoding.consensus import Consensus
from decoding.ensemble import Ensemble
from decoding.search import Hypothesis, Search, decode, greedy
from evaluation import metrics, official, results
from evaluation.grounding import grounding
from evaluation.hallucination import hallucination
from evaluation.truth import count_accuracy, relation_accuracy, truthfulness
from model import Captioner
from models.checkpoint import Checkpoint
from scripts.page import captions_page
from training import world
from training.experiment import Runtime, home_of, image_source
from training.features import fingerprint
from training.loop import evaluate
from vocabulary import SPECIALS, Vocabulary, tokenize

Captions = dict[int | str, str]
Hypotheses = dict[int | str, Hypothesis]
Scores = dict[str, Any]


@dataclass(frozen=True)
class Captioned:
    """Pictures with a caption each; captions and references are tokenised once, when their words are first needed."""

    records: list[Record]
    captions: Captions

    @cached_property
    def words(self) -> dict[int | str, list[str]]:
        """The words of each caption."""
        return metrics.tokenized(self.captions)

    @cached_property
    def references(self) -> dict[int | str, list[list[str]]]:
        """The words of what people said of each picture."""
        return metrics.tokenized_references({record.image_id: record.captions for record in self.records})


def learned_records(checkpoint: Checkpoint, dataset: str | Path | None = None) -> list[Record]:
    """The pictures that a model learned from, without objects; `dataset` is where they lie, if not where they did.

    Raises ValueError if the dataset is another one, or not as it was then; FileNotFoundError if it is not here.
    """
    ids = set(checkpoint.images.learned)
    dataset = dataset or learned_dataset(checkpoint)
    every = load_records(dataset, "train", instances=False, missing="keep")
    records = [record for record in every if record.image_id in ids]
    if not records or dataset_records.fingerprint(records) != checkpoint.metadata.get("dataset"):
        raise ValueError(f"{dataset} is not what the model learned from, or has changed since: name its --dataset")
    return records


def learned_dataset(checkpoint: Checkpoint) -> str:
    """The name or folder of the dataset that a model learned from, when it did."""
    return checkpoint.metadata.get("settings", {}).get("dataset", "sample")


class Captioners:
    """One checkpoint, or several that caption a dataset together as an ensemble. ValueError if their words differ."""

    def __init__(self, checkpoints: Sequence[Checkpoint], runtime: Runtime, dataset: str | None = None):
        self.checkpoints, self.first, self.runtime = checkpoints, checkpoints[0], runtime
        self.dataset, self.vocabulary = dataset or learned_dataset(self.first), self.first.vocabulary
        if any(other.vocabulary.words != self.vocabulary.words for other in checkpoints):
            raise ValueError("these checkpoints do not know the same words: no ensemble")
        models = [one.model for one in checkpoints]
        self.model: Captioner | Ensemble = models[0] if len(models) == 1 else Ensemble(models).eval()

    def records(self, split: str) -> list[Record]:
        """A split of the dataset; "held-out": the training pictures that were kept apart."""
        if split != "held-out":
            return load_records(self.dataset, split, missing=self.runtime.missing)
        held = set(self.first.images.held_out)
        if not held:
            raise ValueError("the model was trained with nothing held out: --split val or test")
        if any(set(other.images.held_out) != held for other in self.checkpoints):
            raise ValueError("these checkpoints held out different pictures: give one alone, or --split val or test")
        listed = load_records(self.dataset, "train", instances=False, missing="keep")
        if not held <= {record.image_id for record in listed}:
            raise ValueError(
                f"{self.dataset} has not all pictures that the model held out, it learned from another dataset: name "
                "that one, or --split val or test"
            )
        train = load_records(self.dataset, "train", missing=self.runtime.missing)
        return [record for record in train if record.image_id in held]

    def loader(
        self, records: Sequence[Record], dataset: str, part: bool, broken: str, share: tuple[int, int] = (0, 1)
    ) -> Loader:
        """Batches for all of these encoders: cached features if they are one and the same, else pictures.

        `share` is `get_loader`'s.
        """
        encoders = [one.model.encoder for one in self.checkpoints]
        if len({fingerprint(encoder) for encoder in encoders}) == 1:
            runtime = replace(self.runtime, broken=broken)
            source = image_source(records, encoders[0], home_of(dataset), runtime, part=part)
        else:
            sizes = {encoder.image_size for encoder in encoders}
            if len(sizes) > 1:
                raise ValueError(
                    f"these checkpoints see pictures of {sorted(sizes)} pixels: an ensemble needs one size"
                )
            transforms = {Transform.of(encoder) for encoder in encoders}
            if len(transforms) > 1:
                raise ValueError("these checkpoints' encoders resize pictures in different ways: no ensemble")
            source = {"transform": transforms.pop()}
        max_words = self.first.max_length - 1
        how: dict[str, Any] = {"max_words": max_words, "shuffle": False, "broken": broken, "share": share}
        return get_loader(records, self.vocabulary, **source, **how)

    def consensus(self, captioned: Sequence[Record], neighbours: int, own: float = 0.0) -> Consensus:
        """A search among the pictures that the first model learned from, less those that are captioned.

        They are looked for in this dataset, then where they were when the model learned; errors as `learned_records`'.
        """
        dataset = self.dataset
        try:
            learned = learned_records(self.first, dataset)
        except (ValueError, OSError):
            dataset = learned_dataset(self.first)
            learned = learned_records(self.first)
        out = {record.path.resolve() for record in captioned}
        near = [record for record in learned if record.path.resolve() not in out]
        if not near:
            raise ValueError(
                "--consensus: every picture that the model learned from is captioned here, no neighbour is left: "
                "choose another --split, or a --limit"
            )
        return Consensus(self.model, self.loader(near, dataset, True, "skip"), neighbours, own=own)

    def caption(
        self,
        split: str,
        file: Path,
        search: Search = greedy,
        *,
        limit: int | None = None,
        neighbours: int | None = None,
        own: float = 0.0,
        max_length: int | None = None,
        broken: str = "stop",
        **how: Any,
    ) -> tuple[Captioned, Scores]:
        """Caption a split; what only a model can be asked is measured here. Further arguments are the search's.

        `broken` says what to do with pictures that cannot be read: "stop", or "skip" them. The captions are in `file`
        as soon as they are said: nothing that fails later can lose them. Of several processes each captions its share,
        and all have the captions of all.
        """
        records = self.records(split)[:limit]
        part = limit is not None or split == "held-out"
        loader = self.loader(records, self.dataset, part, broken, world.share())
        if neighbours:
            search = self.consensus(records, neighbours, own)
        device, precision = self.runtime.device, self.runtime.autocast
        perplexity = evaluate(self.model, loader, device, precision)
        said = decode(self.model, loader, search, max_length=max_length or self.first.max_length, **how)
        every = world.everything(said)
        records = [record for record in records if record.image_id in every]
        said = {record.image_id: every[record.image_id] for record in records}
        captions = {image: self.vocabulary.decode(hypothesis.ids) for image, hypothesis in said.items()}
        if world.rank() == 0:
            results.save(file, captions)
        captioned = Captioned(records, captions)
        scores: Scores = {"images": len(records), "perplexity": perplexity}
        scores |= {"unfinished": sum(not hypothesis.finished for hypothesis in said.values()) / len(said)}
        words = self.vocabulary.words[len(SPECIALS) :]
        scores |= metrics.caption_statistics(captioned.words, words, self.learned_captions())
        return captioned, scores | pointing(said, records, self.vocabulary)

    def learned_captions(self) -> list[list[str]]:
        """The words of the captions that the models learned from; none where those are of another dataset, or away."""
        learned: list[list[str]] = []
        for checkpoint in self.checkpoints:
            try:
                records = learned_records(checkpoint, self.dataset)
                learned += [tokenize(caption) for record in records for caption in record.captions]
            except (ValueError, OSError):  # the split that is measured may lie here alone
                continue
        return learned


def about_objects(captioned: Captioned) -> Scores:
    """What captions name against what is annotated: shares, 0 to 1; nothing where nothing is annotated."""
    records, words = captioned.records, captioned.words
    if not any(record.instances for record in records):
        return {}
    h = hallucination(words, captioned.references, records)
    scores: Scores = {
        "CHAIR-i": h.chair_i,
        "CHAIR-s": h.chair_s,
        "object recall": h.recall,
        "objects named": h.mentions,
    }
    if not any("color" in instance.attributes for record in records for instance in record.instances):
        return scores
    t = truthfulness(words, records)
    scores |= {"pairs named": t.named, "true pairs": t.true_share, "true captions": t.true_captions, "recall": t.recall}
    for name, (right, cases) in (
        ("counts", count_accuracy(words, records)),
        ("relations", relation_accuracy(words, records)),
    ):
        scores |= {f"{name} said": cases} | ({f"{name} right": right} if cases else {})
    return scores


def pointing(said: Hypotheses, records: Sequence[Record], vocabulary: Vocabulary) -> Scores:
    """Where attention's peak lies when a caption names something that is annotated. Shares, 0 to 1."""
    looks = []
    for record in records:
        hypothesis = said[record.image_id]
        if hypothesis.attention is not None and (things := upright_masks(record)):
            words = [vocabulary.words[i] for i in hypothesis.ids]
            looks += grounding(words, hypothesis.attention.numpy(), things)
    if not looks:
        return {}
    hits, mass, chance = (sum(column) / len(looks) for column in list(zip(*looks, strict=True))[1:])
    return {"nouns looked at": len(looks), "peak in mask": hits, "mass in mask": mass, "by chance": chance}


def measure(captioned: Captioned, java: float = 0) -> tuple[metrics.Statistics, dict[str, metrics.Score]]:
    """Captions against what people say of the same pictures: what the scores are made of, and scores with margins.

    METEOR and SPICE among them if `java` is how many seconds each may take; if they cannot be had, a line says why.
    """
    measured = metrics.statistics(captioned.words, captioned.references)
    scores = metrics.bootstrap(measured)
    for name in official.DATA if java else ():
        outcome = official.java_score(name, captioned.words, captioned.references, seconds=java)
        if isinstance(outcome, str):
            print(outcome)
        else:
            scores[name] = outcome
    return measured, scores


def write(
    stem: Path,
    name: str,
    captioned: Captioned,
    measured: metrics.Statistics,
    scores: Scores,
) -> Path:
    """The scores as JSON under that name; beside them a page of captions with their pictures, whose path it returns."""
    files.write(stem.with_name(name), json.dumps(scores, indent=1))
    by_image = dict(zip(measured.ids, measured.cider.tolist(), strict=True))
    page = Path(f"{stem}.html")  # not with_suffix: what follows a dot in the name belongs to it
    files.write(page, captions_page(captioned.records, captioned.captions, by_image))
    return page
