"""What a user relies on when the neighbours' captions choose: only what the beam found, and what people would say."""

from collections.abc import Callable

import pytest
import torch

from data_loader import Transform, get_loader
from decoding.beam import beam_search
from decoding.consensus import Consensus
from decoding.ensemble import Ensemble
from decoding.search import Hypothesis, decode
from vocabulary import END


@pytest.fixture
def loader_of(records, vocabulary) -> Callable:
    """Builds a loader of a split's pictures, in their order."""

    def build(split: str, images_per_batch: int = 3):
        transform = Transform(32)
        return get_loader(
            records[split], vocabulary, transform=transform, images_per_batch=images_per_batch, shuffle=False
        )

    return build


def hypothesis(ids: list[int], score: float = 0.0) -> Hypothesis:
    return Hypothesis([*ids, END], [-1.0] * (len(ids) + 1), None, score, True)


def test_the_caption_that_the_neighbours_agree_with_is_chosen(captioner, loader_of, records, vocabulary):
    consensus = Consensus(captioner(), loader_of("train"), progress=False)
    near = [records["train"][0].image_id]
    true = vocabulary.encode(records["train"][0].captions[0])[1:-1]
    likely, said = hypothesis(true[:1] * 3, score=-0.1), hypothesis(true, score=-5.0)
    chosen = consensus.choose(near, [likely, said])
    assert chosen.ids == said.ids and chosen.score == consensus.cider(near[0], said.ids) > 1
    assert max(consensus.cider.alike(near, said.ids)) == pytest.approx(10)  # to the last word, `<end>`


def test_what_the_beam_says_again_and_again_may_count(captioner, loader_of, records, vocabulary):
    near = [records["train"][0].image_id]
    first, second = (vocabulary.encode(r.captions[0])[1:-1] for r in records["train"][:2])
    found = [hypothesis(second), hypothesis(second[:-1]), hypothesis(second[1:]), hypothesis(first)]

    def chosen(own: float) -> list[int]:
        return Consensus(captioner(), loader_of("train"), own=own, progress=False).choose(near, found).ids

    assert chosen(0) == found[3].ids and chosen(0.01) == found[3].ids and chosen(100) == found[0].ids
    among = Consensus(captioner(), loader_of("train"), progress=False).cider.among([h.ids for h in found])
    assert among[0] == max(among) and among[3] == min(among) > 10 / 4 - 1e-9  # itself among them


def test_among_equals_the_likeliest_stays(captioner, loader_of, records):
    consensus = Consensus(captioner(), loader_of("train"), progress=False)
    silent = [hypothesis([]), hypothesis([])]
    silent[1].logprobs = [-2.0]
    assert consensus.choose([records["train"][0].image_id], silent).logprobs == silent[0].logprobs


def test_near_is_what_points_the_same_way(captioner, records, vocabulary):
    """The mean region counts, not one of them; its direction, not its length."""
    model = captioner().train()
    v, other = torch.eye(model.encoder.feature_size)[:2]

    def regions(mean):
        return torch.stack([mean + 9 * other, mean - 9 * other, mean, mean])

    shown = (v, 10 * v + 5 * other, 3 * v + other, other, -v, v - other)
    features = {r.image_id: regions(mean).numpy() for r, mean in zip(records["train"], shown, strict=True)}
    loader = get_loader(records["train"], vocabulary, features=features, shuffle=False)
    consensus = Consensus(model, loader, neighbours=3, progress=False)
    (near,) = consensus.nearest(regions(3 * v).unsqueeze(0))
    assert near == [records["train"][i].image_id for i in (0, 2, 1)]
    assert model.training  # as it was


def test_neighbours_that_show_something_else_have_no_say(captioner, loader_of, records, vocabulary):
    """One caption that agrees wholly counts for more than many that agree a little."""
    loader, train = loader_of("train"), records["train"]
    whole, common = (hypothesis(ids) for ids in (vocabulary.encode(train[0].captions[0])[1:-1], [4, 5]))
    every = [record.image_id for record in train]
    alike = Consensus(captioner(), loader, progress=False).cider.alike
    assert max(alike(every, whole.ids)) > max(alike(every, common.ids))
    few = Consensus(captioner(), loader, most=1, progress=False).choose(every, [common, whole])
    assert few.ids == whole.ids and few.score == pytest.approx(max(alike(every, whole.ids)))


def test_only_what_the_beam_found_can_be_said(captioner, loader_of):
    """And a hypothesis keeps the model's own log-probabilities and looks, whatever it was chosen for."""
    model, val = captioner(seed=3), loader_of("val")
    search = Consensus(model, loader_of("train"), neighbours=10_000, most=3, progress=False)
    said = decode(model, val, search, num_beams=4, max_length=6)
    found = decode(model, val, beam_search, num_beams=4, max_length=6)
    for image_id, chosen in said.items():
        same = next(h for h in found[image_id] if h.ids == chosen.ids)
        assert chosen.logprobs == same.logprobs and torch.equal(chosen.attention, same.attention)
        alike = [sorted(search.cider.alike(search.images, h.ids))[-3:] for h in found[image_id]]
        assert chosen.score == pytest.approx(max(sum(three) / 3 for three in alike))


def test_batches_change_nothing(captioner, loader_of):
    model, captions = captioner(seed=3), []
    for size in (1, 4):
        search = Consensus(model, loader_of("train", size), neighbours=3, progress=False)
        said = decode(model, loader_of("val", size), search, num_beams=4, max_length=6)
        captions.append({image_id: hypothesis.ids for image_id, hypothesis in said.items()})
    assert captions[0] == captions[1]


def test_an_ensemble_has_neighbours_too(captioner, loader_of, records):
    ensemble = Ensemble([captioner(seed=1), captioner(seed=2)])
    search = Consensus(ensemble, loader_of("train"), neighbours=2, progress=False)
    alone = [Consensus(model, loader_of("train"), progress=False).directions for model in ensemble.models]
    assert torch.equal(search.directions, torch.cat(alone, 1)) and not torch.equal(*alone)
    assert len(decode(ensemble, loader_of("val"), search, num_beams=3, max_length=6)) == len(records["val"])


def test_a_loader_that_fails_leaves_the_model_as_it_was(captioner, loader_of):
    model = captioner(dropout=0.5).train()

    def breaks():
        yield from loader_of("train", 3)
        raise OSError("the disk is gone")

    with pytest.raises(OSError):
        Consensus(model, breaks(), progress=False)
    assert model.training and model.decoder.training


def test_no_neighbours_are_refused(captioner, loader_of):
    with pytest.raises(ValueError, match=r"own must be 0 or more, not -1"):
        Consensus(captioner(), loader_of("train"), own=-1, progress=False)
    for how in ({"neighbours": 0}, {"most": 0}):
        with pytest.raises(ValueError, match="neighbours and most must be at least 1, not "):
            Consensus(captioner(), loader_of("train"), **how)
