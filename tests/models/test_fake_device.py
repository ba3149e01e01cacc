"""What runs on a GPU is right there before there is one: nothing on two devices, and no step that waits for it.

The tensors are those of tests/fake_device.py. Where there is a GPU the other tests use it.
"""

import pytest
import torch
from fake_device import FakeDevice, fake_device
from PIL import Image

from decoding.beam import beam
from decoding.search import decode, greedy
from decoding.trace import Exploration
from models.checkpoint import Checkpoint
from models.decoders import DECODERS
from training.features import extract
from training.loop import fit
from training.optimization import TrainingConfig
from training.self_critical import SelfCritical

pytestmark = [
    pytest.mark.skipif(torch.cuda.is_available(), reason="a real GPU is here"),
    pytest.mark.skipif(torch.__version__ < "2.13", reason="before torch 2.13 an LSTM refuses a pretended state"),
]
CUDA = torch.device("cuda:0")


@pytest.fixture
def device(monkeypatch):
    with fake_device(monkeypatch) as device:
        yield device


def test_mixed_devices_and_waiting_are_found(device):
    x, index = torch.zeros(3, 2, device=CUDA), torch.tensor([0, 2])
    for mix in (lambda: x + torch.ones(3, 2), lambda: x[index], lambda: x.index_select(0, index)):
        with pytest.raises(AssertionError, match="two devices"):
            mix()
    assert not device.waits and (x + torch.tensor(1.0)).is_cuda
    asking = [x.sum().item, x.tolist, x.cpu, lambda: bool(x.any()), x.nonzero, lambda: x[x > 1], lambda: index.to(CUDA)]
    for number, ask in enumerate(asking, 1):
        for mode in (True, False):
            with torch.inference_mode(mode):
                ask()
        assert device.waits.total() == 2 * number
    with pytest.raises(TypeError, match="numpy"):
        x.numpy()


@pytest.mark.parametrize("kind", DECODERS.values(), ids=DECODERS)
@pytest.mark.parametrize("finetune", [0, None], ids=["features", "pictures"])
def test_a_training_waits_for_the_device_only_where_it_must(captioner, loader, device, kind, finetune):
    train, val = loader(captions_per_image=2), loader("val")
    model = captioner(kind=kind, finetune=finetune)
    fit(model, train, val, TrainingConfig(epochs=1, label_smoothing=0.1), device=CUDA)
    assert all(p.is_cuda for p in model.parameters())
    assert waits(device, but="training/run.py __init__") == in_training(train, val)


def in_training(train, val) -> dict[str, int]:
    """Where an epoch may wait."""
    return {
        "training/loop.py _check_finite": len(train),  # for the step before, when the next batch has been read
        "training/loop.py train_one_epoch": 1,  # for the epoch's loss
        "training/loop.py evaluate": len(val),  # for a batch's loss
    }


def waits(device: FakeDevice, but: str = "") -> dict[str, int]:
    """What was counted, without what puts a model on the device."""
    return {place: count for place, count in device.waits.items() if place != but}


def test_so_does_one_with_evenly_spread_attention_and_the_models_own_words(captioner, loader, device):
    train, val = loader(), loader("val")
    settings = TrainingConfig(epochs=1, attention_penalty=1.0, teacher_forcing=0.5)
    fit(captioner(), train, val, settings, device=CUDA)
    assert waits(device, but="training/run.py __init__") == in_training(train, val)


def test_whole_captions_of_its_own_are_waited_for_once_each(captioner, loader, device):
    train, val = loader(), loader("val")
    own = SelfCritical(lambda image, words: float(len(words)), weight=1.0, samples=2, max_length=6)
    fit(captioner(), train, val, TrainingConfig(epochs=1), extra_loss=own, device=CUDA)
    drawn = waits(device, but="training/run.py __init__")
    assert drawn.pop("decoding/search.py _write") <= len(train) * 7  # has every caption ended?
    assert drawn == in_training(train, val) | {
        "decoding/search.py _until_end": 2 * len(train),
        "decoding/search.py stacked": len(train),
    }


@pytest.mark.parametrize("search", [greedy, beam])
@pytest.mark.parametrize("kind", DECODERS.values(), ids=DECODERS)
def test_captions_are_the_same_there_and_waited_for_once_a_word(captioner, loader, device, kind, search):
    model, options = captioner(kind=kind), {"max_length": 6, "no_repeat_ngram_size": 2, "min_length": 2}
    here = decode(model, loader("val"), search, **options)
    model.to(CUDA)
    device.waits.clear()
    there = decode(model, loader("val"), search, **options)
    assert {i: h.ids for i, h in there.items()} == {i: h.ids for i, h in here.items()}
    allowed = {
        "decoding/search.py _write": 7,  # greedy: has every caption ended?
        "decoding/beam.py rows_alive": 7,  # which pictures are still searched
        "decoding/search.py _until_end": 2,  # words and their probabilities
        "decoding/beam.py of": 4,  # parents, words, probabilities, ends
        "decoding/search.py stacked": 1,  # where it looked
    }
    assert all(count <= allowed.get(place, 0) for place, count in device.waits.items()), device.waits


@pytest.mark.parametrize("kind", DECODERS.values(), ids=DECODERS)
def test_the_explorer_reads_a_caption_there(captioner, vocabulary, device, kind):
    model, picture, words = captioner(kind=kind, heads=2).eval(), Image.new("RGB", (40, 30), "red"), []
    for place in ("cpu", CUDA):
        exploration = Exploration(Checkpoint(model.to(place), vocabulary, max_length=6), picture)
        choices = exploration.choices(exploration.caption())
        words.append([[choice.word for choice in row] for row in choices])
    assert words[0] == words[1]


def test_features_are_the_same_there_and_waited_for_once_a_batch(captioner, records, device, tmp_path):
    encoder = captioner(finetune=0).encoder
    here = extract(records["val"], encoder, tmp_path / "here.npy", progress=False)
    encoder.to(CUDA)
    device.waits.clear()
    there = extract(records["val"], encoder, tmp_path / "there.npy", progress=False)
    assert all((here[i] == there[i]).all() for i in here)
    assert waits(device, but="training/features.py fingerprint") == {"training/features.py _fill": 1}
