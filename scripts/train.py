"""Trains a captioner: python -m scripts.train [--dataset sample] [--preset NAME] [--any-setting value …]

By default the preset that suits the dataset, on the drawn sample; training/config.py has them all. The best model by
validation perplexity is kept in `runs/<dataset>/<name>`, history and curves beside it; the same command goes on where a
stopped run ended.
"""

from __future__ import annotations

import argparse
import dataclasses
import io
import json
import sys
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch

from data_loader import Transform, get_loader
from dataset import files, paths
from dataset.loading import load_records
from dataset.records import Record, fingerprint
from decoding.search import decode, greedy
from evaluation import metrics
from evaluation.cider import CiderD
from figures.curves import training_curves
from model import Captioner, EncoderCNN
from models import checkpoint
from models.decoders import DECODERS
from models.devices import best_device, best_precision
from training import config
from training.features import extract, file_of
from training.loop import TrainingConfig, fit
from training.pretraining import WordDetector, fit_detector
from training.self_critical import SelfCritical
from vocabulary import SPECIALS, Vocabulary


def main(arguments: Sequence[str] | None = None) -> Path:
    """Reads the command line, trains, says how good the model became; returns the run's folder."""
    options, cfg = parse(arguments)
    device = best_device(options.device)
    torch.manual_seed(cfg.seed)
    train, val = (records[: options.limit] for records in records_of(cfg))
    train = part_of(train, cfg.subset, cfg.seed)
    begun = checkpoint.load(options.begin_with) if options.begin_with else None
    vocabulary = begun.vocabulary if begun else words_of(cfg, train)
    home = home_of(cfg.dataset)
    run = Path(options.run or home / (options.name or options.preset or "model"))
    precision = best_precision(device)
    if cfg.encoder == "small" and cfg.finetune == 0 and cfg.weights is None:
        path = home / "small_cnn.pth"
        if not path.exists():
            with torch.random.fork_rng():  # what follows is the same, whether the eye was there or not
                learn_to_see(train, vocabulary, cfg, path, device, precision, options.broken)
        cfg = dataclasses.replace(cfg, weights=str(path))
    encoder = EncoderCNN(**cfg.encoder_options()).to(device)
    decoder = DECODERS[cfg.decoder](len(vocabulary), encoder.feature_size, **cfg.decoder_options())
    model = Captioner(encoder, decoder).to(device)
    if begun:
        try:
            model.load_state_dict(begun.model.state_dict())
        except RuntimeError:
            raise ValueError(f"{options.begin_with} is another model than these settings describe") from None
    print(f"{len(train):,} train and {len(val):,} val images, {len(vocabulary):,} words, {device}, {torch.__version__}")
    metadata = {
        "preset": options.preset,
        "begun_with": options.begin_with,
        "settings": dataclasses.asdict(cfg),
        "seed": cfg.seed,
        "limit": options.limit,
        "dataset": fingerprint(train),
        "versions": {name: version(name) for name in ("torch", "torchvision", "numpy", "pillow")},
    }

    def learn(model: Captioner, training_config: TrainingConfig, folder: Path) -> list[dict]:
        """Train one model, from features where its encoder is frozen, else from pictures; say how it goes."""
        loaders = [
            get_loader(
                records,
                vocabulary,
                **pictures(
                    records,
                    model.encoder,
                    home,
                    precision,
                    jitter=cfg.jitter * learns,
                    part=bool(part),
                    broken=options.broken,
                    views=cfg.views if learns else 1,
                ),
                images_per_batch=cfg.images_per_batch,
                captions_per_image=cfg.captions_per_image if learns else 5,
                max_words=cfg.caption_words,
                shuffle=learns,
                seed=cfg.seed,
                workers=options.workers,
                broken=options.broken,
                cache_dir=home,
            )
            for learns, records, part in (
                (True, train, options.limit or cfg.subset or cfg.hold_out),
                (False, val, options.limit or cfg.hold_out),
            )
        ]
        first = next(iter(loaders[1]))

        def say(model: Captioner, history: list[dict]) -> None:
            row = history[-1]
            caption = next(iter(decode(model, [first], greedy, max_length=cfg.caption_words + 1).values()))
            print(
                f"epoch {row['epoch']:2}  train {row['train_perplexity']:7.2f}  val {row['val_perplexity']:7.2f}  "
                f"{'CIDEr-D {:.3f}  '.format(row['score']) if 'score' in row else ''}"
                f"{row['seconds']:5.0f} s  {vocabulary.decode(caption.ids)!r}",
                flush=True,
            )

        by_cider = cfg.select_on == "cider"
        references = metrics.tokenized_references({r.image_id: r.captions for r in val if by_cider})

        def cider(model: Captioner) -> float:
            said = decode(model, loaders[1], greedy, max_length=cfg.caption_words + 1)
            captions = metrics.tokenized({image: vocabulary.decode(h.ids) for image, h in said.items()})
            return float(metrics.statistics(captions, references).scores()["CIDEr-D"])

        extra_loss = None
        if cfg.self_critical:
            words = {r.image_id: [vocabulary.encode(c)[1:] for c in r.captions] for r in train}  # `<end>` is one, too
            extra_loss = SelfCritical(CiderD(words), cfg.self_critical, cfg.samples, cfg.caption_words + 1)
        run_checkpoint = checkpoint.RunCheckpoint(folder, vocabulary, metadata)
        score = {"perplexity": None, "cider": cider}[cfg.select_on]
        return fit(
            model,
            *loaders,
            training_config,
            score=score,
            extra_loss=extra_loss,
            after_epoch=[say],
            run_checkpoint=run_checkpoint,
            device=device,
            autocast=precision,
        )

    began = time.perf_counter()
    history = learn(model, cfg.training_config(), run / "frozen" if cfg.tune_epochs else run)
    if cfg.tune_epochs:
        print("now encoder and decoder together")
        eye = EncoderCNN(**cfg.encoder_options() | {"finetune": None})
        eye.load_state_dict(encoder.state_dict())
        training_config = dataclasses.replace(
            cfg.training_config(), epochs=cfg.tune_epochs, learning_rate=cfg.tune_rate
        )
        history = learn(Captioner(eye, decoder), training_config, run)
    files.write(run / "history.json", json.dumps(history, indent=1))
    training_curves(history).savefig(run / "curves.png")
    best = min(row["val_perplexity"] for row in history)
    print(f"val perplexity {best:.3f} after {(time.perf_counter() - began) / 60:.1f} minutes; the model is in {run}")
    return run


def home_of(dataset: str) -> Path:
    """Where the runs on a dataset lie, and what they share: the small encoder, the features."""
    return Path("runs") / Path(dataset).name


def records_of(cfg: config.Config) -> tuple[list[Record], list[Record]]:
    """What to train and what to validate on: two splits, or the training split less those of its pictures held out."""
    train = load_records(cfg.dataset, "train", instances=False)
    if cfg.hold_out is None:
        return train, load_records(cfg.dataset, "val", instances=False)
    if not 0 < cfg.hold_out < len(train):
        raise ValueError(
            f"--hold-out takes 1 to {len(train) - 1} of the {len(train)} training pictures, not {cfg.hold_out}"
        )
    held = set(np.random.default_rng(cfg.seed).permutation(len(train))[: cfg.hold_out].tolist())
    return [r for i, r in enumerate(train) if i not in held], [r for i, r in enumerate(train) if i in held]


def part_of(records: list[Record], captions: int | None, seed: int) -> list[Record]:
    """Records at random, in their order, until they have so many captions; all for None."""
    if captions is None:
        return records
    order = np.random.default_rng(seed).permutation(len(records))
    total = np.cumsum([len(records[i].captions) for i in order])
    return [records[i] for i in sorted(order[: np.searchsorted(total, captions) + 1])]


def words_of(cfg: config.Config, train: list[Record]) -> Vocabulary:
    """The dataset's own vocabulary.json if it has one (scripts.convert writes it), else that of the captions."""
    own = paths.find(cfg.dataset) / "vocabulary.json"
    if own.is_file():
        return Vocabulary.load(own)
    vocabulary = Vocabulary((c for record in train for c in record.captions), cfg.threshold, cfg.max_words)
    if len(vocabulary) == len(SPECIALS):
        raise ValueError(f"no word occurs {cfg.threshold} times in the training captions: lower --threshold")
    return vocabulary


def learn_to_see(train, vocabulary: Vocabulary, cfg: config.Config, path: Path, device, precision, broken: str) -> None:
    """The small encoder learns which words fit a picture (training/pretraining.py); its weights go to `path`."""
    encoder = EncoderCNN("small", image_size=cfg.image_size, finetune=None)
    varied = Transform(encoder.image_size, config.Config.jitter)
    loader = get_loader(
        train, vocabulary, transform=varied, images_per_batch=cfg.detector_batch, seed=cfg.seed, broken=broken
    )
    print("eyes first: the encoder learns which words fit a picture")
    fit_detector(
        WordDetector(encoder, len(vocabulary)),
        loader,
        epochs=cfg.detector_epochs,
        learning_rate=cfg.detector_rate,
        seed=cfg.seed,
        device=device,
        autocast=precision,
        after_epoch=lambda row: print(
            "eyes: epoch {epoch:2}  loss {loss:.4f}  {seconds:5.0f} s".format(**row), flush=True
        ),
    )
    content = io.BytesIO()
    torch.save(encoder.blocks.state_dict(), content)
    files.write(path, content.getvalue())


def pictures(
    records: list[Record],
    encoder: EncoderCNN,
    folder: Path,
    precision,
    *,
    jitter: float = 0.0,
    part: bool = False,
    broken: str = "skip",
    views: int = 1,
) -> dict:
    """What `get_loader` is to serve: the cached features of a frozen encoder, else the pictures themselves.

    `part` says that the records are a part of their split; the features of the whole split serve them, too.
    """
    if not encoder.frozen:
        return {"transform": Transform(encoder.image_size, jitter)}
    kept = []
    for view in range(views):
        path = file_of(folder, encoder, records[0].split, view)
        if part and not path.is_file():
            path = file_of(folder, encoder, f"{records[0].split}-{len(records)}", view)
        how = {"autocast": precision, "replace": encoder.name == "small", "broken": broken, "view": view}
        kept.append(extract(records, encoder, path, **how))
    return {"features": kept}


def count(text: str) -> int:
    """How many, on a command line: a whole number of 1 or more."""
    if int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be 1 or more, not {text}")
    return int(text)


def parse(arguments: Sequence[str] | None) -> tuple[argparse.Namespace, config.Config]:
    """The command line -> its own options, and the settings with what was overridden."""
    parser = argparse.ArgumentParser(
        prog="python -m scripts.train", description=__doc__.split("\n\n")[0], allow_abbrev=False
    )
    parser.add_argument(
        "--dataset", default="sample", help='"sample", "coco", "flickr8k" or a folder (default: sample)'
    )
    parser.add_argument(
        "--preset",
        choices=config.PRESETS,
        help="settings to start from; python -m scripts.presets lists them (default: what suits the dataset)",
    )
    parser.add_argument(
        "--name", help="the run is kept in runs/<dataset>/<name> (default: the preset's name, or model)"
    )
    parser.add_argument("--run", help="keep the run in this folder instead")
    parser.add_argument("--begin-with", metavar="FOLDER", help="begin with this checkpoint's weights and words")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, mps (default: auto)")
    parser.add_argument("--workers", type=int, default=0, help="processes that read pictures (default: 0)")
    parser.add_argument(
        "--broken", choices=("skip", "stop"), default="skip", help="pictures that cannot be read (default: skip)"
    )
    parser.add_argument("--limit", type=count, help="only the first so many images of each split")
    settings = parser.add_argument_group("settings (training/config.py says what they mean)")
    for field in dataclasses.fields(config.Config):
        if field.name != "dataset":
            settings.add_argument(f"--{field.name.replace('_', '-')}", dest=f"set_{field.name}", metavar="VALUE")
    options, others = parser.parse_known_args(arguments)
    given = {name[4:]: value for name, value in vars(options).items() if name.startswith("set_") and value is not None}
    try:
        for other in others:  # refused by the settings, with the nearest name
            config.override(config.Config(), {other.lstrip("-").replace("-", "_").split("=")[0]: ""})
        return options, config.for_dataset(options.dataset, options.preset, given)
    except ValueError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    try:
        main()
    except (ValueError, OSError, FloatingPointError) as error:
        sys.exit(str(error))
