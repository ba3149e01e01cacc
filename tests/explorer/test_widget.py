"""The explorer without a browser: what the page is shown, and what a person may ask."""

import base64
import gc
import io
import tracemalloc
from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import pytest
from PIL import Image

from explorer import widget as explorer_module
from explorer.widget import LIMITS, MOST, Explorer, explore
from figures.attention import color_scale, overlay
from figures.pictures import as_array


@pytest.fixture
def widget(loaded, records):
    return explore({"looks": loaded(), "does not": loaded(attention="none", seed=1)}, records["val"])


def shown(url: str, mode: str = "RGB") -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(url.split(",")[1]))).convert(mode))


def other_word(pane: dict, place: int = 1) -> dict:
    """A choice at a place that is not the word said there."""
    return next(c for c in pane["choices"][place] if c["word"] != pane["words"][place])


def png(picture: Image.Image) -> bytes:
    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()


# ------------------------------------------------------------------------------------------------ what the page shows


def test_the_page_is_shown_the_overlays_of_the_static_figure(widget, records):
    (pane,) = widget.panes
    assert len(pane["words"]) == len(pane["frames"]) == len(pane["probabilities"]) == len(pane["choices"])
    trace = widget._shown[0].trace
    picture = as_array(Image.open(records["val"][0].path), explorer_module.SIDE)
    for frame, row in zip(pane["frames"], trace.maps, strict=True):
        expected = overlay(picture, row, top=color_scale(trace.maps))
        assert abs(shown(frame).astype(float) - expected).mean() < 3  # JPEG
    assert widget.picture["said"] == records["val"][0].captions[0] and len(widget.thumbnails) == 3


def test_the_page_is_shown_each_words_own_probability_and_its_choices(widget):
    (pane,) = widget.panes
    trace = widget._shown[0].trace
    assert pane["probabilities"] == trace.probabilities and pane["words"] == trace.words
    for word, probability, choices in zip(pane["words"], pane["probabilities"], pane["choices"], strict=True):
        (said,) = [choice for choice in choices if choice["word"] == word]
        assert said["probability"] == pytest.approx(probability, abs=1e-5)


def test_a_true_outline_surrounds_what_the_word_names(loaded, records):
    record = records["val"][0]
    dog = replace(record.instances[0], category="dog")
    widget = explore(loaded(), [replace(record, instances=(dog,))])
    told = widget._shown[0]._replace(trace=replace(widget._shown[0].trace, words=("a", "dog")))
    nothing, sight = widget._pane(told)["grounded_objects"]
    alpha = shown(sight["src"], "RGBA")[..., 3]
    rows, columns = dog.mask(record.height, record.width).nonzero()
    scale = explorer_module.SIDE / record.width
    box = [side * scale for side in (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)]
    seen = [alpha.any(0).nonzero()[0][[0, -1]], alpha.any(1).nonzero()[0][[0, -1]]]
    assert nothing is None and sight["category"] == "dog"
    assert [seen[0][0], seen[1][0], seen[0][1] + 1, seen[1][1] + 1] == pytest.approx(box, abs=6)
    inside = alpha[round(np.mean(rows) * scale), round(np.mean(columns) * scale)]
    assert inside == 0, "only the border is drawn"


def test_two_captioners_stand_side_by_side_and_one_says_that_it_has_no_attention(widget):
    widget.receive({"event": "settings", "beside": "does not"})
    assert [pane["name"] for pane in widget.panes] == ["looks", "does not"]
    assert widget.panes[0]["note"] == "" and "no attention" in widget.panes[1]["note"] and widget.panes[1]["falls"]
    widget.receive({"event": "settings", "beside": None, "name": "does not"})
    assert [pane["name"] for pane in widget.panes] == ["does not"]


def test_a_click_on_an_alternative_opens_a_what_if_that_can_be_led_on_and_closed(widget):
    widget.receive({"event": "settings", "beside": "does not"})
    first = widget.panes[0]["words"]
    choice = other_word(widget.panes[0])
    widget.receive({"event": "what_if", "pane": 0, "place": 1, "word": choice["id"]})
    assert [pane["place"] for pane in widget.panes] == [None, 1, None] and widget.position == 1
    assert widget.panes[0]["words"] == first
    assert list(widget.panes[1]["words"][:2]) == [first[0], choice["word"]] and widget.panes[1]["name"] == "looks"
    again = other_word(widget.panes[1], 2)
    widget.receive({"event": "what_if", "pane": 1, "place": 2, "word": again["id"]})
    assert [pane["place"] for pane in widget.panes] == [None, 2, None], "it takes the place of the one before"
    assert list(widget.panes[1]["words"][:3]) == [first[0], choice["word"], again["word"]]
    widget.receive({"event": "close", "pane": 1})
    widget.receive({"event": "close", "pane": 0})
    assert [pane["place"] for pane in widget.panes] == [None, None], "only a what-if can be closed"


def test_settings_change_the_caption_or_only_its_look(widget):
    before = widget.panes[0]
    widget.receive({"event": "settings", "smooth": False})
    assert widget.panes[0]["words"] == before["words"] and widget.panes[0]["frames"] != before["frames"]
    widget.receive({"event": "settings", "temperature": 2.0})
    drawn = {tuple(widget.panes[0]["words"])}
    for _ in range(5):
        widget.receive({"event": "again"})
        drawn.add(tuple(widget.panes[0]["words"]))
    assert len(drawn) > 1 and widget.settings["temperature"] == 2.0


def test_where_no_patch_matters_no_colour_is_shown(widget):
    widget.receive({"event": "settings", "name": "does not"})
    told = widget._shown[0]
    maps = np.array([[0.4, 0.0, 0.0, 0.0], *[[0.001, 0.004, 0.0, 0.002]] * (len(told.trace.ids) - 1)], np.float32)
    first, second, *_ = widget._pane(told._replace(trace=replace(told.trace, maps=maps)))["frames"]
    most_colourful = [np.ptp(shown(frame).astype(int), axis=2).max() for frame in (first, second)]
    assert most_colourful[0] > 60 > 15 > most_colourful[1]


# ------------------------------------------------------------------------------------------- what a person may bring


def test_a_picture_of_ones_own_is_captioned_and_replaces_the_last_one(widget, noise):
    for name in ("mine.png", "another.png"):
        widget.receive({"event": "upload", "name": name}, [memoryview(png(noise))])
        assert widget.message == "" and widget.picture["alt"] == name and widget.picture["number"] == 3
        assert len(widget.thumbnails) == 4 and not widget.picture["annotated"]
    widget.receive({"event": "choose", "number": 0})
    widget.receive({"event": "choose", "number": 3})
    assert widget.picture["alt"] == "another.png"


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"hello, I am a text", "holiday.png cannot be read as an image"),
        (b"", "cannot be read"),
        (b"\x89PNG\r\n\x1a\n" + bytes(99), "cannot be read"),
        (bytes(MOST + 1), "more than 8 MB: make it smaller"),
    ],
)
def test_what_is_no_picture_is_answered_by_a_sentence_and_the_widget_works_on(widget, noise, data, sentence):
    before = widget.panes, widget.picture
    widget.receive({"event": "upload", "name": "holiday.png"}, [data])
    assert sentence in widget.message and "/" not in widget.message.replace("I/O", "")
    assert (widget.panes, widget.picture) == before and len(widget.thumbnails) == 3
    widget.receive({"event": "upload", "name": "better.png"}, [png(noise)])
    assert widget.message == "" and len(widget.thumbnails) == 4


def test_a_photograph_is_kept_small(widget):
    widget.receive({"event": "upload", "name": "wide.png"}, [png(Image.new("RGB", (3000, 200), "red"))])
    assert widget.message == "" and max(widget._images[-1].size) == explorer_module.KEPT


@pytest.mark.parametrize(
    "content",
    [
        None,
        [],
        {},
        {"event": "delete"},
        {"event": ["choose"]},
        {"event": "choose"},
        {"event": "choose", "number": -1},
        {"event": "choose", "number": 10**9},
        {"event": "choose", "number": True},
        {"event": "choose", "number": "0"},
        {"event": "choose", "number": 0, "path": "/etc/passwd"},
        {"event": "settings", "num_beams": 1e9},
        {"event": "settings", "num_beams": 2.5},
        {"event": "settings", "temperature": float("nan")},
        {"event": "settings", "length_penalty": "much"},
        {"event": "settings", "name": "nobody"},
        {"event": "settings", "name": None},
        {"event": "settings", "beside": {}},
        {"event": "settings", "smooth": "yes"},
        {"event": "settings", "seed": 3},
        {"event": "what_if", "pane": 0, "place": 99, "word": 5},
        {"event": "what_if", "pane": 7, "place": 0, "word": 5},
        {"event": "what_if", "pane": 0, "place": 0, "word": 10**6},
        {"event": "what_if", "pane": 0, "place": 0, "word": 1},
        {"event": "close", "pane": 1},
        {"event": "upload", "name": "x.png"},
    ],
)
def test_nothing_that_comes_from_the_page_is_trusted(widget, content):
    before = widget.get_state(["panes", "picture", "settings", "thumbnails", "position"])
    answered = widget.answered
    widget.receive(content)
    assert widget.message and "\n" not in widget.message and widget.answered == answered + 1
    assert widget.get_state(list(before)) == before


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ({"event": "choose"}, "'choose' takes number, not {}"),
        ({"event": "what_if", "pane": 0, "word": 5}, "'what_if' takes pane and place and word"),
        ({"event": "again", "pane": 0}, "'again' takes nothing"),
        ({"event": "upload", "name": "x.png"}, "'upload' takes the bytes of one file"),
    ],
)
def test_an_incomplete_event_is_told_what_is_missing(widget, content, sentence):
    widget.receive(content)
    assert "not complete" in widget.message and sentence in widget.message


def test_a_mistake_of_the_program_is_not_blamed_on_the_page(widget, monkeypatch):
    def broken(self):
        raise TypeError("an argument is missing")

    monkeypatch.setattr(Explorer, "_tell", broken)
    answered = widget.answered
    with pytest.raises(TypeError, match="an argument is missing"):
        widget.receive({"event": "again"})
    assert "the explorer itself has failed (TypeError)" in widget.message and "not complete" not in widget.message
    assert widget.answered == answered + 1, "the page does not wait for ever"


def test_a_what_if_takes_the_id_of_a_choice_and_nothing_like_it(widget):
    before, choice = widget.panes, other_word(widget.panes[0])
    widget.receive({"event": "what_if", "pane": 0, "place": 1, "word": float(choice["id"])})
    assert "none of the words" in widget.message and widget.panes == before


@pytest.mark.parametrize("name", LIMITS)
def test_the_page_is_told_the_limits_that_are_kept(widget, name):
    low, high, step = widget.get_state("limits")["limits"][name]
    for value, good in ((low, True), (high, True), (low - step, False), (high + step, False)):
        widget.receive({"event": "settings", name: value})
        assert (widget.message == "") == good == (widget.settings[name] == value)


def test_explore_says_what_is_missing(loaded, noise):
    with pytest.raises(ValueError, match="at least one captioner and one picture"):
        explore(loaded(), [])
    with pytest.raises(ValueError, match="'x' is no beside"):
        explore(loaded(), [noise], beside="x")
    with pytest.raises(ValueError, match="permute"):
        explore(loaded(), [np.zeros((3, 8, 8), np.uint8)])
    assert explore(loaded(), [noise, np.asarray(noise)]).names == ["model"]
    for wrong in ("runs/sample/model", loaded().model):
        with pytest.raises(ValueError, match=rf"what checkpoint\.load\(folder\) gives, not {type(wrong).__name__}"):
            explore(wrong, [noise])


def test_one_picture_is_explored_whatever_it_is(loaded, noise, records, tmp_path):
    noise.save(tmp_path / "noise.png")
    for one in (noise, np.asarray(noise), tmp_path / "noise.png", str(tmp_path / "noise.png")):
        explorer = explore(loaded(), one)
        assert len(explorer.thumbnails) == 1 and np.asarray(shown(explorer.picture["src"])).shape == (256, 384, 3)
    assert explore(loaded(), records["val"][0]).picture["said"] == records["val"][0].captions[0]
    exif = Image.Exif()
    exif[0x0112] = 6  # orientation
    noise.save(tmp_path / "turned.png", exif=exif)
    assert shown(explore(loaded(), Image.open(tmp_path / "turned.png")).picture["src"]).shape == (384, 256, 3)
    with pytest.raises(ValueError, match="is an address, not a file: download the picture first"):
        explore(loaded(), "https://example.org/dog.jpg")


# ------------------------------------------------------------------------------------------------------- what it costs


def test_a_thousand_moves_cost_no_memory_and_leave_no_figure(widget):
    def moves(times: int) -> None:
        for move in range(times):
            widget.set_state({"position": move % len(widget.panes[0]["words"])})
            if move % 50 == 0:
                widget.receive({"event": "choose", "number": move // 50 % 3})

    moves(200)  # first all that is made once
    tracemalloc.start()
    moves(200)  # and what each caption replaces
    gc.collect()
    before, _ = tracemalloc.get_traced_memory()
    moves(1000)
    gc.collect()
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert after - before < 200_000, "bytes"
    assert plt.get_fignums() == []


def test_the_page_side_asks_nothing_of_the_network():
    page = (explorer_module.Explorer._esm, explorer_module.Explorer._css)
    assert not any(part in str(text) for text in page for part in ("http:", "https:", "@import", "import "))
