"""The explorer without a browser: what is trace of a picture, what the page is shown, what a person may ask."""

import base64
import gc
import inspect
import io
import tracemalloc
from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from PIL import Image

from decoding.search import beam, beam_search, greedy, sample
from decoding.trace import PATCHES, Exploration, grounded_objects
from evaluation.truth import grounding
from explorer import widget as explorer_module
from explorer.widget import MOST, explore
from figures.visualize import as_array, overlay
from model import Captioner, EncoderCNN
from models.checkpoint import Checkpoint
from models.decoders import DECODERS


@pytest.fixture
def load(captioner, vocabulary):
    """A tiny untrained captioner as `checkpoint.load` gives it; `load(attention="none")` has no attention."""

    def build(**decoder) -> Checkpoint:
        return Checkpoint(captioner(**decoder).eval(), vocabulary, max_length=9)

    return build


@pytest.fixture
def picture() -> Image.Image:
    noise = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
    return Image.fromarray(noise)


@pytest.fixture
def widget(load, records):
    return explore({"looks": load(), "does not": load(attention="none", seed=1)}, records["val"])


def shown(url: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(url.split(",")[1]))).convert("RGB"))


def other_word(pane: dict, place: int = 1) -> dict:
    """A choice at a place that is not the word said there."""
    return next(c for c in pane["choices"][place] if c["word"] != pane["words"][place])


def png(picture: Image.Image) -> bytes:
    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()


# ------------------------------------------------------------------------------------------------------ what is trace


@pytest.mark.parametrize("kind", DECODERS.values(), ids=DECODERS)
def test_it_tells_what_beam_search_says_with_its_own_numbers(kind, vocabulary, picture):
    torch.manual_seed(0)
    encoder = EncoderCNN("small", image_size=32, grid=2)
    sizes = {"word_size": 16, "hidden_size": 16, "attention_size": 16, "heads": 2, "dropout": 0.0}
    known = {name: size for name, size in sizes.items() if name in inspect.signature(kind).parameters}
    model = Captioner(encoder, kind(len(vocabulary), encoder.feature_size, **known)).eval()
    exploration = Exploration(Checkpoint(model, vocabulary, {}), picture)
    trace = exploration.caption()
    (said,) = beam(model.decoder, exploration.regions)
    assert list(trace.ids) == said.ids
    assert np.log(trace.probabilities) == pytest.approx(said.logprobs, abs=1e-4)
    assert trace.occlusion == (said.attention is None)
    if not trace.occlusion:
        assert trace.maps == pytest.approx(said.attention.numpy(), abs=1e-5)


def test_the_choices_are_the_likeliest_words_that_can_be_said(load, picture):
    exploration = Exploration(load(), picture)
    trace = exploration.caption(num_beams=3)
    decoder = exploration.model.decoder
    with torch.inference_mode():
        memory = decoder.prepare(exploration.regions)
        state, word = memory.state, torch.tensor([1])
        for own, probability, choices in zip(trace.ids, trace.probabilities, trace.choices, strict=True):
            scores, state, _ = decoder.step(word, state, memory)
            chances = scores.softmax(-1)[0]
            chances[[0, 1, 3]] = 0
            likeliest = chances.topk(5).indices.tolist()
            assert [c.id for c in choices][:5] == likeliest and {c.id for c in choices} == {*likeliest, own}
            assert [c.probability for c in choices] == pytest.approx(
                chances[[c.id for c in choices]].tolist(), abs=1e-5
            )
            assert probability == pytest.approx(chances[own].item(), abs=1e-5)
            word = torch.tensor([own])


def test_a_what_if_keeps_the_words_before_says_the_word_and_is_decoded_on(load, picture):
    exploration = Exploration(load(), picture)
    trace = exploration.caption(num_beams=2)
    for place in (0, 2, len(trace.ids) - 1):
        word = next(c.id for c in trace.choices[place] if c.id != trace.ids[place])
        other = exploration.what_if(trace, place, word, num_beams=2)
        assert other.ids[: place + 1] == (*trace.ids[:place], word)
        rest = beam_search(
            exploration.model.decoder, exploration.regions, num_beams=64, max_length=9, prefix=other.ids[: place + 1]
        )
        assert all(tuple(h.ids[: place + 1]) == other.ids[: place + 1] for h in rest[0])
    assert exploration.what_if(trace, 1, trace.ids[1], num_beams=2).ids == trace.ids, "the word itself changes nothing"


def test_a_caption_can_be_ended_and_goes_on_after_a_word_that_it_would_not_say(load, picture):
    exploration = Exploration(load(), picture)
    end, unknown = exploration.vocabulary.end, 3
    assert exploration.caption(prefix=(7, end)).ids == (7, end)
    for search in (greedy, beam, sample):
        (said,) = search(
            exploration.model.decoder, exploration.regions, prefix=(unknown, 5), min_length=4, max_length=9
        )
        assert said.ids[:2] == [unknown, 5] and len(said.ids) > 4 and unknown not in said.ids[2:]


def test_drawing_is_the_same_with_the_same_seed(load, picture):
    exploration = Exploration(load(), picture)
    drawn = [exploration.caption(temperature=2.0, seed=seed).ids for seed in (1, 1, 2, 3)]
    assert drawn[0] == drawn[1] and len(set(drawn)) > 1


def test_occlusion_is_the_fall_of_the_probability_when_a_patch_is_greyed(load, picture):
    exploration = Exploration(load(attention="none"), picture)
    trace = exploration.caption()
    assert trace.occlusion and trace.maps.shape == (len(trace.ids), PATCHES**2)
    row, column = divmod(patch := 19, PATCHES)
    step = exploration.pixels.shape[-1] // PATCHES
    greyed = as_array(Image.fromarray(exploration.pixels[0].permute(1, 2, 0).numpy())).copy()
    greyed[row * step : (row + 1) * step, column * step : (column + 1) * step] = 128
    again = Exploration((exploration.model, exploration.vocabulary, {}), Image.fromarray(greyed)).read(trace.ids)
    fall = np.subtract(trace.probabilities, again.probabilities).clip(0)
    assert trace.maps[:, patch] == pytest.approx(fall, abs=1e-6) and trace.maps.max() > 0


def test_a_named_thing_is_found_with_its_mask_and_whether_the_peak_is_inside(load, records):
    record = records["val"][0]
    trace = replace(Exploration(load(), Image.open(record.path)).caption(), words=("a", "dog"))
    assert grounded_objects(trace, record) == [None, None], "no dog is annotated"
    dog = replace(record.instances[0], category="dog")
    assert grounded_objects(trace, replace(record, instances=(dog,), width=0, height=0)) == [None, None], (
        "of unknown size"
    )
    nothing, sight = grounded_objects(trace, replace(record, instances=(dog,)))
    mask = dog.mask(record.height, record.width)
    (look,) = grounding(trace.words, trace.maps, [("dog", mask)])
    assert nothing is None and sight.category == "dog" and sight.inside == look.hit
    assert np.array_equal(sight.mask, mask)


# ------------------------------------------------------------------------------------------------ what the page shows


def test_the_page_is_shown_the_overlays_of_the_static_figure(widget, records):
    (pane,) = widget.panes
    assert len(pane["words"]) == len(pane["frames"]) == len(pane["probabilities"]) == len(pane["choices"])
    trace = widget._shown[0].trace
    picture = as_array(Image.open(records["val"][0].path), explorer_module.SIDE)
    for frame, row in zip(pane["frames"], trace.maps, strict=True):
        expected = overlay(picture, row, strength=explorer_module.FULL)
        assert abs(shown(frame).astype(float) - expected).mean() < 3  # JPEG
    assert widget.picture["said"] == records["val"][0].captions[0] and len(widget.thumbnails) == 3


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
    grid = widget.panes[0]["frames"]
    widget.receive({"event": "settings", "colors": True})
    assert widget.panes[0]["frames"] != grid
    widget.receive({"event": "settings", "temperature": 2.0})
    drawn = {tuple(widget.panes[0]["words"])}
    for _ in range(5):
        widget.receive({"event": "again"})
        drawn.add(tuple(widget.panes[0]["words"]))
    assert len(drawn) > 1 and widget.settings["temperature"] == 2.0


def test_colours_are_darkest_where_it_does_not_look():
    grey = np.full((80, 80, 3), 128, np.uint8)
    lit = overlay(grey, np.eye(1, 16).ravel(), smooth=False, colors=True, strength=1.0).astype(int)
    assert lit[:20, :20, :2].min() > 180 and lit[:20, :20, 2].max() < 100, "yellow at the peak"
    assert lit[30:, 30:].sum(-1).max() < 150, "dark blue elsewhere"


# ------------------------------------------------------------------------------------------- what a person may bring


def test_a_picture_of_ones_own_is_captioned_and_replaces_the_last_one(widget, picture):
    for name in ("mine.png", "another.png"):
        widget.receive({"event": "upload", "name": name}, [memoryview(png(picture))])
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
def test_what_is_no_picture_is_answered_by_a_sentence_and_the_widget_works_on(widget, picture, data, sentence):
    before = widget.panes, widget.picture
    widget.receive({"event": "upload", "name": "holiday.png"}, [data])
    assert sentence in widget.message and "/" not in widget.message.replace("I/O", "")
    assert (widget.panes, widget.picture) == before and len(widget.thumbnails) == 3
    widget.receive({"event": "upload", "name": "better.png"}, [png(picture)])
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


def test_explore_says_what_is_missing(load, picture):
    with pytest.raises(ValueError, match="at least one captioner and one picture"):
        explore(load(), [])
    with pytest.raises(ValueError, match="'x' is no beside"):
        explore(load(), [picture], beside="x")
    with pytest.raises(ValueError, match="permute"):
        explore(load(), [np.zeros((3, 8, 8), np.uint8)])
    assert explore(load(), [picture, np.asarray(picture)]).names == ["model"]


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
