"""How good is a trained captioner? python -m scripts.evaluate --checkpoint runs/sample/model [--split val]

Prints, and writes into the checkpoint's folder as `scores-<split>.json`: the perplexity of the true captions; and where
the dataset says which things of which colour are in its pictures, how much of what greedy captions name is there, and
whether attention looks at it.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import checkpoint
import coco
from data_loader import get_loader
from decoding import Hypothesis, decode
from metrics import counts_right, grounding, relations_right, truthfulness
from model import best_device
from scripts.train import home_of, pictures
from training import best_precision, evaluate
from vocabulary import Vocabulary


def main(arguments: Sequence[str] | None = None) -> dict[str, float]:
    """Reads the command line, measures, prints and writes; returns the scores."""
    parser = argparse.ArgumentParser(prog="python -m scripts.evaluate", description=__doc__.split("\n\n")[0])
    parser.add_argument("--checkpoint", default="runs/sample/model", help="a folder (default: runs/sample/model)")
    parser.add_argument("--dataset", help="default: the one it was trained on")
    parser.add_argument("--split", default="val", help="default: val")
    parser.add_argument("--limit", type=int, help="only the first so many images")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, mps (default: auto)")
    options = parser.parse_args(arguments)
    device = best_device(options.device)
    precision = best_precision(device)
    folder = Path(options.checkpoint)
    model, vocabulary, about = checkpoint.load(folder, device)
    settings = about.get("settings", {})
    dataset = options.dataset or settings.get("dataset", "sample")
    records = coco.load(dataset, options.split)[: options.limit]
    longest = settings.get("caption_words", 20)
    served = pictures(records, model.encoder, home_of(dataset), precision, part=options.limit is not None)
    loader = get_loader(records, vocabulary, **served, max_words=longest, shuffle=False)
    scores: dict[str, float] = {"images": len(records), "perplexity": evaluate(model, loader, device, precision)}
    if any("color" in instance.attributes for record in records for instance in record.instances):
        said = decode(model, loader, max_length=longest + 1)
        scores |= truth(said, records, vocabulary)
    for name, value in scores.items():
        print(f"{name:20} {value:.3f}" if isinstance(value, float) else f"{name:20} {value}")
    (folder / f"scores-{options.split}.json").write_text(json.dumps(scores, indent=1), encoding="utf-8")
    return scores


def truth(said: dict[int | str, Hypothesis], records: list[coco.Record], vocabulary: Vocabulary) -> dict[str, float]:
    """Of what captions name, how much is there; and where attention's peak lies when they name it. Shares, 0 to 1."""
    captions = {image: vocabulary.decode(hypothesis.ids) for image, hypothesis in said.items()}
    t = truthfulness(captions, records)
    scores = {"pairs named": t.named, "true pairs": t.true_share, "true captions": t.true_captions, "recall": t.recall}
    for name, (right, cases) in (
        ("counts", counts_right(captions, records)),
        ("relations", relations_right(captions, records)),
    ):
        scores |= {f"{name} said": cases} | ({f"{name} right": right} if cases else {})
    looks = []
    for record in records:
        hypothesis = said[record.image_id]
        if hypothesis.attention is not None:
            words = [vocabulary.words[i] for i in hypothesis.ids]
            things = [(i.category, i.mask(record.height, record.width)) for i in record.instances]
            looks += grounding(words, hypothesis.attention.numpy(), things)
    if looks:
        hits, mass, chance = (sum(column) / len(looks) for column in list(zip(*looks, strict=True))[1:])
        scores |= {"nouns looked at": len(looks), "peak in mask": hits, "mass in mask": mass, "by chance": chance}
    return scores


if __name__ == "__main__":
    try:
        main()
    except (ValueError, OSError) as error:
        sys.exit(str(error))
