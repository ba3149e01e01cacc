"""Trains a captioner: python -m scripts.train [--dataset sample] [--preset sample] [--any-setting value …]

By default the preset that suits the dataset (config.py), on the drawn sample. The best model by validation perplexity
is kept in `runs/<dataset>/<name>`; the same command goes on where a stopped run ended.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import time
from pathlib import Path

import torch

import checkpoint
import coco
import config
from data_loader import Transform, get_loader
from decoding import decode, greedy
from detector import WordDetector, fit_detector
from features import extract
from model import DECODERS, Captioner, EncoderCNN, best_device, named
from training import Plan, best_precision, fit
from vocabulary import Vocabulary


def main(arguments: list[str] | None = None) -> None:
    """Reads the command line, trains, and says how good the model became."""
    options, cfg = parse(arguments)
    device = best_device(options.device)
    torch.manual_seed(cfg.seed)
    train, val = (coco.load(cfg.dataset, split, instances=False) for split in ("train", "val"))
    train, val = train[: options.limit], val[: options.limit]
    vocabulary = Vocabulary((c for r in train for c in r.captions), cfg.threshold, cfg.max_words)
    run = Path(options.run or Path("runs") / Path(cfg.dataset).name / options.name)
    precision = best_precision(device)
    if cfg.encoder == "small" and cfg.finetune == 0 and cfg.weights is None:
        path = run.parent / "small_cnn.pth"
        if not path.exists():
            learn_to_see(train, vocabulary, cfg, path, device, precision)
        cfg = dataclasses.replace(cfg, weights=str(path))
    encoder = EncoderCNN(**cfg.encoder_options()).to(device)
    decoder = named(DECODERS, cfg.decoder, "decoder")(len(vocabulary), encoder.feature_size, **cfg.decoder_options())
    model = Captioner(encoder, decoder).to(device)
    print(f"{len(train):,} train and {len(val):,} val images, {len(vocabulary):,} words, {device}, {torch.__version__}")
    about = {"settings": dataclasses.asdict(cfg), "torch": torch.__version__}

    def learn(model: Captioner, plan: Plan, folder: Path) -> list[dict]:
        """Train one model, from features where its encoder is frozen, else from pictures; say how it goes."""
        loaders = [
            get_loader(
                records,
                vocabulary,
                **pictures(records, model.encoder, run.parent / f"{cfg.encoder}_{split}.npy", cfg, precision, split),
                images_per_batch=cfg.images_per_batch,
                captions_per_image=cfg.captions_per_image if split == "train" else 5,
                max_words=cfg.caption_words,
                shuffle=split == "train",
                seed=cfg.seed,
                workers=options.workers,
            )
            for split, records in (("train", train), ("val", val))
        ]
        first = next(iter(loaders[1]))

        def say(model: Captioner, history: list[dict]) -> None:
            row = history[-1]
            caption = next(iter(decode(model, [first], greedy).values()))
            print(
                f"epoch {row['epoch']:2}  train {row['train_perplexity']:7.2f}  val {row['val_perplexity']:7.2f}  "
                f"{row['seconds']:5.0f} s  {vocabulary.decode(caption.ids)!r}",
                flush=True,
            )

        keeper = checkpoint.Keeper(folder, vocabulary, about)
        return fit(model, *loaders, plan, after_epoch=[say], keeper=keeper, device=device, autocast=precision)

    began = time.perf_counter()
    history = learn(model, cfg.plan(), run / "frozen" if cfg.tune_epochs else run)
    if cfg.tune_epochs:
        print("now encoder and decoder together")
        eye = EncoderCNN(**cfg.encoder_options() | {"finetune": None})
        eye.load_state_dict(encoder.state_dict())
        plan = dataclasses.replace(cfg.plan(), epochs=cfg.tune_epochs, learning_rate=cfg.tune_rate)
        history = learn(Captioner(eye, decoder), plan, run)
    (run / "history.json").write_text(json.dumps(history, indent=1), encoding="utf-8")
    best = min(row["val_perplexity"] for row in history)
    print(f"val perplexity {best:.3f} after {(time.perf_counter() - began) / 60:.1f} minutes; the model is in {run}")


def learn_to_see(records, vocabulary: Vocabulary, cfg: config.Config, path: Path, device, precision) -> None:
    """The small encoder learns which words fit a picture (detector.py); its weights go to `path`."""
    encoder = EncoderCNN("small", image_size=cfg.image_size, finetune=None)
    loader = get_loader(
        records, vocabulary, transform=Transform(encoder.image_size, cfg.jitter), images_per_batch=8, seed=cfg.seed
    )
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
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(encoder.blocks.state_dict(), path)


def pictures(records, encoder: EncoderCNN, path: Path, cfg: config.Config, precision, split: str) -> dict:
    """What `get_loader` is to serve: the cached features of a frozen encoder, else the pictures themselves."""
    if encoder.frozen:
        return {"features": extract(records, encoder, path, autocast=precision, replace=encoder.name == "small")}
    return {"transform": Transform(encoder.image_size, cfg.jitter if split == "train" else 0.0)}


def parse(arguments: list[str] | None) -> tuple[argparse.Namespace, config.Config]:
    """The command line -> its own options, and the settings with what was overridden."""
    parser = argparse.ArgumentParser(prog="python -m scripts.train", description=__doc__.split("\n\n")[0])
    parser.add_argument(
        "--dataset", default="sample", help='"sample", "coco", "flickr8k" or a folder (default: sample)'
    )
    parser.add_argument(
        "--preset", choices=config.PRESETS, help="settings to start from (default: what suits the dataset)"
    )
    parser.add_argument("--name", default="model", help="the run is kept in runs/<dataset>/<name> (default: model)")
    parser.add_argument("--run", help="keep the run in this folder instead")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, mps (default: auto)")
    parser.add_argument("--workers", type=int, default=0, help="processes that read pictures (default: 0)")
    parser.add_argument("--limit", type=int, help="only the first so many images of each split")
    settings = parser.add_argument_group("settings (see config.py)")
    for field in dataclasses.fields(config.Config):
        if field.name != "dataset":
            settings.add_argument(f"--{field.name.replace('_', '-')}", dest=f"set_{field.name}", metavar="VALUE")
    options = parser.parse_args(arguments)
    cfg = config.PRESETS[options.preset] if options.preset else config.for_dataset(options.dataset)
    cfg = dataclasses.replace(cfg, dataset=options.dataset)
    given = {f: v for f in cfg.__dict__ if (v := getattr(options, f"set_{f}", None)) is not None}
    try:
        return options, config.override(cfg, given)
    except ValueError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    try:
        main()
    except (ValueError, OSError) as error:
        sys.exit(str(error))
