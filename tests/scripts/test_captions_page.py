"""scripts/page.py: which captions the page shows, and that none of them is taken for HTML."""

from dataclasses import replace

import pytest
from bs4 import BeautifulSoup

from scripts.page import SHOWN, captions_page

HOSTILE = """<script>alert("1")</script> 'x' onerror="y" & {{ 7 * 7 }}"""


@pytest.fixture
def many(records) -> list:
    """Twelve records."""
    return [record for split in records.values() for record in split]


def test_nothing_that_is_said_becomes_html(many):
    one = replace(many[0], captions=(HOSTILE, "a & b"))
    page = captions_page([one], {one.image_id: HOSTILE}, {one.image_id: 1.0})
    soup = BeautifulSoup(page, "html.parser")
    assert soup("script") == [] and "49" not in soup.text
    assert {image["alt"] for image in soup("img")} == {HOSTILE}
    assert all(set(image.attrs) == {"src", "alt"} for image in soup("img"))
    assert soup.b.text == HOSTILE and [item.text for item in soup.ul("li")] == [HOSTILE, "a & b"]


def test_the_best_come_first_then_the_worst_then_some_by_chance(many, offline_faults):
    captions = {record.image_id: f"caption of {record.image_id}" for record in many}
    scores = {record.image_id: number / 4 for number, record in enumerate(many)}
    soup = BeautifulSoup(page := captions_page(many, captions, scores), "html.parser")
    assert [title.text for title in soup("h2")] == ["The best", "The worst", "Drawn at random"]
    best, worst, drawn = ([figure.b.text for figure in row("figure")] for row in soup.select(".row"))
    ordered = [captions[record.image_id] for record in many]
    assert best == ordered[::-1][:SHOWN] and worst == ordered[:SHOWN]
    assert len(set(drawn)) == SHOWN and set(drawn) <= set(ordered)
    assert "CIDEr-D 2.75" in soup.figure.text and offline_faults(page) == []
