"""An experiment from settings to a trained captioner: what scripts and notebooks both do.

Comes in: a `Config`, and what a machine decides (`Runtime`). Goes out: a captioner in a folder, and the history of its
training. What it does not know: command lines, figures, scores other than those that choose the best epoch.

The recipe has three stages. An encoder of the course's own is pre-trained (training/pretraining.py), the decoder learns
while the encoder is frozen, its features cached; then encoder and decoder learn together, from the pictures.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from data_loader import Loader, Transform, get_loader
from dataset import files
from dataset.loading import load_records
from dataset.paths import RUNS
from dataset.records import Record, fingerprint
from decoding.search import decode, greedy
from evaluation.cider import CiderD
from evaluation.metrics import statistics, tokenized, tokenized_references
from model import Captioner, EncoderCNN
from models.cells import named
from models.checkpoint import RunCheckpoint, TrainingImages
from models.decoders import DECODERS
from models.devices import memory_explained
from models.networks import save_weights
from training import world
from training.begun import Begun
from training.config import Config
from training.features import extract, file_of
from training.loop import History, fit
from training.optimization import TrainingConfig
from training.pretraining import WordDetector, fit_detector
from training.self_critical import SelfCritical
from training.words import describe_words, vocabulary_for
from vocabulary import SPECIALS, Vocabulary

CPU = torch.device("cpu")
SMALLER = "halve --images-per-batch, take a smaller --image-size, or keep the encoder frozen with --finetune 0"
Report = Callable[[dict[str, Any], str], None]  # gets a row of the history, and what the model says of a picture


@dataclass(frozen=True)
class Runtime:
    """What the machine and the occasion decide, not the experiment."""

    device: torch.device = CPU
    autocast: torch.dtype | None = None
    workers: int = 0  # processes that read pictures
    broken: str = "skip"  # or "stop": what to do with pictures that cannot be read
    missing: str = "stop"  # or "skip": with those that are not there


# ----------------------------------------------------------------------------------------------------------- the data


def home_of(dataset: str | Path) -> Path:
    """Where the runs on a dataset lie, and what they share: the small encoder, the features."""
    return RUNS / Path(dataset).name


def records_of(cfg: Config, missing: str = "stop") -> tuple[list[Record], list[Record]]:
    """What to train and what to validate on: two splits, or the training split less those of its pictures held out."""
    train = load_records(cfg.dataset, "train", instances=False, missing=missing)
    if cfg.hold_out is None:
        return train, load_records(cfg.dataset, "val", instances=False, missing=missing)
    if not 0 < cfg.hold_out < len(train):
        raise ValueError(
            f"--hold-out takes 1 to {len(train) - 1} of the {len(train)} training pictures, not {cfg.hold_out}"
        )
    of_all = np.random.default_rng(0).permutation(len(train))  # alike for every seed: their runs compare, and their
    held = set(of_all[: cfg.hold_out].tolist())  # models, of one vocabulary, make an ensemble
    return [r for i, r in enumerate(train) if i not in held], [r for i, r in enumerate(train) if i in held]


def part_of(records: list[Record], captions: int | None, seed: int) -> list[Record]:
    """Records at random, in their order, until they have so many captions; all for None."""
    if captions is None:
        return records
    order = np.random.default_rng(seed).permutation(len(records))
    total = np.cumsum([len(records[i].captions) for i in order])
    return [records[i] for i in sorted(order[: np.searchsorted(total, captions) + 1])]


def image_source(
    records: Sequence[Record],
    encoder: EncoderCNN,
    folder: Path,
    runtime: Runtime = Runtime(),
    *,
    jitter: float = 0.0,
    views: int = 1,
    part: bool = False,
) -> dict[str, Any]:
    """What `get_loader` is to serve: the cached features of a frozen encoder, else the pictures themselves.

    The features lie in `folder`; they are computed where they are missing. `part` says that the records are a part of
    their split; the features of the whole split serve them, too.
    """
    if not encoder.frozen:
        return {"transform": Transform.of(encoder, jitter)}
    features = []
    for view in range(views):
        path = file_of(folder, encoder, records[0].split, view)
        if part and not path.is_file():
            path = file_of(folder, encoder, f"{records[0].split}-{len(records)}", view)
        how: dict[str, Any] = {"autocast": runtime.autocast, "broken": runtime.broken, "view": view}
        features.append(extract(records, encoder, path, **how))
    return {"features": features}


# ----------------------------------------------------------------------------------------------------------- the model


def pretrain_encoder(
    train: Sequence[Record], vocabulary: Vocabulary, cfg: Config, path: Path, runtime: Runtime = Runtime()
) -> None:
    """The small encoder learns which words fit a picture (training/pretraining.py); its weights go to `path`."""
    encoder = EncoderCNN("small", image_size=cfg.image_size, finetune=None)
    loader = get_loader(
        train,
        vocabulary,
        transform=Transform(encoder.image_size, Config.jitter),  # not the preset's own: all presets share this encoder
        images_per_batch=cfg.detector_batch,
        seed=cfg.seed,
        broken=runtime.broken,
    )
    print("encoder pre-training: it learns which words fit a picture")
    line = "encoder pre-training: epoch {epoch:2}  loss {loss:.4f}  {seconds:5.0f} s"
    fit_detector(
        WordDetector(encoder, len(vocabulary)),
        loader,
        epochs=cfg.detector_epochs,
        learning_rate=cfg.detector_rate,
        seed=cfg.seed,
        device=runtime.device,
        autocast=runtime.autocast,
        after_epoch=lambda row: print(line.format(**row), flush=True),
    )
    save_weights(encoder.blocks, path)


def with_encoder_weights(
    cfg: Config, train: Sequence[Record], vocabulary: Vocabulary, runtime: Runtime = Runtime()
) -> Config:
    """The settings, where they ask for a frozen `small` encoder without weights with those that it is pre-trained to.

    It is pre-trained once for all runs on the same pictures, words and settings: the file's name has their digest.
    """
    if not (cfg.encoder == "small" and cfg.finetune == 0 and cfg.weights is None):
        return cfg
    made_of = [
        getattr(cfg, name) for name in ("image_size", "detector_epochs", "detector_rate", "detector_batch", "seed")
    ]
    made_of += [fingerprint(train), vocabulary.fingerprint]
    path = home_of(cfg.dataset) / f"small_cnn-{sha256(json.dumps(made_of).encode()).hexdigest()[:8]}.pth"
    lock = path.with_name(f".{path.name}.lock")
    with world.first(), files.locked(lock, f"{path}: another run pre-trains it; this one waits for it"):
        if path.exists():
            print(f"{path}: an encoder pre-trained on these pictures with these settings, from before")
        else:
            with torch.random.fork_rng():  # what follows is the same, whether the encoder was there or not
                pretrain_encoder(train, vocabulary, cfg, path, runtime)
    return replace(cfg, weights=str(path))


def build_captioner(cfg: Config, vocabulary_size: int) -> Captioner:
    """The untrained captioner of these settings; its encoder has its weights."""
    kind = named(DECODERS, cfg.decoder, "decoder")
    encoder = EncoderCNN(**cfg.encoder_options())
    return Captioner(encoder, kind(vocabulary_size, encoder.feature_size, **cfg.decoder_options()))


def unfrozen(model: Captioner, cfg: Config) -> Captioner:
    """The same decoder with a copy of the encoder that learns as a whole."""
    encoder = EncoderCNN(**cfg.encoder_options() | {"finetune": None})
    encoder.load_state_dict(model.encoder.state_dict())
    return Captioner(encoder, model.decoder)


def describe_run(
    cfg: Config,
    train: Sequence[Record],
    *,
    preset: str | None = None,
    begin_with: str | None = None,
    limit: int | None = None,
) -> dict[str, Any]:
    """What a checkpoint's metadata say of the run that it comes from."""
    return {
        "preset": preset,
        "begun_with": begin_with,
        "settings": asdict(cfg),
        "seed": cfg.seed,
        "limit": limit,
        "dataset": fingerprint(train),
        "versions": {name: version(name) for name in ("torch", "torchvision", "numpy", "pillow")},
    }


# ----------------------------------------------------------------------------------------------------------- training


@dataclass(frozen=True)
class Experiment:
    """What the stages of one training have in common; `prepare` makes it."""

    cfg: Config
    train: list[Record]
    val: list[Record]
    vocabulary: Vocabulary
    metadata: dict[str, Any]
    runtime: Runtime
    report: Report
    learned_before: tuple[int | str, ...] = ()  # images of this dataset that the model learned from already

    def loader(self, encoder: EncoderCNN, training: bool) -> Loader:
        """Batches for this encoder: of training, varied and with some captions of each picture; or of validation."""
        cfg, records = self.cfg, self.train if training else self.val
        part = self.metadata["limit"] or cfg.hold_out or (training and cfg.subset)
        home, jitter, views = home_of(cfg.dataset), cfg.jitter if training else 0.0, cfg.views if training else 1
        source = image_source(records, encoder, home, self.runtime, jitter=jitter, views=views, part=bool(part))
        with world.first():  # one of them keeps the captions' ids
            loader = get_loader(
                records,
                self.vocabulary,
                **source,
                images_per_batch=cfg.images_per_batch,
                captions_per_image=cfg.captions_per_image if training else max(len(r.captions) for r in records),
                max_words=cfg.caption_words,
                shuffle=training,
                seed=cfg.seed,
                workers=self.runtime.workers,
                broken=self.runtime.broken,
                cache_dir=home,
                share=world.share(),
            )
        loader.say = world.aloud
        return loader

    def fit(
        self, model: Captioner, training_config: TrainingConfig, folder: Path, before: int | None = None
    ) -> History:
        """Train one model, from features where its encoder is frozen, else from pictures; keep it in `folder`.

        `before` is of how many epochs the stage before was, if there was one.
        """
        cfg, vocabulary = self.cfg, self.vocabulary
        train_loader, val_loader = (self.loader(model.encoder, training) for training in (True, False))
        first = next(iter(val_loader)) if world.rank() == 0 else None  # others may have none

        def report(model: Captioner, history: History) -> None:
            if first is not None:
                hypothesis = next(iter(decode(model, [first], greedy, max_length=cfg.max_length).values()))
                self.report(history[-1], vocabulary.decode(hypothesis.ids))

        if cfg.select_on == "cider" and len(self.val) < 2:
            raise ValueError("--select-on cider needs at least two validation pictures: of one, CIDEr-D is always 0")
        references = tokenized_references({r.image_id: r.captions for r in self.val})

        def cider(model: Captioner) -> float:
            said = world.everything(decode(model, val_loader, greedy, max_length=cfg.max_length))
            captions = {image: vocabulary.decode(hypothesis.ids) for image, hypothesis in said.items()}
            return float(statistics(tokenized(captions), references).scores()["CIDEr-D"])

        return fit(
            model,
            train_loader,
            val_loader,
            training_config,
            score=cider if cfg.select_on == "cider" else None,
            extra_loss=self.self_critical_loss() if cfg.self_critical else None,
            after_epoch=[report],
            run_checkpoint=self.run_checkpoint(folder, before),
            device=self.runtime.device,
            autocast=self.runtime.autocast,
        )

    def self_critical_loss(self) -> SelfCritical:
        """The loss of the model's own captions, judged by CIDEr-D against the training captions, `<end>` counted."""
        cfg, encode = self.cfg, self.vocabulary.encode
        references = {r.image_id: [encode(caption)[1:] for caption in r.captions] for r in self.train}
        return SelfCritical(CiderD(references), cfg.self_critical, cfg.samples, cfg.max_length)

    def run_checkpoint(self, folder: Path, before: int | None = None) -> RunCheckpoint:
        """Where a stage of the run is kept; `before` as for `fit`."""
        learned, val = (tuple(r.image_id for r in records) for records in (self.train, self.val))
        images = TrainingImages(
            tuple(dict.fromkeys(learned + self.learned_before)), held_out=val if self.cfg.hold_out else ()
        )
        return RunCheckpoint(
            folder, self.vocabulary, self.metadata, max_length=self.cfg.max_length, images=images, before=before
        )


def prepare(
    cfg: Config,
    runtime: Runtime = Runtime(),
    *,
    preset: str | None = None,
    begin_with: str | None = None,
    limit: int | None = None,
    report: Report = lambda row, caption: None,
) -> tuple[Experiment, Captioner]:
    """Everything that training needs, and the captioner before it; arguments and errors as `train_captioner`'s."""
    torch.manual_seed(cfg.seed)
    train, val = (records[:limit] for records in records_of(cfg, runtime.missing))
    train = part_of(train, cfg.subset, cfg.seed)
    check_decoder(cfg)
    begun = Begun.of(begin_with, cfg.dataset) if begin_with else None
    if begun and cfg.hold_out:
        begun.check_held_out(r.image_id for r in val)
    vocabulary = begun.vocabulary if begun else vocabulary_for(cfg, train)
    if not begun:
        cfg = with_encoder_weights(cfg, train, vocabulary, runtime)
    model = build_captioner(cfg, len(vocabulary)).to(runtime.device)
    if begun:
        begun.give_weights_to(model)
    metadata = describe_run(cfg, train, preset=preset, begin_with=begin_with, limit=limit)
    learned = begun.learned if begun else ()
    return Experiment(cfg, train, val, vocabulary, metadata, runtime, report, learned), model


def check_decoder(cfg: Config) -> None:
    """ValueError for a decoder that these settings cannot build, or cannot teach to look: before minutes go into its
    encoder."""
    kind = named(DECODERS, cfg.decoder, "decoder")
    with torch.device("meta"):
        decoder = kind(len(SPECIALS), 8, **cfg.decoder_options())
        images = decoder.prepare(torch.zeros(1, 4, 8))
        _, _, attention = decoder.step(torch.zeros(1, dtype=torch.long), images.state, images)
    if cfg.attention_penalty and attention is None:
        raise ValueError(f"attention_penalty is for a decoder with attention, and {cfg.decoder} has none: set it to 0")


def train_captioner(cfg: Config, folder: Path, runtime: Runtime = Runtime(), **how: Any) -> History:
    """Train a captioner, keep the best in `folder`, return the history of the last stage (also in `history.json`).

    The decoder learns first; with `cfg.tune_epochs`, encoder and decoder then learn together. The same call goes on
    where a stopped run ended, also with another number of processes (training/world.py). Further arguments, those of
    `prepare`: `begin_with` is a checkpoint whose weights and words it begins with, `limit` takes only the first so many
    images of each split, `preset` is noted in the checkpoint, `report` gets a row of the history after each epoch, and
    what the model says of a picture.

    Raises ValueError or OSError for a dataset, settings or files that do not fit, FloatingPointError if the loss is no
    longer a number.
    """
    with memory_explained(SMALLER):
        return _train(cfg, folder, runtime, how)


def _train(cfg: Config, folder: Path, runtime: Runtime, how: dict[str, Any]) -> History:
    for place in (folder, home_of(cfg.dataset)):
        files.check_writable(place / "model.safetensors")
    with _alone(folder):
        return _train_alone(cfg, folder, runtime, how)


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Only one run at a time is inside with this folder; ValueError for another one."""
    lock = files.claim(folder / ".train.lock") if world.rank() == 0 else None
    if world.rank() == 0 and lock is None:
        raise ValueError(f"{folder}: another training is at work in it: choose another --name, or wait for it")
    try:
        yield
    finally:
        if lock is not None:
            lock.release()


def _train_alone(cfg: Config, folder: Path, runtime: Runtime, how: dict[str, Any]) -> History:
    experiment, model = prepare(cfg, runtime, **how)
    experiment.run_checkpoint(folder).check_free()
    sizes = f"{len(experiment.train):,} train and {len(experiment.val):,} val images, {len(experiment.vocabulary):,}"
    print(f"{sizes} words, {runtime.device}, {torch.__version__}")
    splits = {"train": experiment.train, "val": experiment.val}
    print(describe_words(experiment.vocabulary, splits, experiment.cfg.caption_words), flush=True)
    history = experiment.fit(model, cfg.training_config(), folder / "frozen" if cfg.tune_epochs else folder)
    if cfg.tune_epochs:
        print("now encoder and decoder together")
        tuning = replace(cfg.training_config(), epochs=cfg.tune_epochs, learning_rate=cfg.tune_rate)
        history = experiment.fit(unfrozen(model, experiment.cfg), tuning, folder, before=cfg.epochs)
    if world.rank() == 0:
        files.write(folder / "history.json", json.dumps(history, indent=1))
    return history
