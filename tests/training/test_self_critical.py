"""What a user relies on when a model learns from its own captions: the true score, and its true gradient."""

from dataclasses import replace
from functools import partial

import pytest
import torch
from torch.nn.utils.rnn import pack_padded_sequence

from data_loader import Transform, get_loader
from decoding.search import BANNED, decode, greedy
from evaluation.cider import CiderD
from evaluation.metrics import statistics, tokenized, tokenized_references
from models.checkpoint import RunCheckpoint
from training.loop import fit
from training.optimization import TrainingConfig
from training.self_critical import SelfCritical
from vocabulary import END, START


@pytest.fixture
def loader(records, vocabulary):
    return get_loader(records["train"], vocabulary, transform=Transform(32), images_per_batch=3)


def test_the_reward_is_the_official_cider_d(records):
    every = [record for split in records.values() for record in split]
    captions = tokenized({r.image_id: every[(i * 5) % len(every)].captions[i % 5] for i, r in enumerate(every)})
    references = tokenized_references({r.image_id: r.captions[: 1 + i % 5] for i, r in enumerate(every)})
    official = statistics(captions, references)
    cider = CiderD(references)
    scores = [cider(image, captions[image]) for image in official.ids]
    assert scores == pytest.approx(official.cider.tolist(), abs=1e-9)
    assert len(set(scores)) > 5 and max(scores) > 1


def test_a_caption_cut_short_scores_lower_than_one_that_ends():
    cider = CiderD({1: [[7, 8, 9, 7, 6, END]], 2: [[5, 4, END]]})
    whole, cut = cider(1, [7, 8, 9, 7, 6, END]), cider(1, [7, 8, 9, 7, 6])
    assert whole == pytest.approx(10.0) and cut < whole
    assert cider(1, []) == 0.0


def test_the_gradient_is_that_of_the_expected_reward(captioner, loader):
    """Captions of one word: their probabilities, and so the expected reward, can be written down."""
    model = captioner(seed=1).eval()
    batch = next(iter(loader))
    one = replace(batch, image_ids=batch.image_ids[:1], pixels=batch.pixels[:1])
    learning = model.decoder.lm_head.weight
    rewards = torch.linspace(-1, 2, len(learning))[torch.randperm(len(learning))]
    loss = SelfCritical(lambda image, ids: float(rewards[ids[0]]), weight=1.0, samples=20_000, max_length=1)
    (drawn,) = torch.autograd.grad(loss(model, one), learning)
    start = pack_padded_sequence(torch.tensor([[START]]), torch.tensor([1]), batch_first=True)
    logits, _ = model.decoder(model.regions(one), start, torch.tensor([0]))
    logits[0, [*BANNED, END]] = -torch.inf  # a caption has at least one word
    (true,) = torch.autograd.grad(-(logits[0].softmax(0) @ rewards), learning)
    assert (drawn - true).norm() < 0.05 * true.norm()


def test_what_is_rewarded_is_said(captioner, loader, vocabulary):
    model, word, batch = captioner(), vocabulary.encode("square")[1], next(iter(loader))
    assert not any(word in hypothesis.ids for hypothesis in decode(model, [batch], greedy).values())
    loss = SelfCritical(lambda image, ids: ids.count(word), weight=1.0, max_length=6)
    optimizer = torch.optim.Adam(model.parameters(), 0.02)
    for _ in range(40):
        optimizer.zero_grad()
        loss(model, batch).backward()
        optimizer.step()
    assert all(h.ids.count(word) >= 3 for h in decode(model, [batch], greedy, max_length=6).values())


def test_siblings_of_equal_worth_teach_nothing(captioner, loader):
    model = captioner()
    loss = SelfCritical(lambda image, ids: 3.0, weight=1.0)(model, next(iter(loader)))
    loss.backward()
    assert loss == 0
    assert all(p.grad is None or not p.grad.any() for p in model.parameters())


def test_a_stopped_run_draws_on_where_it_was(captioner, loader, records, vocabulary, tmp_path):
    """Same seed, same weights, interrupted or not; and the perplexities are those of the true words alone."""
    cider = CiderD({r.image_id: [vocabulary.encode(c)[1:] for c in r.captions] for r in records["train"]})
    config = TrainingConfig(epochs=3, learning_rate=0.01)
    train = partial(fit, train_loader=loader, val_loader=loader, config=config, extra_loss=SelfCritical(cider, 5.0))

    def stop(model, history):
        if len(history) == 2:
            raise KeyboardInterrupt

    whole, stopped, again = captioner(dropout=0.3), captioner(dropout=0.3), captioner(dropout=0.3)
    history = train(whole)
    with pytest.raises(KeyboardInterrupt):
        train(stopped, run_checkpoint=RunCheckpoint(tmp_path, vocabulary, {}), after_epoch=[stop])
    train(again, run_checkpoint=RunCheckpoint(tmp_path, vocabulary, {}))
    for a, b in zip(whole.state_dict().values(), again.state_dict().values(), strict=True):
        assert torch.equal(a, b)
    assert all(1 < row["train_perplexity"] < len(vocabulary) for row in history)


def test_one_caption_has_no_siblings():
    with pytest.raises(ValueError, match="at least 2"):
        SelfCritical(lambda image, ids: 0.0, 1.0, samples=1)


def test_an_error_while_captions_are_drawn_leaves_the_model_in_train_mode(captioner, loader):
    model, batch = captioner().train(), next(iter(loader))
    with pytest.raises(ValueError, match="max_length"):
        SelfCritical(lambda image, ids: 0.0, weight=1.0, max_length=0)(model, batch)
    assert model.training and model.decoder.training
