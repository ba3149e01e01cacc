"""What a user relies on in training: a perplexity that means what it says, and runs that go on."""

import copy
import inspect
import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn.utils.rnn import pack_padded_sequence

from data_loader import Transform, get_loader
from decoding.search import greedy
from model import AttentionDecoder, Captioner, EncoderCNN, SpatialDecoder
from models.checkpoint import RunCheckpoint, load
from models.decoders import DECODERS
from training.loop import (
    OPTIMIZERS,
    TrainingConfig,
    doubly_stochastic_penalty,
    evaluate,
    fit,
    inverse_sigmoid_decay,
    linear_decay,
    perplexity,
    scheduled_sampling_forward,
    token_loss,
)
from vocabulary import Vocabulary

CPU = torch.device("cpu")


@pytest.fixture
def loader(records, vocabulary) -> Callable:
    """Builds a loader of a split, its pictures 32 pixels wide: `loader("train", images_per_batch=3, ...)`."""

    def build(split: str = "train", **options):
        return get_loader(records[split], vocabulary, transform=Transform(32), **({"images_per_batch": 3} | options))

    return build


def without_seconds(history: list[dict]) -> list[dict]:
    return [{key: value for key, value in row.items() if key != "seconds"} for row in history]


def equal_weights(a: dict, b: dict) -> bool:
    return all(torch.equal(a[key], b[key]) for key in a.keys() | b.keys())


# --- perplexity


def test_a_uniform_models_perplexity_is_the_vocabularys_size(captioner, loader, vocabulary):
    model = captioner()
    with torch.no_grad():
        model.decoder.lm_head.weight.zero_()
        model.decoder.lm_head.bias.zero_()
    assert evaluate(model, loader("val"), CPU) == pytest.approx(len(vocabulary), rel=1e-5)


def test_perplexity_is_over_all_tokens_not_a_mean_of_batches(captioner, loader):
    model = captioner().eval()
    with torch.no_grad():
        model.decoder.lm_head.weight.mul_(20)  # sure of itself, so that batches differ
    batches = list(loader("val", images_per_batch=2))  # two images, and one left over
    nll, tokens = [], []
    for batch in batches:
        logprobs = model(batch)[0].log_softmax(-1)
        nll.append(-logprobs[torch.arange(len(logprobs)), batch.targets].sum().item())
        tokens.append(len(batch.targets))
    assert tokens[0] != tokens[1]
    expected = math.exp(sum(nll) / sum(tokens))
    mean_of_batches = sum(math.exp(n / t) for n, t in zip(nll, tokens, strict=True)) / 2
    assert abs(mean_of_batches - expected) > 0.01 * expected
    assert evaluate(model, batches, CPU) == pytest.approx(expected, rel=1e-4)
    assert perplexity(sum(nll), sum(tokens)) == expected
    assert perplexity(1e9, 1) < math.inf  # absurd, but a number


def test_padding_and_start_are_not_in_the_loss(captioner, loader, vocabulary):
    """A model that holds them for impossible is not punished: they are never asked for."""
    model = captioner().eval()
    batch = next(iter(loader(images_per_batch=6)))
    assert (batch.captions == vocabulary.pad).any()
    losses = []
    for never in ([], [vocabulary.pad, vocabulary.start], [vocabulary.end]):
        logits = model(batch)[0].clone()
        logits[:, never] = -1e4
        losses.append(token_loss(logits, batch.targets).item() / len(batch.targets))
    assert losses[1] <= losses[0] < 10  # a little lower: their share goes to the words
    assert losses[2] > 100  # but <end> is asked for


def test_label_smoothing_is_not_in_the_reported_perplexity(captioner, loader):
    histories, weights = [], []
    for smoothing in (0.0, 0.3):
        model = captioner(finetune=0)
        fit(model, loader(), loader("val"), TrainingConfig(epochs=1, learning_rate=0.01, label_smoothing=smoothing))
        weights.append(model.state_dict())
        model = captioner(finetune=0)
        before = evaluate(model, loader(), CPU)
        still = TrainingConfig(epochs=1, learning_rate=0.0, weight_decay=0.0, label_smoothing=smoothing)
        histories += fit(model, loader(), loader("val"), still)
        assert histories[-1]["train_perplexity"] == pytest.approx(before, rel=1e-5)
        assert histories[-1]["train_loss"] == pytest.approx(math.log(before), rel=1e-5)
    assert not equal_weights(*weights)  # it does smooth what is learned
    assert histories[0]["val_perplexity"] == histories[1]["val_perplexity"]


def test_validation_is_in_eval_mode_and_changes_nothing(captioner, loader):
    model = captioner(dropout=0.9).train()
    before = copy.deepcopy(model.state_dict())
    first, second = (evaluate(model, loader("val"), CPU) for _ in range(2))
    model.decoder.dropout.p = 0.0
    assert first == second == evaluate(model, loader("val"), CPU)
    assert equal_weights(model.state_dict(), before)  # batch-norm's statistics too
    assert model.training and model.decoder.training


# --- teacher forcing


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


def test_looks_that_cover_the_picture_once_cost_nothing(captioner, loader):
    attention = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])  # of captions 0, 1, 0
    assert doubly_stochastic_penalty(attention, torch.tensor([2, 1])).item() == pytest.approx((0 + 0 + 0 + 1) / 4)
    assert doubly_stochastic_penalty(attention[[0, 2]], torch.tensor([1, 1])).item() == 0
    plain, even = (
        fit(captioner(), loader(), loader("val"), TrainingConfig(epochs=1, attention_penalty=weight))[0]
        for weight in (0.0, 5.0)
    )
    assert plain["train_loss"] != even["train_loss"]  # it learned otherwise
    assert even["train_perplexity"] == pytest.approx(math.exp(even["train_loss"]))  # and the penalty is in neither
    with pytest.raises(ValueError, match="attention_penalty is for a decoder with attention"):
        fit(captioner(attention="none"), loader(), loader("val"), TrainingConfig(attention_penalty=1.0))


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_learns(name, captioner, loader):
    plan = TrainingConfig(epochs=4, optimizer=name, learning_rate=0.05 if name == "sgd" else 2e-3)
    history = fit(captioner(), loader(), loader("val"), plan)
    assert history[-1]["train_loss"] < history[0]["train_loss"]


def test_an_unknown_optimizer_is_refused():
    with pytest.raises(ValueError, match="unknown optimizer 'adamx': take one of adamw, adam, sgd, rmsprop"):
        TrainingConfig(optimizer="adamx")


def test_schedules_begin_and_end_where_they_say():
    assert [linear_decay(0.25)(p) for p in (0, 0.5, 1)] == [1, 0.625, 0.25]
    sigmoid = inverse_sigmoid_decay()
    assert sigmoid(0) > 0.99 and sigmoid(0.5) == 0.5 and sigmoid(1) < 0.01
    assert TrainingConfig(teacher_forcing=0.7).ratio(0.3) == 0.7
    assert TrainingConfig(teacher_forcing=linear_decay(0)).ratio(0.25) == 0.75
    plan = TrainingConfig(warmup=0.2)
    assert plan.lr_factor(0) == 0 and plan.lr_factor(0.1) == 0.5 and plan.lr_factor(0.2) == 1
    assert plan.lr_factor(0.6) == pytest.approx(0.5) and plan.lr_factor(1) == pytest.approx(0)
    assert TrainingConfig(warmup=0).lr_factor(0) == 1
    with pytest.raises(ValueError, match="patience must be at least 1 epoch"):
        TrainingConfig(patience=0)


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


# --- learning


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


# --- the best model


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


# --- extremes


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
    assert sorted(batch.lengths.item() for batch in one_by_one) == [1, 2, 3, 13]  # <end> is a word
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


# --- stopped and gone on with


class Stopped(Exception):
    pass


def after_steps(model, steps: int, error: type[BaseException]) -> None:
    """The model is interrupted when it is to learn from so many batches and one more."""
    learned = iter(range(steps))

    def hook(*_):
        if model.training and next(learned, None) is None:
            raise error

    model.encoder.register_forward_pre_hook(hook)


@pytest.mark.parametrize("steps", [1, 2, 4, 5])  # three an epoch
@pytest.mark.parametrize("workers", [0, 1])
def test_a_run_stopped_inside_an_epoch_goes_on_from_there(captioner, loader, vocabulary, tmp_path, steps, workers):
    plan = TrainingConfig(epochs=3, learning_rate=0.02, teacher_forcing=linear_decay(0.2), seed=4)

    def run(folder, seed, save_every=0.0, stop=None):
        model = captioner(seed, dropout=0.3)
        train = loader(captions_per_image=2, images_per_batch=2, workers=workers)
        seen = []
        model.encoder.register_forward_pre_hook(lambda *_: seen.append(model.training))
        if stop:
            after_steps(model, stop, Stopped)
        try:
            history = fit(
                model,
                train,
                loader("val"),
                plan,
                run_checkpoint=RunCheckpoint(folder, vocabulary),
                save_every=save_every,
            )
        except Stopped:
            return None
        assert [len(batch.image_ids) for batch in train] == [2, 2, 2]  # afterwards the loader is whole again
        return model.state_dict(), without_seconds(history), sum(seen)

    weights, history, batches = run(tmp_path / "whole", 0, save_every=1e9)
    assert batches == 9 and run(tmp_path / "stopped", 0, stop=steps) is None
    again, history_again, rest = run(tmp_path / "stopped", 9)
    assert history_again == history and equal_weights(again, weights)
    assert rest == 9 - steps  # what was learned from is not learned from again
    assert equal_weights(load(tmp_path / "stopped").model.state_dict(), weights)


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
def test_the_same_seed_gives_the_same_weights_whatever_the_number_of_workers(captioner, loader):
    weights = []
    for workers, seed in ((0, 0), (1, 0), (2, 0), (0, 1)):
        model = captioner(seed=3, dropout=0.3)
        fit(
            model,
            loader(workers=workers, seed=seed),
            loader("val", workers=workers),
            TrainingConfig(epochs=2, seed=seed),
        )
        weights.append(model.state_dict())
    assert equal_weights(weights[0], weights[1]) and equal_weights(weights[0], weights[2])
    assert not equal_weights(weights[0], weights[3])


@pytest.mark.parametrize("steps", [1, 5])  # two an epoch
def test_ctrl_c_leaves_a_usable_model_and_a_checkpoint(captioner, loader, vocabulary, tmp_path, capsys, steps):
    scores, best = iter([2.0, 1.0, 3.0, 4.0]), {}

    def note(model, history):
        if len(history) == 1:
            best.update(copy.deepcopy(model.state_dict()))

    def go_on(model, **options):
        run_checkpoint = RunCheckpoint(tmp_path, vocabulary)
        how = {"score": lambda model: next(scores), "after_epoch": [note], "run_checkpoint": run_checkpoint}
        return fit(model, loader(), loader("val"), TrainingConfig(epochs=4), **how)

    model = captioner(finetune=0)
    after_steps(model, steps, KeyboardInterrupt)
    with pytest.raises(KeyboardInterrupt):
        go_on(model)
    said = capsys.readouterr().out
    if steps == 1:
        assert said == "stopped in epoch 1: the model holds what it learned in it; run this again to go on\n"
    else:
        assert said == "stopped in epoch 3: the model holds its best weights so far; run this again to go on\n"
        assert equal_weights(model.state_dict(), best)
        assert equal_weights(load(tmp_path).model.state_dict(), best)
    history = go_on(captioner(seed=1, finetune=0))
    assert [row["epoch"] for row in history] == [1, 2, 3, 4]


@pytest.mark.parametrize("stopped_after", [1, 3])
def test_a_stopped_run_goes_on_as_if_it_had_not_been(captioner, loader, vocabulary, tmp_path, stopped_after):
    """Bit by bit: weights, batch-norm, dropout, coins, the optimizer's memory, the learning rate, the best so far."""
    plan = TrainingConfig(epochs=4, learning_rate=0.02, teacher_forcing=linear_decay(0.2), seed=4)

    def run(folder, seed, after_epoch=(), done=0):
        model = captioner(seed, dropout=0.3)
        loaders = loader(captions_per_image=2), loader("val")
        scores = iter(np.array([1.0, 3.0, 2.0, 2.5])[done:])  # numbers of numpy's, not Python's
        options = {
            "score": lambda model: next(scores),
            "after_epoch": after_epoch,
            "run_checkpoint": RunCheckpoint(folder, vocabulary),
        }
        history = fit(model, *loaders, plan, **options)
        return model.state_dict(), history

    def stop(model, history):
        if len(history) == stopped_after:
            raise Stopped

    def dream(model, history):
        torch.rand(7)  # looking at samples must not change what is learned

    weights, history = run(tmp_path / "whole", seed=0, after_epoch=[dream])
    with pytest.raises(Stopped):
        run(tmp_path / "stopped", seed=0, after_epoch=[stop])
    again, history_again = run(
        tmp_path / "stopped", seed=9, done=stopped_after
    )  # other first weights, which do not matter
    assert without_seconds(history_again) == without_seconds(history)
    assert equal_weights(again, weights)
    assert equal_weights(load(tmp_path / "stopped").model.state_dict(), weights)
    finished, unchanged = run(tmp_path / "whole", seed=8)  # nothing left to do
    assert without_seconds(unchanged) == without_seconds(history) and equal_weights(finished, weights)
