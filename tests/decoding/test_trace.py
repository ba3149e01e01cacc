"""A captioner's trace of a picture: its words, how sure it is, what else it might have said, where it looked."""

import inspect
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn.utils.rnn import PackedSequence

from decoding.beam import beam, beam_search
from decoding.search import greedy, sample
from decoding.trace import PATCHES, Exploration, grounded_objects
from evaluation.grounding import grounding
from figures.pictures import as_array
from model import Captioner, EncoderCNN
from models.checkpoint import Checkpoint
from models.decoders import DECODERS


@pytest.fixture(params=DECODERS)
def any_decoder(request, vocabulary) -> Checkpoint:
    """A tiny untrained captioner of each kind of decoder."""
    kind = DECODERS[request.param]
    torch.manual_seed(0)
    encoder = EncoderCNN("small", image_size=32, grid=2)
    sizes = {"word_size": 16, "hidden_size": 16, "attention_size": 16, "heads": 2, "dropout": 0.0}
    known = {name: size for name, size in sizes.items() if name in inspect.signature(kind).parameters}
    model = Captioner(encoder, kind(len(vocabulary), encoder.feature_size, **known)).eval()
    return Checkpoint(model, vocabulary, {})


@pytest.mark.parametrize("how", [{}, {"temperature": 1.5}], ids=["beam", "drawn"])
def test_its_numbers_are_those_of_reading_the_caption(any_decoder, noise, how):
    exploration = Exploration(any_decoder, noise)
    trace = exploration.caption(prefix=(5,), **how)
    inputs = PackedSequence(torch.tensor([1, *trace.ids[:-1]]), torch.ones(len(trace.ids), dtype=torch.long))
    with torch.inference_mode():
        logits, maps = exploration.model.decoder(exploration.regions, inputs, torch.tensor([0]))
    read = logits.softmax(-1)[range(len(trace.ids)), list(trace.ids)]
    assert trace.ids[0] == 5 and trace.words == tuple(exploration.vocabulary.words[i] for i in trace.ids)
    assert trace.probabilities == pytest.approx(read.tolist(), abs=1e-5)
    assert trace.occlusion == (maps is None)
    if not trace.occlusion:
        assert trace.maps == pytest.approx(maps.numpy(), abs=1e-5)


def test_only_the_choices_read_the_caption(loaded, noise):
    exploration, read = Exploration(loaded(), noise), []
    exploration.model.decoder.register_forward_hook(lambda *_: read.append(1))
    trace = exploration.caption()
    exploration.what_if(trace, 1, 7)
    assert read == []
    exploration.choices(trace)
    assert read == [1]


def test_the_choices_are_the_likeliest_words_that_can_be_said(loaded, noise):
    exploration = Exploration(loaded(), noise)
    trace = exploration.caption(num_beams=3)
    decoder = exploration.model.decoder
    with torch.inference_mode():
        memory = decoder.prepare(exploration.regions)
        state, word = memory.state, torch.tensor([1])
        for own, probability, choices in zip(trace.ids, trace.probabilities, exploration.choices(trace), strict=True):
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


def test_a_what_if_keeps_the_words_before_says_the_word_and_is_decoded_on(loaded, noise):
    exploration = Exploration(loaded(), noise)
    trace = exploration.caption(num_beams=2)
    for place in (0, 2, len(trace.ids) - 1):
        word = next(c.id for c in exploration.choices(trace)[place] if c.id != trace.ids[place])
        other = exploration.what_if(trace, place, word, num_beams=2)
        assert other.ids[: place + 1] == (*trace.ids[:place], word)
        rest = beam_search(
            exploration.model.decoder, exploration.regions, num_beams=64, max_length=9, prefix=other.ids[: place + 1]
        )
        assert all(tuple(h.ids[: place + 1]) == other.ids[: place + 1] for h in rest[0])
    assert exploration.what_if(trace, 1, trace.ids[1], num_beams=2).ids == trace.ids, "the word itself changes nothing"


def test_a_caption_can_be_ended_and_goes_on_after_a_word_that_it_would_not_say(loaded, noise):
    exploration = Exploration(loaded(), noise)
    end, unknown = exploration.vocabulary.end, 3
    assert exploration.caption(prefix=(7, end)).ids == (7, end)
    for search in (greedy, beam, sample):
        (said,) = search(
            exploration.model.decoder, exploration.regions, prefix=(unknown, 5), min_length=4, max_length=9
        )
        assert said.ids[:2] == [unknown, 5] and len(said.ids) > 4 and unknown not in said.ids[2:]


def test_drawing_is_the_same_with_the_same_seed(loaded, noise):
    exploration = Exploration(loaded(), noise)
    drawn = [exploration.caption(temperature=2.0, seed=seed).ids for seed in (1, 1, 2, 3)]
    assert drawn[0] == drawn[1] and len(set(drawn)) > 1


def test_occlusion_is_the_fall_of_the_probability_when_a_patch_is_greyed(loaded, noise):
    captioner = loaded(attention="none")
    with torch.no_grad():
        captioner.model.decoder.lm_head.weight.mul_(1000)  # so that a patch of the picture matters
    exploration = Exploration(captioner, noise)
    trace = exploration.caption()
    assert trace.occlusion and trace.maps.shape == (len(trace.ids), PATCHES**2)
    patch = trace.maps.max(0).argmax()
    row, column = divmod(patch, PATCHES)
    step = exploration.pixels.shape[-1] // PATCHES
    greyed = as_array(Image.fromarray(exploration.pixels[0].permute(1, 2, 0).numpy())).copy()
    greyed[row * step : (row + 1) * step, column * step : (column + 1) * step] = 128
    again = Exploration(captioner, Image.fromarray(greyed))
    chances = [{choice.id: choice.probability for choice in choices} for choices in again.choices(trace)]
    left = [chances[place][own] for place, own in enumerate(trace.ids)]
    fall = np.subtract(trace.probabilities, left)
    assert fall.max() > 1e-4 and trace.maps[:, patch] == pytest.approx(fall.clip(0), abs=1e-5)


def test_a_named_thing_is_found_with_its_mask_and_whether_the_peak_is_inside(loaded, records):
    record = records["val"][0]
    trace = replace(Exploration(loaded(), Image.open(record.path)).caption(), words=("a", "dog"))
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
