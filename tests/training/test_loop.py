"""What a user relies on in training: it learns, keeps the best model, and says what is wrong."""

import copy
import inspect
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from data_loader import Transform, get_loader
from decoding.search import greedy
from model import AttentionDecoder, Captioner, EncoderCNN
from models.checkpoint import RunCheckpoint, load
from models.decoders import DECODERS
from training.loop import _descend, evaluate, fit
from training.optimization import TrainingConfig
from vocabulary import Vocabulary

CPU = torch.device("cpu")


def equal_weights(a: dict, b: dict) -> bool:
    return all(torch.equal(a[key], b[key]) for key in a.keys() | b.keys())


def test_validation_is_in_eval_mode_and_changes_nothing(captioner, loader):
    model = captioner(dropout=0.9).train()
    before = copy.deepcopy(model.state_dict())
    first, second = (evaluate(model, loader("val"), CPU) for _ in range(2))
    model.decoder.dropout.p = 0.0
    assert first == second == evaluate(model, loader("val"), CPU)
    assert equal_weights(model.state_dict(), before)  # batch-norm's statistics too
    assert model.training and model.decoder.training


def test_fit_follows_the_schedules(captioner, loader):
    asked, epochs, train = [], [], loader()

    def schedule(progress: float) -> float:
        asked.append(progress)
        return 1 - progress

    history = fit(
        captioner(finetune=0),
        train,
        loader("val"),
        TrainingConfig(epochs=4, warmup=0.5, teacher_forcing=schedule),
        after_epoch=[lambda model, history: epochs.append(train.batch_sampler.epoch)],
    )
    assert asked == [step / 8 for step in range(8)]  # two batches an epoch
    assert epochs == [0, 1, 2, 3]  # each in an order of its own
    rates = [row["lr"] for row in history]
    assert rates[0] < rates[1] > rates[2] > rates[3] > 0 and max(rates) <= TrainingConfig.learning_rate
    assert [row["epoch"] for row in history] == [1, 2, 3, 4]


@pytest.mark.parametrize(("attention", "from_pictures"), [("additive", True), ("dot", False), ("none", False)])
def test_a_few_captions_can_be_learned_by_heart(records, vocabulary, captioner, attention, from_pictures):
    one_caption = [replace(r, captions=r.captions[2:3]) for r in records["train"][:4]]
    model = captioner(attention=attention, word_size=32, hidden_size=64, attention_size=32)
    source = {"transform": Transform(32)}
    if not from_pictures:
        random = np.random.default_rng(0)
        regions = random.normal(size=(4, 4, model.encoder.feature_size)).astype(np.float16)
        source = {"features": {r.image_id: of_image for r, of_image in zip(one_caption, regions, strict=True)}}
    train = get_loader(one_caption, vocabulary, images_per_batch=2, **source)
    val = get_loader(one_caption, vocabulary, shuffle=False, **source)
    history = fit(
        model, train, val, TrainingConfig(epochs=80 if from_pictures else 40, learning_rate=0.01, weight_decay=0.0)
    )
    assert history[0]["val_perplexity"] > 10 and history[-1]["val_perplexity"] < 1.12  # 1.19 for who sees no picture
    (batch,) = val
    said = [vocabulary.decode(h.ids) for h in greedy(model.eval().decoder, model.regions(batch))]
    assert said == [vocabulary.decode(vocabulary.encode(r.captions[0])) for r in one_caption]


def test_a_frozen_encoder_is_bit_identical_after_training(captioner, loader):
    model = captioner(finetune=0)
    before = copy.deepcopy(model.state_dict())
    fit(model, loader(), loader("val"), TrainingConfig(epochs=2, weight_decay=0.1))
    changed = {key for key, value in model.state_dict().items() if not torch.equal(value, before[key])}
    assert changed and all(key.startswith("decoder.") for key in changed)


def test_the_best_by_score_is_kept_and_put_back(captioner, loader, vocabulary, tmp_path):
    scores, seen = iter([1.0, 3.0, 2.0]), []
    model = captioner(finetune=0)
    history = fit(
        model,
        loader(),
        loader("val"),
        TrainingConfig(epochs=3),
        score=lambda model: next(scores),
        after_epoch=[lambda model, history: seen.append((copy.deepcopy(model.state_dict()), len(history)))],
        run_checkpoint=RunCheckpoint(tmp_path, vocabulary),
    )
    assert [row["score"] for row in history] == [1.0, 3.0, 2.0]
    weights, lengths = zip(*seen, strict=True)
    assert lengths == (1, 2, 3)
    assert equal_weights(model.state_dict(), weights[1]) and not equal_weights(model.state_dict(), weights[2])
    assert equal_weights(load(tmp_path).model.state_dict(), weights[1])


def test_the_best_by_perplexity_is_kept_and_put_back(captioner, loader, records, vocabulary):
    model = captioner(finetune=0)
    one = get_loader(records["train"][:1], vocabulary, transform=Transform(32))  # soon it knows only this picture
    history = fit(model, one, loader("val"), TrainingConfig(epochs=25, learning_rate=0.05, weight_decay=0.0))
    perplexities = [row["val_perplexity"] for row in history]
    assert min(perplexities) < perplexities[-1]
    assert evaluate(model, loader("val"), CPU) == pytest.approx(min(perplexities), rel=1e-5)


@pytest.mark.parametrize(("patience", "epochs"), [(1, 3), (2, 6), (None, 7)])
def test_early_stopping(captioner, loader, patience, epochs):
    scores = iter([1, 2, 1.5, 3, 2, 2.5, 4])  # better in epochs 1, 2, 4 and 7
    plan = TrainingConfig(epochs=7, patience=patience)
    history = fit(captioner(finetune=0), loader(), loader("val"), plan, score=lambda model: next(scores))
    assert len(history) == epochs


def test_a_loss_that_is_no_number_stops_the_run_and_leaves_the_best(captioner, loader, vocabulary, tmp_path):
    kept = {}

    def poison(model, history):
        if len(history) == 2:
            kept.update(copy.deepcopy(model.state_dict()))
            with torch.no_grad():
                model.decoder.lm_head.bias.fill_(math.nan)

    model, scores = captioner(finetune=0), iter([1, 2, 3, 4])
    options = {
        "score": lambda model: next(scores),
        "after_epoch": [poison],
        "run_checkpoint": RunCheckpoint(tmp_path, vocabulary),
    }
    with pytest.raises(FloatingPointError, match="not a number in epoch 3, at the images 2, 5, 4: lower"):
        fit(model, loader(), loader("val"), TrainingConfig(epochs=4), **options)
    assert equal_weights(model.state_dict(), kept)
    assert equal_weights(load(tmp_path).model.state_dict(), kept)


def test_weights_spoilt_by_the_last_step_are_noticed_too(captioner, loader):
    """The loss of a batch is measured before its step: validation sees what the step has done."""
    plan = TrainingConfig(epochs=1, learning_rate=1e38, warmup=0.0)
    with pytest.raises(FloatingPointError, match="after epoch 1"):
        fit(captioner(finetune=0), loader(images_per_batch=6), loader("val"), plan)


def test_a_loss_that_is_no_number_names_the_images_and_leaves_good_weights(captioner, records, vocabulary):
    """In the first epoch, too, when there is no best model yet."""
    for spoilt in (math.nan, math.inf):
        model = captioner(finetune=0)
        features = {r.image_id: np.ones((4, model.encoder.feature_size), np.float32) for r in records["train"]}
        features[3][2, 1] = spoilt
        train = get_loader(records["train"], vocabulary, features=features, images_per_batch=2, seed=1)
        ids = next(batch.image_ids for batch in train if 3 in batch.image_ids)
        before = copy.deepcopy(model.state_dict())
        with pytest.raises(FloatingPointError, match=f"epoch 1, at the images {ids[0]}, {ids[1]}: lower"):
            fit(model, train, train, TrainingConfig(epochs=2))
        assert equal_weights(model.state_dict(), before)


@pytest.mark.parametrize("name", DECODERS)
def test_extremes_are_trained_on_like_anything_else(name, records, vocabulary, captioner, tmp_path):
    """A batch of one; captions of one word, of none, of far too many; pictures of 1 x 1 and 10,000 x 10."""
    sizes = {"word_size": 8, "hidden_size": 8, "attention_size": 8}
    known = inspect.signature(DECODERS[name]).parameters
    torch.manual_seed(0)
    encoder = EncoderCNN("small", image_size=32, grid=2, finetune=None)
    sizes = {key: value for key, value in sizes.items() if key in known}
    model = Captioner(encoder, DECODERS[name](len(vocabulary), encoder.feature_size, **sizes, dropout=0.0))
    odd = []
    for i, (size, caption) in enumerate(
        [((1, 1), "square"), ((10_000, 10), "a red square " * 3_000), ((10, 10_000), "?"), ((64, 64), "zebra 🦓")]
    ):
        Image.new("RGB", size, "red").save(tmp_path / f"{i}.png")
        odd.append(replace(records["train"][0], image_id=i, path=tmp_path / f"{i}.png", captions=(caption,)))
    options = {"transform": Transform(32, jitter=0.3), "max_words": 12}
    one_by_one = get_loader(odd, vocabulary, **options, images_per_batch=1)
    assert sorted(batch.lengths.item() for batch in one_by_one) == [1, 2, 3, 12]  # <end> is a word; the longest is cut
    history = fit(model, one_by_one, get_loader(odd, vocabulary, **options), TrainingConfig(epochs=2))
    assert all(math.isfinite(row["train_loss"] + row["val_perplexity"]) for row in history)
    decoded = greedy(model.eval().decoder, model.regions(next(iter(one_by_one))), max_length=5)
    assert len(decoded) == 1 and len(decoded[0].ids) <= 5


def test_a_vocabulary_of_specials_only_learns_the_unknown(records, captioner):
    words = Vocabulary(["once"], threshold=2)
    assert len(words) == 4
    torch.manual_seed(0)
    encoder = EncoderCNN("small", image_size=32, grid=2, finetune=0)
    model = Captioner(encoder, AttentionDecoder(4, encoder.feature_size, 8, 8, 8))
    loader = get_loader(records["train"], words, transform=Transform(32))
    history = fit(model, loader, loader, TrainingConfig(epochs=15, learning_rate=0.05))
    assert history[-1]["val_perplexity"] < 2


class OwnLoader:
    """All that `fit` asks of a loader: some batches, always the same."""

    def __init__(self, batches: list):
        self.batches, self.position, self.asked = batches, 0, []

    def set_epoch(self, epoch: int, start: int = 0) -> None:
        self.asked.append((epoch, start))

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self):
        for position, batch in enumerate(self.batches, start=1):
            self.position = position
            yield batch


def test_a_loader_of_ones_own_will_do(captioner, loader):
    own = OwnLoader(list(loader()))
    history = fit(captioner(), own, list(loader("val")), TrainingConfig(epochs=2))
    assert len(history) == 2 and own.asked == [(0, 0), (1, 0), (2, 0)]


def test_an_error_while_a_split_is_evaluated_leaves_the_model_in_train_mode(captioner, loader):
    def failing():
        yield from loader("val", images_per_batch=1)
        raise OSError("the disk is gone")

    model = captioner(finetune=0).train()
    before = [module.training for module in model.modules()]
    with pytest.raises(OSError, match="the disk is gone"):
        evaluate(model, failing(), torch.device("cpu"))
    assert [module.training for module in model.modules()] == before and model.training
    assert not any(module.training for module in model.encoder.frozen_modules)


def test_a_gradient_is_cut_to_the_length_that_is_asked_for():
    weight = torch.nn.Parameter(torch.zeros(4))
    norm = _descend(torch.optim.SGD([weight], lr=1.0), (100 * weight).sum(), clip=0.5)
    assert norm.item() == pytest.approx(200) and weight.norm().item() == pytest.approx(0.5, rel=1e-4)
