"""The best, the worst and some other captions of a split, as one web page with its pictures inside.

Comes in: records, captions and a score by image id. Goes out: HTML that needs nothing else, some hundred kilobytes.
"""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Mapping

import numpy as np

from dataset.pictures import open_image
from dataset.records import Record

SHOWN, WIDEST = 6, 240  # pictures in a row of the page, their longer side in pixels

_PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>Captions</title>
<style>
body {{ font: 15px/1.45 system-ui, sans-serif; color: #222; max-width: 1100px; margin: 2rem auto; padding: 0 1rem }}
h2 {{ margin: 2rem 0 .6rem; font-size: 1.1rem }}
.row {{ display: grid; grid-template-columns: repeat(auto-fill, minmax(220px, 1fr)); gap: 1.2rem }}
figure {{ margin: 0 }} img {{ width: 100%; border-radius: 4px }}
b {{ display: block; margin: .3rem 0 }} li, small {{ color: #666 }} ul {{ margin: .3rem 0; padding-left: 1.1rem }}
</style>
<h1>What the model says</h1>
<p>The caption in bold, what people said below it. CIDEr-D of a single caption: 0 shares nothing with the references,
above 1 is close to them.</p>
{rows}
</html>
"""


def captions_page(
    records: list[Record], captions: Mapping[int | str, str], scores: Mapping[int | str, float], seed: int = 0
) -> str:
    """The page: SHOWN captions each with the highest and the lowest score, and SHOWN drawn from all."""
    ranked = sorted(records, key=lambda record: -scores[record.image_id])
    drawn = np.random.default_rng(seed).permutation(len(records))[:SHOWN]
    rows = {
        "The best": ranked[:SHOWN],
        "The worst": ranked[::-1][:SHOWN],
        "Drawn at random": [records[i] for i in drawn],
    }
    return _PAGE.format(
        rows="\n".join(
            f"<h2>{title}</h2>\n<div class='row'>{''.join(_figure(r, captions, scores) for r in some)}</div>"
            for title, some in rows.items()
        )
    )


def _figure(record: Record, captions: Mapping[int | str, str], scores: Mapping[int | str, float]) -> str:
    picture = open_image(record.path)
    picture.thumbnail((WIDEST, WIDEST))
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=80)
    data = base64.b64encode(file.getvalue()).decode()
    said = html.escape(captions[record.image_id])
    people = "".join(f"<li>{html.escape(caption)}</li>" for caption in record.captions)
    return (
        f"<figure><img src='data:image/jpeg;base64,{data}' alt='{said}'>"
        f"<figcaption><b>{said}</b><small>CIDEr-D {scores[record.image_id]:.2f}</small><ul>{people}</ul></figcaption>"
        "</figure>"
    )
