"""What a user relies on in the search: likely captions, with their true probabilities, that end."""

from itertools import product

import pytest
import torch
from conftest import rounds
from random_models import FEATURES, captions, decoder, features, scored
from torch import Tensor

from data_loader import Transform, get_loader
from decoding.beam import beam
from decoding.search import decode, greedy, sample
from vocabulary import END, PAD, START, UNK

# --- what the search finds


@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
@pytest.mark.parametrize("attention", ["none", "additive", "dot"])
def test_a_beam_of_one_is_greedy(cell, attention):
    for seed in range(4):
        model, pictures = decoder(seed, cell=cell, attention=attention), features(6, seed)
        straight, narrow = greedy(model, pictures), beam(model, pictures, num_beams=1)
        assert captions(straight) == captions(narrow)
        assert [h.finished for h in straight] == [h.finished for h in narrow]
        for a, b in zip(straight, narrow, strict=True):
            assert a.logprobs == pytest.approx(b.logprobs, abs=1e-4)
            assert (a.attention is None) == (b.attention is None) == (attention == "none")
            if a.attention is not None:
                torch.testing.assert_close(a.attention, b.attention)


# --- what it tells


@pytest.mark.parametrize("search", [greedy, beam])
@pytest.mark.parametrize("attention", ["none", "dot", "additive"])
def test_probabilities_and_attention_are_those_of_forward(search, attention):
    for seed in range(3):
        model, pictures = decoder(seed, attention=attention), features(5, seed)
        for picture, hypothesis in zip(pictures, search(model, pictures, max_length=9), strict=True):
            logprobs, looks = scored(model, picture, hypothesis.ids)
            assert hypothesis.logprobs == pytest.approx(logprobs, abs=1e-4)
            if attention == "none":
                assert hypothesis.attention is None
            else:
                assert hypothesis.attention.shape == (len(hypothesis.ids), FEATURES[0])
                torch.testing.assert_close(hypothesis.attention, looks, rtol=1e-4, atol=1e-5)
                torch.testing.assert_close(hypothesis.attention.sum(1), torch.ones(len(hypothesis.ids)))


@pytest.mark.parametrize("search", [greedy, beam])
def test_neither_order_nor_size_of_the_batch_matters(search):
    model, pictures = decoder(3), features(9)
    together = captions(search(model, pictures))
    assert len({tuple(ids) for ids in together}) > 3
    order = torch.randperm(9, generator=torch.Generator().manual_seed(0))
    assert captions(search(model, pictures[order])) == [together[i] for i in order]
    assert [search(model, picture.unsqueeze(0))[0].ids for picture in pictures] == together


# --- where it ends


@pytest.mark.parametrize("search", [greedy, beam])
def test_nothing_is_said_after_the_end(search):
    lengths = set()
    for seed in range(4):
        for hypothesis in search(decoder(seed), features(10, seed)):
            if hypothesis.finished:
                assert hypothesis.ids.count(END) == 1 and hypothesis.ids[-1] == END
            else:
                assert END not in hypothesis.ids and len(hypothesis.ids) == 20
            assert len(hypothesis.logprobs) == len(hypothesis.ids) == len(hypothesis.attention)
            lengths.add(len(hypothesis.ids))
    assert len(lengths) > 3


@pytest.mark.parametrize("search", [greedy, beam])
def test_a_model_that_never_ends_is_stopped(search):
    for hypothesis in search(decoder(end=-1e9), features(3), max_length=7):
        assert len(hypothesis.ids) == 7 and END not in hypothesis.ids and not hypothesis.finished
        assert all(logprob > -1e3 for logprob in hypothesis.logprobs)


@pytest.mark.parametrize("search", [greedy, beam])
def test_a_model_that_ends_at_once_says_as_much_as_it_must(search):
    for least in (1, 3):
        for hypothesis in search(decoder(end=1e3), features(3), min_length=least):
            assert len(hypothesis.ids) == least + 1 and hypothesis.finished
            assert max(hypothesis.logprobs[:-1]) < -900  # as the model has it
    for hypothesis in search(decoder(end=1e3), features(3), min_length=0):
        assert hypothesis.ids == [END] and hypothesis.finished and hypothesis.score == pytest.approx(0, abs=1e-4)


@pytest.mark.parametrize("search", [greedy, beam])
def test_what_is_banned_is_never_said(search):
    model = decoder(words=8, end=-1e4)
    with torch.no_grad():
        model.lm_head.bias[[PAD, START, UNK]] = 50.0
    said = {word for h in search(model, features(10)) for word in h.ids}
    assert said <= set(range(4, 12)) and len(said) > 1
    for hypothesis in search(model, features(3), max_length=4):
        assert max(hypothesis.logprobs) < -20  # the model's own probabilities, over its whole vocabulary
    said = {word for h in search(model, features(10), banned=[PAD, START, END, *range(4, 12)]) for word in h.ids}
    assert said == {UNK}
    said = {word for h in search(model, features(10), banned=()) for word in h.ids}
    assert said <= {PAD, START, UNK}


@pytest.mark.parametrize("search", [greedy, sample, beam])
def test_a_caption_begins_with_its_prefix_whatever_the_other_rules_say(search):
    model, prefix = decoder(), [4, UNK, 4, 7]
    hypotheses = search(model, features(4), prefix=iter(prefix), banned=[4, UNK], no_repeat_ngram_size=1)
    for picture, hypothesis in zip(features(4), hypotheses, strict=True):
        assert hypothesis.ids[:4] == prefix and not {4, UNK} & set(hypothesis.ids[4:])
        assert hypothesis.logprobs == pytest.approx(scored(model, picture, hypothesis.ids)[0], abs=1e-4)


@pytest.mark.parametrize("search", [greedy, sample, beam])
def test_banned_words_may_come_from_an_iterator(search):
    """It can be read only once, but holds for the whole caption."""
    model, allowed = decoder(end=-1e4), {5, 6, 7}
    banned = (word for word in range(12) if word not in allowed)
    hypotheses = search(model, features(6), banned=banned, max_length=6, prefix=[4])
    assert {word for h in hypotheses for word in h.ids[1:]} <= allowed
    assert all(h.ids[0] == 4 and len(h.ids) == 6 for h in hypotheses)


@pytest.mark.parametrize("search", [greedy, sample, beam])
def test_no_run_of_words_is_said_twice(search):
    repeats = {n: 0 for n in (0, 1, 2, 3)}
    for seed, n in product(range(4), repeats):
        torch.manual_seed(seed)
        for hypothesis in search(decoder(seed, end=-3.0), features(10, seed), no_repeat_ngram_size=n, max_length=12):
            for length in (1, 2, 3):
                runs = [tuple(hypothesis.ids[i : i + length]) for i in range(len(hypothesis.ids) - length + 1)]
                if length == (n or 2):
                    repeats[n] += len(runs) - len(set(runs))
    assert repeats[0] > 10 and not repeats[1] + repeats[2] + repeats[3]


@pytest.mark.parametrize("search", [greedy, sample, beam])
def test_when_every_word_is_used_up_the_caption_ends(search):
    for hypothesis in search(decoder(words=3, end=-1e4), features(4), no_repeat_ngram_size=1, min_length=10):
        assert len(hypothesis.ids) == 4 and sorted(hypothesis.ids[:3]) == [4, 5, 6] and hypothesis.finished


@pytest.mark.parametrize(
    "search, wrong",
    [
        (greedy, {"max_length": 0}),
        (greedy, {"no_repeat_ngram_size": -1}),
        (sample, {"temperature": 0.0}),
        (sample, {"top_p": 0.0}),
        (sample, {"top_k": 0}),
        (beam, {"num_beams": 0}),
        (beam, {"num_beams": 5, "num_beam_groups": 2}),
    ],
)
def test_settings_that_make_no_sense_are_refused(search, wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        search(decoder(), features(2), **wrong)


# --- drawing at random


def drawn(count: int, **options) -> tuple[Tensor, Tensor]:
    """How often each word comes first in `count` draws for one picture, and the model's probabilities for it."""
    model, picture = decoder(2, words=5), features(1)
    hypotheses = sample(model, picture.expand(count, -1, -1), max_length=1, min_length=0, banned=(), **options)
    counts = torch.bincount(torch.tensor([h.ids[0] for h in hypotheses]), minlength=9)
    memory = model.prepare(picture)
    with torch.no_grad():
        logits, _, _ = model.step(torch.tensor([START]), memory.state, memory)
    return counts / count, logits[0].softmax(-1)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_words_are_drawn_as_often_as_they_are_likely(temperature):
    shares, own = drawn(20_000, temperature=temperature, generator=seeded())
    expected = own ** (1 / temperature) / (own ** (1 / temperature)).sum()
    assert expected.max() < 0.9  # there is something to choose
    assert (shares - expected).abs().max() < 4 * (0.25 / 20_000) ** 0.5


def test_only_the_likeliest_words_are_drawn():
    _, own = drawn(1)
    order = own.argsort(descending=True)
    for k in (1, 2, 4):
        shares, _ = drawn(5_000, top_k=k, generator=seeded())
        assert set(shares.nonzero().flatten().tolist()) == set(order[:k].tolist())
        assert (shares[order[:k]] - own[order[:k]] / own[order[:k]].sum()).abs().max() < 0.04
    sums = own[order].cumsum(0)
    for words in (1, 2, 3):
        shares, _ = drawn(5_000, top_p=float(sums[words - 1]) - 1e-4, generator=seeded())
        assert set(shares.nonzero().flatten().tolist()) == set(order[:words].tolist())


def test_several_may_be_drawn_of_each_picture():
    model, pictures = decoder(), features(3)
    certain = sample(model, pictures, temperature=1e-3, num_samples=4)
    assert captions(certain) == [ids for ids in captions(greedy(model, pictures)) for _ in range(4)]
    assert len({tuple(ids) for ids in captions(sample(model, pictures[:1], num_samples=10))}) > 5


def test_a_seed_draws_the_same_again():
    model, pictures = decoder(1), features(12)
    first, again, other = (captions(sample(model, pictures, generator=seeded(s))) for s in (1, 1, 2))
    assert first == again != other
    for picture, hypothesis in zip(pictures, sample(model, pictures, temperature=0.7, top_k=3), strict=True):
        assert hypothesis.logprobs == pytest.approx(scored(model, picture, hypothesis.ids)[0], abs=1e-4)


# --- a split


@pytest.mark.parametrize("search", [greedy, beam])
def test_every_picture_of_a_split_gets_its_caption(records, vocabulary, captioner, search):
    model = captioner(dropout=0.5).train()
    loader = get_loader(records["train"], vocabulary, transform=Transform(32), images_per_batch=4)
    found = decode(model, loader, search, max_length=6)
    assert sorted(found) == [1, 2, 3, 4, 5, 6]
    assert model.training and model.decoder.training  # as it was, but the captions are made without dropout
    model.eval()
    for batch in loader:
        for image_id, image in zip(batch.image_ids, batch.pixels, strict=True):
            alone = search(model.decoder, model.encoder(image.unsqueeze(0)), max_length=6)[0]
            assert found[image_id].ids == alone.ids


@rounds
def test_rounding_the_products_hardly_changes_what_is_said(records, vocabulary, captioner):
    loader = get_loader(records["train"], vocabulary, transform=Transform(32))
    plain, rounded = (decode(captioner(), loader, max_length=6, rounded=rounded) for rounded in (False, True))
    for image_id, hypothesis in plain.items():
        assert rounded[image_id].logprobs[0] == pytest.approx(hypothesis.logprobs[0], abs=0.02)


def test_a_search_that_fails_leaves_the_model_as_it_was(records, vocabulary, captioner):
    model = captioner(dropout=0.5, finetune=0).train()
    loader = get_loader(records["train"], vocabulary, transform=Transform(32))
    modes = [module.training for module in model.modules()]
    assert True in modes and False in modes  # the frozen encoder's
    with pytest.raises(ValueError, match="max_length"):
        decode(model, loader, greedy, max_length=0)
    assert [module.training for module in model.modules()] == modes
