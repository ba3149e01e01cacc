"""What a user relies on in the search: likely captions, with their true probabilities, that end."""

from itertools import product

import pytest
import torch
from torch import Tensor
from torch.nn.utils.rnn import pack_padded_sequence

from data_loader import Transform, get_loader
from decoding.beam import beam, beam_search
from decoding.ensemble import Ensemble
from decoding.search import END, PAD, START, UNK, Hypothesis, decode, greedy, sample
from model import Captioner, DecoderRNN
from models.decoders import DECODERS
from training import pretraining
from vocabulary import SPECIALS, Vocabulary

FEATURES = (4, 6)  # R, E


def decoder(
    seed: int = 0, words: int = 8, cell: str = "lstm", attention: str = "additive", end: float = 0.0
) -> DecoderRNN:
    """A random model of so many words beside the four specials, with a taste; `end` adds to the score of `<end>`."""
    torch.manual_seed(seed)
    model = DecoderRNN(4 + words, FEATURES[1], 6, 12, 5, cell=cell, attention=attention).eval()
    with torch.no_grad():
        model.embedding.weight.mul_(3)
        model.lm_head.weight.mul_(8)
        model.lm_head.bias[END] += end
    return model


def features(pictures: int, seed: int = 0) -> Tensor:
    return 2 * torch.randn(pictures, *FEATURES, generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def scored(model: DecoderRNN, picture: Tensor, ids: list[int]) -> tuple[list[float], Tensor | None]:
    """The log-probabilities of a caption's ids, and its attention, as `forward` has them."""
    inputs = pack_padded_sequence(torch.tensor([[START, *ids[:-1]]]), torch.tensor([len(ids)]), batch_first=True)
    scores, looks = model(picture.unsqueeze(0), inputs, torch.zeros(1, dtype=torch.long))
    return scores.log_softmax(-1)[range(len(ids)), ids].tolist(), looks


def captions(hypotheses: list[Hypothesis]) -> list[list[int]]:
    return [hypothesis.ids for hypothesis in hypotheses]


@torch.no_grad()
def plain_beam(model: DecoderRNN, picture: Tensor, width: int, penalty: float, max_length: int) -> list[int]:
    """Beam search as one would write it down, one picture, one hypothesis at a time."""
    memory = model.prepare(picture.unsqueeze(0))
    live, done = [([], 0.0, memory.state)], []
    for _ in range(max_length):
        continuations = []
        for ids, total, state in live:
            last = torch.tensor([ids[-1] if ids else START])
            logits, after, _ = model.step(last, state, memory)
            for word, logprob in enumerate(logits[0].log_softmax(-1).tolist()):
                if word not in (PAD, START, UNK):
                    continuations.append(([*ids, word], total + logprob, after))
        continuations.sort(key=lambda c: -c[1])
        best = continuations[: width - len(done)]
        done += [c for c in best if c[0][-1] == END]
        live = [c for c in best if c[0][-1] != END]
        if not live:
            break
    return max(done or live, key=lambda c: c[1] / len(c[0]) ** penalty)[0]


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


@pytest.mark.parametrize("penalty", [0.0, 0.7, 1.0, 2.0])
def test_a_wide_beam_is_exhaustive_search(penalty):
    """Every caption of at most four words there is, scored by forward."""
    say = [END, 4, 5, 6]
    every = [[*start, END] for n in range(4) for start in product(say[1:], repeat=n)]
    for seed in range(3):
        model, pictures = decoder(seed, words=3, end=-1.0), features(2, seed)
        found = beam(model, pictures, num_beams=300, length_penalty=penalty, max_length=4, min_length=0)
        for picture, hypothesis in zip(pictures, found, strict=True):
            scores = {tuple(ids): sum(scored(model, picture, ids)[0]) / len(ids) ** penalty for ids in every}
            best = max(scores, key=scores.get)
            assert tuple(hypothesis.ids) == best and hypothesis.finished
            assert hypothesis.score == pytest.approx(scores[best], abs=1e-4)


@pytest.mark.parametrize("width", [2, 3, 5])
def test_the_batched_beam_is_the_plain_one(width):
    found, lengths = [], set()
    for seed, penalty in product(range(5), (0.0, 1.0)):
        model, pictures = decoder(seed, end=1.0), features(5, seed)
        options = {"num_beams": width, "length_penalty": penalty, "max_length": 8, "min_length": 0}
        found = captions(beam(model, pictures, **options))
        assert found == [plain_beam(model, picture, width, penalty, 8) for picture in pictures]
        lengths |= set(map(len, found))
    assert len(lengths) > 4  # short ones, long ones, unfinished ones


def test_a_wider_beam_finds_better_captions():
    totals = {width: 0.0 for width in (1, 3, 10)}
    for seed, width in product(range(5), totals):
        model, pictures = decoder(seed, end=1.0), features(8, seed)
        totals[width] += sum(h.score for h in beam(model, pictures, num_beams=width, length_penalty=0, max_length=10))
    assert totals[1] < totals[3] < totals[10]


def test_the_length_penalty_weighs_short_against_long():
    model, pictures = decoder(1, end=0.5), features(20)
    lengths = []
    for penalty in (0.0, 0.7, 1.5):
        hypotheses = beam(model, pictures, num_beams=6, length_penalty=penalty, max_length=12)
        lengths.append(sum(len(h.ids) for h in hypotheses))
        for h in hypotheses:
            assert h.score == pytest.approx(sum(h.logprobs) / len(h.ids) ** penalty, abs=1e-4)
    assert lengths[0] < lengths[1] < lengths[2]


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
def test_banned_words_may_come_from_an_iterator(search):
    """It can be read only once, but holds for the whole caption."""
    model, allowed = decoder(end=-1e4), {5, 6, 7}
    banned = (word for word in range(12) if word not in allowed)
    hypotheses = search(model, features(6), banned=banned, max_length=6, prefix=[4])
    assert {word for h in hypotheses for word in h.ids[1:]} <= allowed
    assert all(h.ids[0] == 4 and len(h.ids) == 6 for h in hypotheses)


def test_the_specials_are_the_vocabularys():
    assert (Vocabulary.pad, Vocabulary.start, Vocabulary.end, Vocabulary.unk) == (PAD, START, END, UNK)


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


# --- the n best, and groups that differ


def test_the_n_best_are_different_captions_in_order():
    for seed in range(3):
        model, pictures = decoder(seed, end=1.0), features(5, seed)
        for picture, found in zip(pictures, beam_search(model, pictures, num_beams=6, max_length=8), strict=True):
            assert len({tuple(h.ids) for h in found}) == len(found) > 1
            assert [h.finished for h in found] == sorted([h.finished for h in found], reverse=True)
            for some in (True, False):
                scores = [h.score for h in found if h.finished is some]
                assert scores == sorted(scores, reverse=True)
            for h in found:
                assert h.logprobs == pytest.approx(scored(model, picture, h.ids)[0], abs=1e-4)
                assert h.score == pytest.approx(sum(h.logprobs) / len(h.ids) ** 0.7, abs=1e-4)


def test_groups_say_different_things():
    first_words, pictures = {}, features(20)
    for diversity in (0.0, 100.0):
        found = beam_search(
            decoder(4), pictures, num_beams=6, num_beam_groups=3, diversity_penalty=diversity, max_length=6
        )
        first_words[diversity] = [len({h.ids[0] for h in hypotheses}) for hypotheses in found]
        for picture, hypotheses in zip(pictures[:4], found, strict=False):
            for h in hypotheses:  # what diversity costs is not in the score
                assert h.logprobs == pytest.approx(scored(decoder(4), picture, h.ids)[0], abs=1e-4)
    assert min(first_words[100.0]) >= 3 and sum(first_words[0.0]) < sum(first_words[100.0])


def test_one_group_without_rivals_is_the_plain_beam():
    model, pictures = decoder(5, end=1.0), features(8)
    plain = captions(beam(model, pictures, num_beams=3))
    assert captions(beam(model, pictures, num_beams=6, num_beam_groups=2, diversity_penalty=0.0)) == plain


# --- several models as one


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


def test_a_search_that_fails_leaves_the_model_as_it_was(records, vocabulary, captioner):
    model = captioner(dropout=0.5, finetune=0).train()
    loader = get_loader(records["train"], vocabulary, transform=Transform(32))
    modes = [module.training for module in model.modules()]
    assert True in modes and False in modes  # the frozen encoder's
    with pytest.raises(ValueError, match="max_length"):
        decode(model, loader, greedy, max_length=0)
    assert [module.training for module in model.modules()] == modes


def test_the_specials_have_the_same_ids_everywhere():
    assert tuple(map(Vocabulary().__getitem__, SPECIALS)) == (PAD, START, END, UNK)
    assert (Vocabulary.pad, Vocabulary.start, Vocabulary.end, Vocabulary.unk) == tuple(range(pretraining.SPECIALS))
