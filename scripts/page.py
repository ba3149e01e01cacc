"""The best, the worst and some other captions of a split, as one web page with its pictures inside.

Comes in: records, captions and a score by image id. Goes out: HTML that needs nothing else, some hundred kilobytes.
How it looks is said in scripts/captions.html.j2.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from dataset.pictures import open_image
from dataset.records import Record
from figures.pictures import data_url

SHOWN, WIDEST = 6, 240  # pictures in a row of the page, their longer side in pixels
_TEMPLATES = Environment(
    loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined, trim_blocks=True
)


def captions_page(
    records: list[Record], captions: Mapping[int | str, str], scores: Mapping[int | str, float], seed: int = 0
) -> str:
    """The page: SHOWN captions each with the highest and the lowest score, and SHOWN drawn from all."""
    ranked = sorted(records, key=lambda record: -scores[record.image_id])
    drawn = np.random.default_rng(seed).permutation(len(records))[:SHOWN]
    chosen = {
        "The best": ranked[:SHOWN],
        "The worst": ranked[::-1][:SHOWN],
        "Drawn at random": [records[i] for i in drawn],
    }
    rows = {title: [_entry(record, captions, scores) for record in some] for title, some in chosen.items()}
    return _TEMPLATES.get_template("captions.html.j2").render(rows=rows)


def _entry(record: Record, captions: Mapping[int | str, str], scores: Mapping[int | str, float]) -> dict[str, object]:
    """What the template shows of a picture; without the picture itself where it cannot be read."""
    try:
        picture = open_image(record.path)
        picture.thumbnail((WIDEST, WIDEST))
        src = data_url(np.asarray(picture), quality=80)
    except (OSError, ValueError):
        src = ""
    return {
        "src": src,
        "caption": captions[record.image_id],
        "score": scores[record.image_id],
        "references": record.captions,
    }
