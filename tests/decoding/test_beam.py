"""What a user relies on in beam search: it finds what an exhaustive or a plainly written search finds."""

from itertools import product

import pytest
import torch
from random_models import captions, decoder, features, scored
from torch import Tensor

from decoding.beam import beam, beam_search
from model import Decoder
from models.fast import highest
from vocabulary import END, PAD, START, UNK


@torch.no_grad()
def plain_beam(model: Decoder, picture: Tensor, width: int, penalty: float, max_length: int) -> list[int]:
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


def test_the_highest_of_many_are_those_of_topk():
    torch.manual_seed(0)
    for columns in (1, 200, 1280, 1281, 5000):
        scores = torch.randn(3, columns)
        scores[:, columns // 2 :] += 2  # several of the highest in one block, and in what is no whole block
        scores[1, 7:] = -torch.inf
        scores[2, ::251] += 9  # each in a block of its own
        count = min(5, columns)
        assert torch.equal(scores.gather(1, highest(scores, count)), scores.topk(count).values)


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
