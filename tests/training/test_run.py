"""What a user relies on in a run that is stopped: it goes on as if it had not been."""

import copy

import numpy as np
import pytest
import torch

from models.checkpoint import RunCheckpoint, load
from training.loop import fit
from training.optimization import TrainingConfig
from training.teacher_forcing import linear_decay


def without_seconds(history: list[dict]) -> list[dict]:
    return [{key: value for key, value in row.items() if key != "seconds"} for row in history]


def equal_weights(a: dict, b: dict) -> bool:
    return all(torch.equal(a[key], b[key]) for key in a.keys() | b.keys())


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
