"""What a user of timm's models relies on: its own features, its own transform, and one sentence for what is wrong."""

import http.server
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import timm
import torch
from huggingface_hub import constants
from PIL import Image
from safetensors.torch import save_file
from torch import nn

from data_loader import Transform
from dataset.records import Record
from model import AttentionDecoder, Captioner, EncoderCNN
from models import checkpoint
from models.hub import MissingPackage
from training import features
from training.presets import for_dataset
from vocabulary import Vocabulary

ROOT = Path(__file__).parents[2]
ONES = ["test_efficientnet", "test_resnet", "test_vit", "test_mambaout", "test_convnext"]  # timm's own, for tests


def pictures(size: int, number: int = 2) -> torch.Tensor:
    return torch.randint(0, 256, (number, 3, size, size), generator=torch.Generator().manual_seed(0)).byte()


@pytest.fixture
def weights(tmp_path):
    """Writes random weights of a timm model in timm's own keys: `weights(name) -> (file, the model)`."""

    def write(name: str, **options) -> tuple[Path, nn.Module]:
        torch.manual_seed(1)
        model = timm.create_model(name, **options).eval()
        torch.save(model.state_dict(), tmp_path / f"{name}.pth")
        return tmp_path / f"{name}.pth", model

    return write


@pytest.mark.parametrize("name", ONES)
def test_the_regions_are_timms_own_features_of_pictures_normalised_as_timm_does(name, weights):
    file, theirs = weights(name)
    encoder = EncoderCNN(f"timm/{name}", file).eval()
    cfg = timm.get_pretrained_cfg(name)
    size = cfg.input_size[-1]
    assert (encoder.image_size, encoder.interpolation) == (size, cfg.interpolation)
    mean, std = (torch.tensor(values).reshape(3, 1, 1) for values in (cfg.mean, cfg.std))
    with torch.no_grad():
        regions = encoder(pictures(size))
        expected = theirs.forward_features((pictures(size) / 255 - mean) / std)
    if expected.ndim == 3:
        expected = expected[:, theirs.num_prefix_tokens :]
    elif getattr(theirs, "output_fmt", "NCHW") == "NHWC":
        expected = expected.flatten(1, 2)
    else:
        expected = expected.flatten(2).transpose(1, 2)
    assert regions.shape == (2, encoder.regions, encoder.feature_size)
    torch.testing.assert_close(regions, expected, rtol=1e-4, atol=1e-4)


def test_the_transform_resizes_as_the_encoder_was_trained(noise):
    encoder = EncoderCNN("timm/test_vit")
    assert encoder.interpolation == "bicubic"
    bicubic = noise.resize((160, 160), Image.Resampling.BICUBIC)
    assert torch.equal(Transform.of(encoder)(noise), Transform(160, interpolation="bicubic")(noise))
    assert Transform.of(encoder)(noise)[:, 7, 9].tolist() == list(bicubic.getpixel((9, 7)))
    assert not torch.equal(Transform.of(encoder)(noise), Transform(160)(noise))


@pytest.mark.parametrize(("name", "grid"), [("test_resnet", 1), ("test_vit", 1), ("test_vit", 5)])
def test_features_may_be_pooled_or_on_another_grid(name, grid):
    encoder, own = EncoderCNN(f"timm/{name}", grid=grid).eval(), EncoderCNN(f"timm/{name}").eval()
    own.load_state_dict(encoder.state_dict())
    regions = encoder(pictures(160))
    assert regions.shape == (2, grid**2, encoder.feature_size)
    torch.testing.assert_close(regions.mean(1), own(pictures(160)).mean(1))


def test_a_vision_transformer_takes_another_size_and_a_weights_file_of_the_usual_one(weights):
    file, _ = weights("test_vit")
    encoder = EncoderCNN("timm/test_vit", file, image_size=96).eval()
    assert encoder.regions == 36 and encoder(pictures(96)).std() > 0


@pytest.mark.parametrize("name", ["test_resnet", "test_vit", "test_efficientnet"])
def test_only_the_last_blocks_of_timms_learn(name):
    frozen, last, whole = (EncoderCNN(f"timm/{name}", finetune=n) for n in (0, 1, None))
    learning = [{key for key, p in e.named_parameters() if p.requires_grad} for e in (frozen, last, whole)]
    assert learning[0] == set() and frozen.frozen
    assert set() < learning[1] < learning[2] == {key for key, _ in whole.named_parameters()}
    first = next(key for key, _ in whole.named_parameters() if "stem" in key or "conv1" in key or "patch_embed" in key)
    assert first not in learning[1]
    before = frozen.train().state_dict()
    before = {key: value.clone() for key, value in before.items()}
    frozen(pictures(160))
    assert all(torch.equal(value, before[key]) for key, value in frozen.state_dict().items())
    with pytest.raises(ValueError, match=rf"timm/{name} has \d+ blocks with weights: finetune must be 0 to"):
        EncoderCNN(f"timm/{name}", finetune=99)


def test_a_checkpoint_brings_its_timm_encoder_back(tmp_path):
    words = Vocabulary(["a dog runs"])
    encoder = EncoderCNN("timm/test_efficientnet", image_size=64)
    saved = Captioner(encoder, AttentionDecoder(len(words), encoder.feature_size, 8, 8, 8)).eval()
    checkpoint.save(tmp_path / "model", saved, words)
    again = checkpoint.load(tmp_path / "model").model.encoder
    assert again.config == encoder.config and again.interpolation == "bicubic"
    assert torch.equal(again(pictures(64)), encoder.eval()(pictures(64)))
    config = (tmp_path / "model/config.json").read_text(encoding="utf-8")
    for name in ("timm/hf-hub:somebody/evil", "timm/local-dir:/tmp", "timm/test_vitt"):
        (tmp_path / "model/config.json").write_text(config.replace("timm/test_efficientnet", name), encoding="utf-8")
        with pytest.raises(ValueError, match="weights and config do not fit together \\(unknown encoder"):
            checkpoint.load(tmp_path / "model")


def test_kept_features_tell_weights_size_and_interpolation(tmp_path, noise):
    noise.save(tmp_path / "1.png")
    records = [Record(1, tmp_path / "1.png", ["noise"], "train")]
    encoder = EncoderCNN("timm/test_resnet", image_size=64)
    path = features.file_of(tmp_path, encoder, "train")
    assert path.parent == tmp_path and path.name == "timm-test_resnet-64px-2x2-train.npy"
    kept = features.extract(records, encoder, path, progress=False)
    assert kept.encoder["name"] == "timm/test_resnet"
    seen = encoder.eval()(Transform.of(encoder)(noise)[None])[0]
    torch.testing.assert_close(torch.from_numpy(kept[1]).float(), seen, rtol=2e-3, atol=2e-3)
    others = [EncoderCNN("timm/test_resnet", image_size=64, interpolation=how) for how in ("bicubic", "lanczos")]
    for other in others:
        other.load_state_dict(encoder.state_dict())
    assert len({features.fingerprint(each) for each in (encoder, *others, EncoderCNN("timm/test_resnet"))}) == 4


def test_a_preset_with_another_encoder_takes_that_ones_own_weights():
    assert for_dataset("coco", None, {"encoder": "timm/test_vit"}).weights == "DEFAULT"
    assert for_dataset("coco", None, {"encoder": "timm/test_vit", "weights": "w.pth"}).weights == "w.pth"
    assert for_dataset("coco", None, {"encoder": "small"}).weights is None
    assert for_dataset("coco", None, {"encoder": "resnet101"}).weights == "IMAGENET1K_V2"


def sentence(kind: type[Exception], name: str, *given, **options) -> str:
    with pytest.raises(kind) as caught:
        EncoderCNN(name, *given, **options)
    text = str(caught.value)
    assert "\n" not in text and len(text) < 500
    return text


def test_a_wrong_name_is_answered_by_the_nearest(tmp_path):
    assert "did you mean 'timm/tf_efficientnet_lite2'?" in sentence(ValueError, "timm/tf_eficientnet_lite2")
    assert "did you mean 'timm/test_vit.r160_in1k'?" in sentence(ValueError, "timm/test_vit.r160")
    assert "timm.list_models()" in sentence(ValueError, "timm/qqqqqqqq")
    assert "or timm/NAME" in sentence(ValueError, "tf_efficientnet_lite2")
    assert "interpolation must be" in sentence(ValueError, "timm/test_vit", interpolation="box")


def test_weights_that_do_not_fit_are_refused(weights, tmp_path):
    file, model = weights("test_resnet")
    assert f"{file}: these weights do not fit timm/test_vit: " in sentence(ValueError, "timm/test_vit", file)
    state = model.state_dict()
    save_file(state, tmp_path / "whole.safetensors")
    headless = {key: value for key, value in state.items() if not key.startswith("fc.")}
    torch.save(headless | {"fc.weight": torch.zeros(7, 96)}, tmp_path / "other_head.pth")
    encoders = [EncoderCNN("timm/test_resnet", tmp_path / n).eval() for n in ("whole.safetensors", "other_head.pth")]
    assert torch.equal(*(encoder(pictures(160)) for encoder in encoders))
    headless.pop("layer4.0.conv1.weight")
    torch.save(headless, tmp_path / "holed.pth")
    assert "layer4.0.conv1.weight" in sentence(ValueError, "timm/test_resnet", tmp_path / "holed.pth")
    (tmp_path / "page.pth").write_text("<html>404</html>")
    assert "not a state dict" in sentence(ValueError, "timm/test_resnet", tmp_path / "page.pth")
    torch.save({}, tmp_path / "empty.pth")
    assert "the file has none" in sentence(ValueError, "timm/test_resnet", tmp_path / "empty.pth")
    missing = sentence(FileNotFoundError, "timm/test_resnet", "in22k")
    assert "no such file; timm knows only DEFAULT, r160_in1k" in missing
    assert sentence(ValueError, "timm/mobilenetv4_conv_small_035", "DEFAULT").startswith("timm has no weights for")


def test_a_model_without_a_grid_is_named():
    class Blind(nn.Module):
        def __init__(self, **options):
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3)

    registry = timm.models._registry
    blind = "test_vit_blind"
    registry._model_entrypoints[blind] = lambda pretrained=False, **options: Blind()
    registry._model_default_cfgs[blind] = registry._model_default_cfgs["test_vit"]
    registry._model_pretrained_cfgs[blind] = timm.get_pretrained_cfg("test_vit")
    registry._module_to_models["vision_transformer"].add(blind)
    registry._model_to_module[blind] = "vision_transformer"
    try:
        assert "gives no grid (it has no forward_intermediates)" in sentence(ValueError, f"timm/{blind}")
    finally:
        del registry._model_entrypoints[blind], registry._model_default_cfgs[blind]
        del registry._model_pretrained_cfgs[blind], registry._model_to_module[blind]
        registry._module_to_models["vision_transformer"].discard(blind)


def test_without_a_network_the_sentence_comes_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    text = sentence(OSError, "timm/test_resnet", "DEFAULT")
    assert text.startswith("timm's weights for test_resnet cannot be had: http://127.0.0.1:9 does not answer; check")
    assert constants.HF_HUB_OFFLINE is False


def test_timms_own_weights_come_from_the_hub(weights, tmp_path, monkeypatch):
    _, model = weights("test_resnet")
    repository = tmp_path / "timm/test_resnet.r160_in1k/resolve/main"
    repository.mkdir(parents=True)
    save_file(model.state_dict(), repository / "model.safetensors")

    class Hub(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *given):
            super().__init__(*given, directory=str(tmp_path))

        def end_headers(self):
            self.send_header("ETag", '"one"')
            self.send_header("X-Repo-Commit", "0" * 40)
            super().end_headers()

        def log_message(self, *given):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        endpoint = f"http://127.0.0.1:{server.server_port}"
        program = (
            "import sys, torch; from model import EncoderCNN\n"
            "e = EncoderCNN('timm/test_resnet', sys.argv[1]).eval()\n"
            "print(float(e(torch.arange(3 * 160 * 160).reshape(1, 3, 160, 160).byte()).mean()))"
        )
        environment = {"HF_ENDPOINT": endpoint, "HF_HOME": str(tmp_path / "home"), "OMP_NUM_THREADS": "1"}
        answer = subprocess.run(
            [sys.executable, "-c", program, "r160_in1k"], capture_output=True, text=True, cwd=ROOT, env=environment
        )
        encoder = EncoderCNN("timm/test_resnet", tmp_path / "test_resnet.pth").eval()
        same = encoder(torch.arange(3 * 160 * 160).reshape(1, 3, 160, 160).byte()).mean()
        assert float(answer.stdout) == pytest.approx(float(same), rel=1e-4), answer.stderr
    finally:
        server.shutdown()


def test_without_timm_one_sentence_says_what_to_install(tmp_path):
    """The course runs without it; a checkpoint that needs it says so, too."""
    program = (
        "import sys; sys.modules['timm'] = None\nfrom model import EncoderCNN\n"
        "try: EncoderCNN('timm/test_vit')\nexcept OSError as error: print(error)"
    )
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT)
    assert answer.stdout == "the encoder 'timm/test_vit' needs a package that is not installed: pip install timm\n"


def test_a_checkpoint_whose_encoder_is_timms_says_what_to_install(tmp_path, monkeypatch):
    words = Vocabulary(["a dog runs"])
    encoder = EncoderCNN("timm/test_resnet", image_size=64)
    saved = Captioner(encoder, AttentionDecoder(len(words), encoder.feature_size, 8, 8, 8))
    checkpoint.save(tmp_path / "model", saved, words)
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(MissingPackage, match="pip install timm"):
        checkpoint.load(tmp_path / "model")
