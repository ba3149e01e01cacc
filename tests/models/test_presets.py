"""What a user relies on in the presets: the shapes of their sources, and that each of them learns and comes back."""

import contextlib
import dataclasses

import pytest
import torch
from torch.utils.data import DataLoader

from data_loader import Batch, Transform, get_loader
from dataset.loading import load_records
from dataset.sample import making
from decoding.search import greedy
from model import Captioner, EncoderCNN
from models import checkpoint
from models.decoders import DECODERS
from training import presets
from training.config import Config
from training.loop import History, evaluate, fit
from training.losses import token_loss
from training.optimization import TrainingConfig
from training.teacher_forcing import scheduled_sampling_forward
from vocabulary import Vocabulary

NAMED = [name for name in presets.PRESETS if name not in ("sample", "photographs")]
CPU = torch.device("cpu")

# regions, their size; what a decoder returns for 2 captions of 3 words of a vocabulary of 50
SHAPES = {
    "vgg19_gru": (14 * 14, 512, 256),
    "rnn": (4 * 4, 400, 512),
    "lstm": (4 * 4, 400, 512),
    "attention_lstm": (4 * 4, 400, 512),
    "inception_gru": (8 * 8, 2048, 512),
    "show_and_tell": (1, 2048, 512),
    "show_attend_tell": (14 * 14, 2048, 512),
    "adaptive": (7 * 7, 2048, 512),
    "transformer": (7 * 7, 2048, 512),
}


@pytest.mark.parametrize("name", NAMED)
def test_shapes_and_one_training_step_on_the_real_encoder(name):
    settings = presets.PRESETS[name]
    regions, feature_size, hidden = SHAPES[name]
    torch.manual_seed(0)
    encoder = EncoderCNN(**settings.encoder_options() | {"weights": None})
    assert (encoder.regions, encoder.feature_size) == (regions, feature_size)
    decoder = DECODERS[settings.decoder](50, feature_size, **settings.decoder_options())
    model = Captioner(encoder, decoder).train()
    side = encoder.image_size
    images = torch.randint(0, 256, (2, 3, side, side), dtype=torch.uint8)
    captions = torch.randint(4, 50, (2, 1, 4)).tolist()
    scores, looks = model(Batch.of([1, 2], captions, pixels=images))
    assert scores.shape == (6, 50)
    with torch.no_grad():
        memory = decoder.prepare(model.encoder(images))
        logits, state, look = decoder.step(torch.tensor([1, 1]), memory.state, memory)
    assert logits.shape == (2, 50) and all(s.shape[0] == 2 and s.shape[-1] == hidden for s in state)
    if name in ("rnn", "lstm", "show_and_tell"):
        assert looks is None and look is None
    else:
        assert looks.shape == (6, regions) and look.shape == (2, regions)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-3)
    token_loss(scores, torch.randint(4, 50, (6,))).backward()
    optimizer.step()
    changed = {key.split(".")[0] for key, value in model.state_dict().items() if not torch.equal(value, before[key])}
    assert changed == ({"decoder"} if settings.finetune == 0 else {"encoder", "decoder"})


def test_inception_gru_projects_and_keeps_its_state():
    settings = presets.INCEPTION_GRU
    decoder = DECODERS[settings.decoder](settings.max_words, 2048, **settings.decoder_options()).eval()
    memory = decoder.prepare(torch.randn(3, 64, 2048))
    assert memory.regions.shape == (3, 64, 256) and (memory.regions >= 0).all()
    assert torch.equal(memory.state[0], torch.zeros(3, 512))
    scores, state, attention = decoder.step(torch.tensor([1, 1, 1]), memory.state, memory)
    assert scores.shape == (3, 5000) and state[0].shape == (3, 512) and attention.shape == (3, 64)
    other = decoder.step(torch.tensor([1, 1, 1]), state, memory)[0]
    assert not torch.allclose(scores, other)  # the same word again, and it remembers the first


def test_attention_lstm_begins_with_the_mean_region():
    decoder = DECODERS["AttentionLSTM"](50, 400, word_size=8, hidden_size=16).eval()
    memory = decoder.prepare(torch.randn(3, 16, 400))
    h, c = memory.state
    torch.testing.assert_close(h, memory.regions.mean(1))
    assert torch.equal(h, c) and torch.equal(memory.keys, memory.regions)


def test_a_cached_grid_is_stretched_as_the_picture_would_be(records):
    encoder = EncoderCNN("small", image_size=64, grid=14, finetune=0).eval()  # its own grid is 8 x 8
    assert (encoder.feature_regions, encoder.regions) == (64, 196)
    images = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)
    with torch.no_grad():
        kept = encoder.forward_features(images)
        assert kept.shape == (2, 64, 256)
        torch.testing.assert_close(encoder.resize_grid(kept), encoder(images))
        corner = encoder.resize_grid(kept)[:, 0]
    torch.testing.assert_close(corner, kept[:, 0])


def by_heart(name: str, records) -> tuple[Captioner, DataLoader, Vocabulary, Config]:
    """Eight scenes with one caption each, learned by a preset's own decoder and loss through the small encoder."""
    settings = presets.for_dataset("sample", name)
    vocabulary = Vocabulary(r.captions[0] for r in records)
    torch.manual_seed(0)
    encoder = EncoderCNN("small", image_size=32, grid=4, finetune=None)
    decoder = DECODERS[settings.decoder](len(vocabulary), encoder.feature_size, **settings.decoder_options())
    model = Captioner(encoder, decoder)
    loader = get_loader(records, vocabulary, transform=Transform(32), images_per_batch=8)
    return model, loader, vocabulary, settings


@pytest.fixture(scope="module")
def eight(tmp_path_factory):
    """Eight scenes of the drawn sample, each with the shortest of its captions, all different."""
    folder = tmp_path_factory.mktemp("eight") / "sample"
    making.make(folder, train=16, val=1, test=1)
    records = load_records(folder, "train", instances=False)
    records = [dataclasses.replace(r, captions=[min(r.captions, key=len)]) for r in records]
    return list({r.captions[0]: r for r in records}.values())[:8]


class Learned(Exception):
    """There is nothing left to learn."""


def forgotten(model: Captioner, batch: Batch, vocabulary: Vocabulary) -> list[str]:
    """The captions that are not said as they were learned."""
    with torch.inference_mode():
        said = greedy(model.decoder, model.eval().regions(batch), max_length=40)
    pairs = zip(batch.image_of.tolist(), map(vocabulary.decode, batch.captions), strict=True)
    return [caption for image, caption in pairs if vocabulary.decode(said[image].ids) != caption]


@pytest.mark.parametrize(("name", "ratio"), [*((name, 1.0) for name in NAMED), ("vgg19_gru", 0.5)])
def test_eight_scenes_are_learned_by_heart_and_come_back_from_disk(name, ratio, eight, tmp_path):
    model, loader, vocabulary, settings = by_heart(name, eight)
    plan = TrainingConfig(
        epochs=100,
        learning_rate=3e-3,
        weight_decay=0.0,
        warmup=0.1,
        teacher_forcing=ratio,
        attention_penalty=settings.attention_penalty,
    )
    batch = next(iter(loader))

    def enough(model: Captioner, history: History) -> None:
        if history[-1]["val_perplexity"] < 1.05 and not forgotten(model, batch, vocabulary):
            raise Learned

    with contextlib.suppress(Learned):
        fit(model, loader, [batch], plan, after_epoch=[enough])
    assert evaluate(model.eval(), loader, CPU) < 1.1
    checkpoint.save(tmp_path / "run", model, vocabulary)
    for captioner in (model, checkpoint.load(tmp_path / "run").model):
        assert forgotten(captioner, batch, vocabulary) == []


def test_without_a_teacher_the_loss_falls_and_stays_finite(eight):
    model, loader, _, _ = by_heart("vgg19_gru", eight)
    history = fit(model, loader, loader, TrainingConfig(epochs=40, learning_rate=2e-3, teacher_forcing=0.0))
    losses = [row["train_loss"] for row in history]
    assert all(torch.isfinite(torch.tensor(losses))) and losses[-1] < 0.9 * losses[0]
    batch = next(iter(loader))
    assert scheduled_sampling_forward(model, batch, 0.0)[0].isfinite().all()


@pytest.mark.parametrize(
    ("named", "encoder", "weights"),
    [
        ("resnet18", "resnet18", "DEFAULT"),
        ("timm/resnet18.a1_in1k", "timm/resnet18.a1_in1k", "DEFAULT"),
        (f"mobilenet_v2={__file__}", "mobilenet_v2", __file__),
        ("squeezenet1_1=none", "squeezenet1_1", None),
        ("small", "small", None),
        (None, "resnet50", "IMAGENET1K_V2"),
    ],
)
def test_a_notebook_names_encoder_and_weights_at_once(named, encoder, weights):
    settings = presets.for_dataset("flickr8k", encoder=named)
    assert (settings.encoder, settings.weights) == (encoder, weights)


@pytest.mark.parametrize(
    "encoder", ["resnet5O", "resnet50=no.pth", "timm/tf_efficientnet_lite9", "timm/resnet18=no.pth", "small=no.pth"]
)
def test_a_misspelt_encoder_is_answered_at_the_start_as_it_would_be_later(encoder):
    name, _, weights = encoder.partition("=")
    with pytest.raises((ValueError, OSError)) as later:
        EncoderCNN(name, weights or None)
    with pytest.raises(type(later.value)) as now:
        presets.for_dataset("sample", encoder=encoder)
    assert str(now.value) == str(later.value)


@pytest.mark.parametrize("name", NAMED)
def test_on_the_sample_every_preset_looks_through_the_small_encoder(name):
    settings = presets.for_dataset("sample", name)
    assert (settings.encoder, settings.weights, settings.finetune, settings.grid) == ("small", None, 0, 8)
    own = presets.for_dataset("sample", name, {"encoder": "resnet18"})
    assert own.encoder == "resnet18" and own.weights == presets.PRESETS[name].weights
    assert presets.for_dataset("coco", name) == dataclasses.replace(presets.PRESETS[name], dataset="coco")


def test_an_encoder_by_name_has_weights_unless_none_are_asked_for():
    for given, weights in [({}, "DEFAULT"), ({"weights": "none"}, None), ({"weights": "a.pth"}, "a.pth")]:
        for name in ("resnet18", "timm/test_vit"):
            assert presets.for_dataset("sample", None, {"encoder": name} | given).weights == weights
    assert presets.for_dataset("sample", None, {"encoder": "small"}).weights is None


@pytest.mark.parametrize("name", NAMED)
def test_published_weights_are_named_never_a_moving_default(name):
    assert presets.PRESETS[name].weights == "IMAGENET1K_V1"
