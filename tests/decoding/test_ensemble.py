"""What a user relies on when several models write together: the mean of their probabilities, by every search."""

import pytest
import torch
from random_models import FEATURES, decoder, features, scored

from decoding.beam import beam
from decoding.ensemble import Ensemble
from decoding.search import greedy
from model import Captioner
from models.decoders import DECODERS


def ensemble(*seeds: int, **options) -> Ensemble:
    return Ensemble([Captioner(torch.nn.Identity(), decoder(seed, **options)) for seed in seeds]).eval()


@pytest.mark.parametrize("search", [greedy, beam])
def test_an_ensemble_of_twins_is_the_model(search):
    pictures = features(6)
    alone, twins = search(decoder(3), pictures), search(ensemble(3, 3), [pictures, pictures])
    for a, b in zip(alone, twins, strict=True):
        assert a.ids == b.ids and a.logprobs == pytest.approx(b.logprobs, abs=1e-4)
        torch.testing.assert_close(a.attention, b.attention)


def test_an_ensemble_says_the_mean_of_the_probabilities():
    pictures = features(4)
    for hypothesis, picture in zip(beam(ensemble(1, 2), [pictures, pictures], max_length=6), pictures, strict=True):
        both = torch.tensor([scored(decoder(seed), picture, hypothesis.ids)[0] for seed in (1, 2)])
        assert hypothesis.logprobs == pytest.approx(both.exp().mean(0).log().tolist(), abs=1e-4)


def test_members_may_be_of_any_kind_but_of_one_vocabulary():
    members = [Captioner(torch.nn.Identity(), DECODERS[kind](12, FEATURES[1]).eval()) for kind in DECODERS]
    hypotheses = beam(Ensemble(members), [features(3)] * len(members), num_beams=3, max_length=5)
    assert [len(h.logprobs) == len(h.ids) for h in hypotheses] == [True] * 3
    assert hypotheses[0].attention is None  # one of them does not look
    with pytest.raises(ValueError, match="one vocabulary"):
        Ensemble([Captioner(torch.nn.Identity(), decoder(words=n)) for n in (8, 9)])
