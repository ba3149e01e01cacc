"""What a user relies on in teacher forcing: the true words, the model's own, or a coin tossed between them."""

import pytest
import torch
from torch.nn.utils.rnn import pack_padded_sequence

from models.decoders import SpatialDecoder
from training.teacher_forcing import scheduled_sampling_forward


@pytest.mark.parametrize(
    "decoder", [{"attention": "none"}, {"attention": "additive"}, {"attention": "dot"}, {"kind": SpatialDecoder}]
)
def test_a_teacher_who_never_leaves_is_the_forward_pass(captioner, loader, decoder):
    model = captioner(**decoder).double().eval()
    batch = next(iter(loader()))
    expected = model(batch)
    torch.testing.assert_close(scheduled_sampling_forward(model, batch, 1.0), expected)


def test_without_a_teacher_the_model_reads_its_own_words(captioner, loader, vocabulary):
    """The words fed are those it said before: scored by forward, they give the same scores."""
    model = captioner(seed=3).double().eval()
    with torch.no_grad():
        model.decoder.embedding.weight.mul_(5)  # what it reads matters, what it says varies
        model.decoder.lm_head.weight.mul_(5)
    batch = next(iter(loader()))
    scores, _ = scheduled_sampling_forward(model, batch, 0.0)
    said, fed = scores.argmax(-1).split(batch.inputs.batch_sizes.tolist()), batch.captions.clone()
    for t, words in enumerate(said[:-1], start=1):
        fed[: len(said[t]), t] = words[: len(said[t])]
    assert fed.unique().numel() > 3 and (fed[:, 0] == vocabulary.start).all()
    own = pack_padded_sequence(fed[:, :-1], batch.lengths, batch_first=True)
    torch.testing.assert_close(scores, model.decoder(model.regions(batch), own, batch.image_of)[0])
    assert not torch.allclose(scores, model(batch)[0])


def test_between_them_a_seeded_coin_falls_for_every_word(captioner, loader):
    model = captioner(seed=3).double().eval()
    with torch.no_grad():
        model.decoder.embedding.weight.mul_(5)
        model.decoder.lm_head.weight.mul_(5)
    batch = next(iter(loader()))
    taught, once, again, other, alone = (
        scheduled_sampling_forward(model, batch, ratio, torch.Generator().manual_seed(seed))[0]
        for ratio, seed in ((1.0, 0), (0.5, 0), (0.5, 0), (0.5, 1), (0.0, 0))
    )
    assert torch.equal(once, again)
    for different in (taught, other, alone):
        assert not torch.allclose(once, different)
