"""What a user relies on in the encoder and the decoders: regions in their place, frozen is frozen, forward is step."""

import copy
import re
import socket
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlparse

import pytest
import torch
import torchvision
from conftest import Malicious
from safetensors.torch import save_file
from torch import nn

from data_loader import Batch
from model import AttentionDecoder, Captioner, DecoderRNN, EncoderCNN, SpatialDecoder
from models.cells import CELLS
from models.devices import best_device
from models.encoders import check_network
from models.interface import EncodedImages
from models.show_and_tell import ShowAndTell


def pictures(count: int, size: int, seed: int = 0) -> torch.Tensor:
    random = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, 3, size, size), dtype=torch.uint8, generator=random)


def decoder(gate: bool = False) -> AttentionDecoder:
    torch.manual_seed(0)
    return AttentionDecoder(11, 7, word_size=5, hidden_size=6, attention_size=4, gate=gate).double().eval()


# --- the decoder


@pytest.mark.parametrize(("name", "theirs"), [("rnn", nn.RNNCell), ("gru", nn.GRUCell), ("lstm", nn.LSTMCell)])
def test_the_cells_are_torchs_own(name, theirs):
    torch.manual_seed(0)
    reference, cell = theirs(5, 6).double(), CELLS[name]
    x, state = torch.randn(3, 5).double(), tuple(torch.randn(3, 6).double() for _ in range(cell.states))
    from_x = nn.functional.linear(x, reference.weight_ih, reference.bias_ih)
    from_h = nn.functional.linear(state[0], reference.weight_hh, reference.bias_hh)
    expected = reference(x, state if name == "lstm" else state[0])
    torch.testing.assert_close(cell.step(from_x, from_h, state), expected if name == "lstm" else (expected,))


def test_a_closed_gate_does_not_see_the_picture():
    model = decoder(gate=True)
    seen, unseen = torch.randn(2, 1, 9, 7, dtype=torch.float64)
    memory, other = model.prepare(seen), model.prepare(unseen)

    def scores(memory: EncodedImages) -> torch.Tensor:
        state = tuple(torch.ones(1, 6, dtype=torch.float64) for _ in memory.state)
        return model.step(torch.tensor([5]), state, memory)[0]

    assert not torch.allclose(scores(memory), scores(other))
    with torch.no_grad():
        model.from_hidden.bias[-7:] = -1e3
    torch.testing.assert_close(scores(memory), scores(other))


def test_the_first_state_is_the_pictures_not_random():
    model = decoder()
    features = torch.randn(2, 9, 7, dtype=torch.float64)
    first, again = model.prepare(features).state, model.prepare(features).state
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.allclose(first[0][0], first[0][1])


def test_unknown_parts_of_a_decoder_are_refused():
    with pytest.raises(ValueError, match="unknown cell 'lsmt': take one of rnn, gru, lstm"):
        DecoderRNN(11, 7, cell="lsmt")
    with pytest.raises(ValueError, match="unknown attention 'soft': take one of additive, dot, uniform"):
        AttentionDecoder(11, 7, attention="soft")


def test_uniform_attention_sees_the_mean_region_and_nothing_of_where_it_is():
    torch.manual_seed(0)
    model = SpatialDecoder(11, 7, word_size=5, hidden_size=6, attention_size=4, attention="uniform").double().eval()
    features, words = torch.randn(2, 9, 7, dtype=torch.float64), torch.tensor([5, 6])

    def step(features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        images = model.prepare(features)
        scores, _, weights = model.step(words, images.state, images)
        return scores, weights

    scores, weights = step(features)
    torch.testing.assert_close(weights, torch.full((2, 9), 1 / 9, dtype=torch.float64))
    torch.testing.assert_close(step(features[:, torch.randperm(9)])[0], scores)
    torch.testing.assert_close(step(features.mean(1, keepdim=True))[0], scores)


def test_the_device_is_found_or_taken_as_named():
    assert best_device("cpu") == torch.device("cpu")
    assert best_device().type in ("cuda", "mps", "cpu")


# --- the encoder's grid


@pytest.mark.parametrize("name", ["small", "resnet18", "swin_t", "vit_b_32"])
def test_regions_are_row_by_row_from_the_top_left(name):
    torch.manual_seed(0)
    encoder = EncoderCNN(name, image_size=128, grid=2).eval()
    images = torch.zeros(5, 3, 128, 128, dtype=torch.uint8)  # the last stays dark
    for quarter, (y, x) in enumerate(((0, 0), (0, 64), (64, 0), (64, 64))):
        images[quarter, :, y : y + 64, x : x + 64] = 255
    with torch.no_grad():
        regions = encoder(images)
    changed = (regions[:4] - regions[4]).norm(dim=-1)  # (4, R)
    assert changed.argmax(-1).tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("name", "size", "regions", "features"),
    [
        ("mobilenet_v2", None, 7 * 7, 1280),
        ("inception_v3", None, 8 * 8, 2048),
        ("regnet_x_400mf", 112, 4 * 4, 400),
        ("vgg11", 64, 4 * 4, 512),  # without its last pool
        ("convnext_tiny", 64, 2 * 2, 768),
        ("swin_t", 64, 2 * 2, 768),
        ("vit_b_32", 64, 2 * 2, 768),
        ("squeezenet1_1", 64, 3 * 3, 512),
    ],
)
def test_architectures_of_torchvision_give_their_grid(name, size, regions, features):
    encoder = EncoderCNN(name, image_size=size).eval()
    assert (encoder.regions, encoder.feature_size) == (regions, features)
    with torch.no_grad():
        assert encoder(pictures(2, encoder.image_size)).shape == (2, regions, features)


def test_the_grid_can_be_averaged_or_pooled():
    torch.manual_seed(0)
    encoder = EncoderCNN("resnet18", image_size=128).eval()
    pooled, coarse = copy.deepcopy(encoder), copy.deepcopy(encoder)
    pooled.grid, coarse.grid = 1, 2
    images = pictures(2, 128)
    with torch.no_grad():
        own = encoder(images)  # (2, 16, 512)
        torch.testing.assert_close(pooled(images), own.mean(1, keepdim=True))
        quarters = own.unflatten(1, (2, 2, 2, 2)).mean((2, 4)).flatten(1, 2)
        torch.testing.assert_close(coarse(images), quarters)
    assert EncoderCNN("resnet18", image_size=64, grid=1).regions == 1
    assert EncoderCNN("resnet18", image_size=64, grid=3).regions == 9


def test_pictures_must_be_bytes():
    with pytest.raises(ValueError, match=r"takes pictures as uint8 .* not torch\.float32"):
        EncoderCNN("small", image_size=32)(torch.rand(1, 3, 32, 32))


# --- weights


@pytest.mark.parametrize("name", ["resnet18", "inception_v3", "densenet121", "googlenet"])
def test_a_local_file_loads_as_torchvision_itself_loads(name, tmp_path, monkeypatch):
    """The encoder's regions, pooled, through torchvision's head are torchvision's own scores, for the file by its path
    and for the same file by the name of the published weights."""
    torch.manual_seed(0)
    options = {"init_weights": False} if name in ("inception_v3", "googlenet") else {}
    fresh, images = torchvision.models.get_model(name, weights=None, **options).eval(), pictures(2, 96)
    for norm in fresh.modules():
        if isinstance(
            norm, torch.nn.BatchNorm2d
        ):  # as after training; else a picture's traces fade from layer to layer
            norm.train().momentum = 1.0
    with torch.no_grad():
        fresh(images / 255 - 0.5)
    state = {}
    for key, value in fresh.state_dict().items():  # as published, before there was num_batches_tracked
        if not key.endswith("num_batches_tracked"):  # and in DenseNet's file norm1 is norm.1
            state[re.sub(r"(denselayer\d+\.(?:norm|conv))(\d)", r"\1.\2", key)] = value
    published = torchvision.models.get_model_weights(name)["IMAGENET1K_V1"]
    monkeypatch.setattr(torch.hub, "_hub_dir", None)
    torch.hub.set_dir(tmp_path)
    file = tmp_path / "checkpoints" / Path(urlparse(published.url).path).name
    file.parent.mkdir()
    torch.save(state, file)

    theirs = torchvision.models.get_model(name, weights="IMAGENET1K_V1").eval()
    head = theirs.classifier if name == "densenet121" else theirs.fc
    preprocessing = published.transforms()
    mean, std = (torch.tensor(t).reshape(3, 1, 1) for t in (preprocessing.mean, preprocessing.std))
    with torch.no_grad():
        expected = theirs((images / 255 - mean) / std)
        assert (expected[0] - expected[1]).std() > 0.02 * expected.std()
        for weights in (file, "IMAGENET1K_V1"):
            encoder = EncoderCNN(name, weights, image_size=96).eval()
            scores = head(encoder(images).mean(1))
            torch.testing.assert_close(scores, expected, rtol=1e-2, atol=1e-3 * expected.std().item())
    assert EncoderCNN(name).image_size == preprocessing.crop_size[0]


def test_a_file_may_lack_the_head_and_only_the_head(tmp_path):
    torch.manual_seed(0)
    state = torchvision.models.squeezenet1_1().state_dict()
    without_head = {key: value for key, value in state.items() if key.startswith("features.")}
    torch.save(state, tmp_path / "whole.pth")
    torch.save(without_head, tmp_path / "headless.pth")
    whole, headless = (EncoderCNN("squeezenet1_1", tmp_path / f"{n}.pth", image_size=64) for n in ("whole", "headless"))
    assert torch.equal(whole(pictures(1, 64)), headless(pictures(1, 64)))
    missing = without_head.popitem()[0]
    torch.save(without_head, tmp_path / "holed.pth")
    with pytest.raises(
        ValueError, match=rf"holed\.pth: these weights do not fit squeezenet1_1: the file lacks {missing}"
    ):
        EncoderCNN("squeezenet1_1", tmp_path / "holed.pth")


def test_an_old_files_version_is_read_as_torchvision_reads_it(tmp_path):
    """MNASNet changed its stem after its weights were published; it reads the version that its state dict carries."""
    torch.save(torchvision.models.mnasnet0_5().state_dict(), tmp_path / "mnasnet.pth")
    assert EncoderCNN("mnasnet0_5", tmp_path / "mnasnet.pth", image_size=64).feature_size == 1280


@pytest.mark.parametrize("name", ["resnet18", "squeezenet1_1", "vit_b_16"])
def test_without_a_network_it_is_said_which_file_is_missing(name, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "_hub_dir", None)
    torch.hub.set_dir(tmp_path)
    published = next(iter(torchvision.models.get_model_weights(name)))
    address = published.url
    with socket.socket() as taken:  # a port where nobody answers
        taken.bind(("127.0.0.1", 0))
        monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{taken.getsockname()[1]}")
        with pytest.raises(OSError, match="check the network, or fetch that file elsewhere") as caught:
            EncoderCNN(name, "IMAGENET1K_V1")
    assert f"the weights IMAGENET1K_V1 of {name} cannot be fetched from {address} (" in str(caught.value)


def test_unfit_weights_are_refused_in_one_sentence(tmp_path):
    def sentence(kind, weights, name="resnet18"):
        with pytest.raises(kind) as caught:
            EncoderCNN(name, weights)
        text = str(caught.value)
        assert "\n" not in text and len(text) < 500
        return text

    assert "unknown encoder 'resnet81'" in sentence(ValueError, None, "resnet81")
    assert "did you mean 'resnet18'?" in sentence(ValueError, None, "resnet81")
    assert "list_models" in sentence(ValueError, None, "qqq")
    assert "no such file" in sentence(FileNotFoundError, tmp_path / "none.pth")
    assert "IMAGENET1K_V1" in sentence(FileNotFoundError, "IMAGENET1K_V9")
    assert sentence(FileNotFoundError, "IMAGENET1K_V1", "small").endswith("for small: no such file")

    file = tmp_path / "weights.pth"
    torch.save(torchvision.models.resnet34().state_dict(), file)
    assert "which resnet18 does not know" in sentence(ValueError, file)
    torch.save(torchvision.models.resnet18(num_classes=10).state_dict(), file)
    assert f"{file}: these weights do not fit resnet18: size mismatch" in sentence(ValueError, file)
    for content in ([1, 2], {1: torch.zeros(1)}, Malicious(tmp_path / "owned")):
        torch.save(content, file)
        assert f"{file}: not a state dict" in sentence(ValueError, file)
    assert not (tmp_path / "owned").exists()
    file.write_text("<html>404</html>")
    assert f"{file}: not a state dict" in sentence(ValueError, file)


# --- frozen is frozen


def changed_by_a_training_step(encoder: EncoderCNN) -> set[str]:
    """The names of the parameters and buffers that one step changes."""
    decoder = AttentionDecoder(11, encoder.feature_size, word_size=5, hidden_size=6, attention_size=4)
    model = Captioner(encoder, decoder).train()
    before = copy.deepcopy(encoder.state_dict())
    batch = Batch.of([1, 2], [[[1, 5, 7, 2]], [[1, 6, 2]]], pixels=pictures(2, encoder.image_size))
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.1)
    model(batch)[0].square().sum().backward()
    optimizer.step()
    return {key for key, value in encoder.state_dict().items() if not torch.equal(value, before[key])}


def test_the_encoder_of_a_checkpoint_serves_another_decoder(tmp_path):
    learned = Captioner(EncoderCNN("squeezenet1_1", finetune=None), ShowAndTell(5, 512, word_size=4, hidden_size=4))
    save_file(
        {name: value.contiguous() for name, value in learned.state_dict().items()}, tmp_path / "model.safetensors"
    )
    encoder = EncoderCNN("squeezenet1_1", weights=tmp_path)
    assert all(torch.equal(value, learned.encoder.state_dict()[name]) for name, value in encoder.state_dict().items())
    assert encoder.frozen
    with pytest.raises(ValueError, match="its encoder is not small"):
        EncoderCNN("small", weights=tmp_path)
    save_file(learned.decoder.state_dict(), tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match="a checkpoint without an encoder"):
        EncoderCNN("squeezenet1_1", weights=tmp_path)
    (tmp_path / "model.safetensors").unlink()
    for use in (EncoderCNN, check_network):
        with pytest.raises(FileNotFoundError, match=r"model\.safetensors.*no such file"):
            use("squeezenet1_1", weights=tmp_path)


@pytest.mark.parametrize("name", ["small", "resnet18"])
def test_a_frozen_encoder_is_bit_identical_after_training(name):
    encoder = EncoderCNN(name, image_size=64, finetune=0)
    assert encoder.frozen
    assert changed_by_a_training_step(encoder) == set()
    whole = EncoderCNN(name, image_size=64, finetune=None)
    changed = changed_by_a_training_step(whole)
    assert not whole.frozen and {"blocks.0.weight", "blocks.0.0.weight"} & changed
    assert any(key.endswith("running_mean") for key in changed)


@pytest.mark.parametrize(("name", "block"), [("resnet18", 7), ("alexnet", 10)])
def test_only_the_last_blocks_learn(name, block):
    """ResNet's last stage; of AlexNet, whose last block is a ReLU, the last convolution."""
    encoder = EncoderCNN(name, image_size=64, finetune=1)
    changed = changed_by_a_training_step(encoder)
    assert changed and all(key.startswith(f"blocks.{block}.") for key in changed)
    assert not encoder.frozen
    assert not any("running" in key or "tracked" in key for key in changed)  # a batch-norm keeps what it knows
    seen = pictures(2, 64)
    torch.testing.assert_close(encoder.train()(seen), encoder.eval()(seen))


def test_more_blocks_than_there_are_cannot_learn():
    with pytest.raises(ValueError, match="alexnet has 5 blocks with weights: finetune must be 0 to 5, not 6"):
        EncoderCNN("alexnet", image_size=64, finetune=6)
    assert EncoderCNN("alexnet", image_size=64, finetune=5).frozen_modules == []


def test_starting_does_not_wait_for_torchvision():
    """It takes as long to import as torch: the sample's captioner is there without it."""
    program = (
        "import sys; from models import checkpoint; from explorer import widget; print('torchvision' in sys.modules)"
    )
    answer = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=Path(__file__).parents[1]
    )
    assert answer.stdout == "False\n"
