"""What a user relies on in a checkpoint: the same captions from the folder alone, or a clear sentence."""

import json
from pathlib import Path

import pytest
import torch
import torchvision
from conftest import Malicious

from data_loader import Transform, get_loader
from decoding.search import decode
from model import AttentionDecoder, Captioner, EncoderCNN, SpatialDecoder
from models.checkpoint import FILES, VERSION, RunCheckpoint, TrainingImages, load, save
from models.show_and_tell import ShowAndTell
from vocabulary import Vocabulary


def edit(folder: Path, change) -> None:
    content = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    change(content)
    (folder / "config.json").write_text(json.dumps(content), encoding="utf-8")


@pytest.fixture
def folder(captioner, vocabulary, tmp_path) -> Path:
    """A checkpoint as it should be."""
    save(tmp_path / "run", captioner(), vocabulary, {"dataset": "tiny"})
    return tmp_path / "run"


@pytest.mark.parametrize("finetune", [0, 1, None])
@pytest.mark.parametrize(
    "decoder", [{"attention": "none"}, {"project": 5}, {"cell": "gru", "gate": True}, {"kind": SpatialDecoder}]
)
def test_a_checkpoint_says_the_same_captions(captioner, records, vocabulary, tmp_path, finetune, decoder):
    model = captioner(finetune=finetune, dropout=0.5, **decoder)
    with torch.no_grad():
        model.encoder.mean.add_(0.1)  # the normalisation is part of it
        model.decoder.lm_head.weight.mul_(10)
    save(tmp_path / "run", model, vocabulary, {"dataset": "tiny", "score": 0.5})
    again = load(tmp_path / "run")
    assert not again.model.training and again.metadata == {"dataset": "tiny", "score": 0.5}
    assert again.vocabulary.words == vocabulary.words and again.vocabulary.counts == vocabulary.counts
    loader = get_loader(records["val"], vocabulary, transform=Transform(again.model.encoder.image_size))
    said, said_again = ({i: h.ids for i, h in decode(m, loader).items()} for m in (model, again.model))
    assert said == said_again and len(said) == 3
    assert again.model.encoder.frozen == model.encoder.frozen
    assert again.model.config == model.config and again.model.encoder.image_size == 32


def test_tied_words_are_saved_and_tied_again(captioner, vocabulary, tmp_path):
    model = captioner(kind=ShowAndTell, tied=True, word_size=16)
    save(tmp_path, model, vocabulary)
    again = load(tmp_path).model
    assert again.decoder.embedding.weight is again.decoder.lm_head.weight
    assert torch.equal(again.decoder.lm_head.weight, model.decoder.lm_head.weight)


def test_a_frozen_torchvision_encoder_needs_neither_its_file_nor_the_network(tmp_path, vocabulary, monkeypatch):
    torch.manual_seed(0)
    monkeypatch.setattr(torch.hub, "_hub_dir", None)
    torch.hub.set_dir(tmp_path / "hub")
    weights = tmp_path / "mobilenet.pth"
    torch.save(torchvision.models.mobilenet_v2().state_dict(), weights)
    encoder = EncoderCNN("mobilenet_v2", weights, image_size=64)
    model = Captioner(encoder, AttentionDecoder(len(vocabulary), encoder.feature_size, 8, 8, 8)).eval()
    save(tmp_path / "run", model, vocabulary)
    weights.unlink()
    again = load(tmp_path / "run").model
    picture = torch.randint(0, 256, (1, 3, 64, 64), dtype=torch.uint8)
    assert again.encoder.frozen and torch.equal(again.encoder(picture), model.encoder(picture))
    assert not (tmp_path / "hub").exists()


def test_the_order_of_the_words_is_kept(captioner, vocabulary, tmp_path):
    backwards = Vocabulary.from_words(vocabulary.words[:3:-1])
    save(tmp_path, captioner(), backwards)
    assert load(tmp_path).vocabulary.words == backwards.words != vocabulary.words


# --- what is wrong


def sentence(kind: type[Exception], folder: Path) -> str:
    with pytest.raises(kind) as caught:
        load(folder)
    text = str(caught.value)
    assert str(folder) in text and "\n" not in text and len(text) < 500
    return text


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_named(folder, name):
    (folder / name).unlink()
    assert f"incomplete: {name} is missing" in sentence(FileNotFoundError, folder)


def test_a_missing_checkpoint_says_how_to_make_one(tmp_path):
    assert "no checkpoint at" in sentence(FileNotFoundError, tmp_path / "none")
    assert "scripts.train" in sentence(FileNotFoundError, tmp_path / "none")


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", "null", '"version"', "\x00"])
def test_a_broken_config_is_refused(folder, text):
    (folder / "config.json").write_text(text)
    assert "config.json is not a checkpoint's config" in sentence(ValueError, folder)


def test_another_version_is_refused(folder):
    (folder / "training_images.json").unlink()  # version 1 had none
    for other in (1, VERSION + 1):
        edit(folder, lambda config, other=other: config.update(version=other))
        told = sentence(ValueError, folder)
        assert f"a checkpoint of version {other}, this project reads version 2: train it again" in told


@pytest.mark.parametrize("wrong", [None, 0, -5, 10**9, "20", 2.5, True])
def test_a_length_that_no_caption_may_have_is_refused(folder, captioner, vocabulary, wrong):
    edit(folder, lambda config: config.update(max_length=wrong))
    assert "config.json is not a checkpoint's config" in sentence(ValueError, folder)


def test_a_length_that_could_not_be_loaded_is_not_saved(captioner, vocabulary, tmp_path):
    with pytest.raises(ValueError, match="max_length must be 1 to 1000 ids, not 1001"):
        save(tmp_path, captioner(), vocabulary, max_length=1001)


@pytest.mark.parametrize(
    "text", ["", "[]", "{", '{"learned": []}', '{"learned": [[1]], "held_out": []}', '{"learned": 3, "held_out": []}']
)
def test_damaged_image_ids_are_refused(folder, text):
    (folder / "training_images.json").write_text(text)
    assert "training_images.json is damaged" in sentence(ValueError, folder)


def test_the_longest_caption_and_the_training_images_come_back(captioner, vocabulary, tmp_path):
    many = tuple(range(113_287))  # as many as COCO's
    RunCheckpoint(tmp_path, vocabulary, max_length=31, images=TrainingImages(many, ("a.jpg", 7))).save_best(captioner())
    again = load(tmp_path)
    assert again.max_length == 31 and again.images == TrainingImages(many, ("a.jpg", 7))
    assert (tmp_path / "training_images.json").stat().st_size < 1_000_000
    save(tmp_path, captioner(), vocabulary)  # nobody knows: what is there is not believed of another model
    assert load(tmp_path).images == TrainingImages()


@pytest.mark.parametrize(
    "change",
    [
        lambda config: config.pop("model"),
        lambda config: config["model"].pop("decoder"),
        lambda config: config["model"].update(encoder=None),
        lambda config: config["model"]["decoder"].pop("kind"),
        lambda config: config["model"]["decoder"].update(kind="Transformer"),
        lambda config: config["model"]["decoder"].update(heads=8),
        lambda config: config["model"]["decoder"].update(hidden_size=17),
        lambda config: config["model"]["decoder"].update(attention="none"),
        lambda config: config["model"]["encoder"].update(name="resnet81"),
    ],
)
def test_a_config_that_does_not_fit_the_weights_is_refused(folder, change):
    edit(folder, change)
    assert "weights and config do not fit together" in sentence(ValueError, folder)


def test_damaged_weights_are_refused(folder):
    content = (folder / "model.safetensors").read_bytes()
    for damaged in (content[: len(content) // 2], b"", b"<html>404</html>"):
        (folder / "model.safetensors").write_bytes(damaged)
        assert "weights and config do not fit together" in sentence(ValueError, folder)


def test_another_vocabulary_is_refused(folder, vocabulary):
    Vocabulary.from_words([*vocabulary.words, "zebra"]).save(folder / "vocabulary.json")
    assert f"vocabulary.json has {len(vocabulary) + 1} words" in sentence(ValueError, folder)
    Vocabulary.from_words(vocabulary.words[:3:-1]).save(folder / "vocabulary.json")  # as many, in another order
    assert "vocabulary.json holds other words than the model learned" in sentence(ValueError, folder)
    (folder / "vocabulary.json").write_text("[]")
    assert "vocabulary.json is not a vocabulary" in sentence(ValueError, folder)


# --- a run's state


def test_a_runs_state_comes_back_with_its_weights(captioner, vocabulary, tmp_path):
    run_checkpoint, model, other = RunCheckpoint(tmp_path, vocabulary), captioner(seed=0), captioner(seed=1)
    assert run_checkpoint.load_training(model) is None
    run_checkpoint.save_training(
        model, {"run": {"epoch": 3, "best": 2.5, "history": [{"epoch": 3}]}, "coins": torch.ones(2)}
    )
    state = run_checkpoint.load_training(other)
    assert state["run"] == {"epoch": 3, "best": 2.5, "history": [{"epoch": 3}]} and torch.equal(
        state["coins"], torch.ones(2)
    )
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), other.parameters(), strict=True))


def test_a_damaged_or_malicious_state_is_refused_and_not_executed(captioner, vocabulary, tmp_path):
    file = tmp_path / "training.pt"
    for content in (Malicious(tmp_path / "owned"), {"config": Malicious(tmp_path / "owned")}, [1], {"words": []}):
        torch.save(content, file)
        with pytest.raises(ValueError, match=r"training\.pt is damaged or not a run's state: delete it"):
            RunCheckpoint(tmp_path, vocabulary).load_training(captioner())
    assert not (tmp_path / "owned").exists()
    file.write_bytes(b"PK\x03\x04")
    with pytest.raises(ValueError, match=r"training\.pt is damaged"):
        RunCheckpoint(tmp_path, vocabulary).load_training(captioner())


def test_the_state_of_another_run_is_refused(captioner, vocabulary, tmp_path):
    RunCheckpoint(tmp_path, vocabulary).save_training(captioner(), {})
    backwards = Vocabulary.from_words(vocabulary.words[:3:-1])
    for model, words, what in ((captioner(cell="gru"), vocabulary, "model"), (captioner(), backwards, "vocabulary")):
        with pytest.raises(ValueError, match=f"holds a run of another {what}: delete it or choose another folder"):
            RunCheckpoint(tmp_path, words).load_training(model)
    settings = {"learning_rate": 0.1, "dataset": "tiny", "epochs": 3, "tune_epochs": 0, "patience": None}
    metadata = {"dataset": "a1", "seed": 0, "settings": settings}
    RunCheckpoint(tmp_path, vocabulary, metadata | {"versions": "old"}).save_training(captioner(), {})
    others = [{"dataset": "b2"}, {"seed": 1}, {"begun_with": "runs/a"}, {"settings": settings | {"learning_rate": 0.2}}]
    for other in others:
        with pytest.raises(ValueError, match="holds a run of another dataset, seed or settings: delete it or choose"):
            RunCheckpoint(tmp_path, vocabulary, metadata | other).load_training(captioner())
    longer = settings | {"dataset": "data/tiny", "epochs": 5, "tune_epochs": 1, "patience": 2}
    assert RunCheckpoint(tmp_path, vocabulary, metadata | {"settings": longer}).load_training(captioner()) == {}


def test_the_state_of_a_run_with_a_longer_stage_before_is_refused(captioner, vocabulary, tmp_path):
    RunCheckpoint(tmp_path, vocabulary, before=1).save_training(captioner(), {})
    assert RunCheckpoint(tmp_path, vocabulary, before=1).load_training(captioner()) == {}
    with pytest.raises(ValueError, match="holds a run of another number of --epochs before the encoder learned"):
        RunCheckpoint(tmp_path, vocabulary, before=3).load_training(captioner())


def test_a_run_goes_on_wherever_its_folder_lies_with_the_encoder_that_it_pre_trained(captioner, vocabulary, tmp_path):
    def of(weights):
        return RunCheckpoint(tmp_path, vocabulary, {"settings": {"weights": weights}})

    of("runs/sample/small_cnn-1a.pth").save_training(captioner(), {})
    assert of("/elsewhere/sample/small_cnn-1a.pth").load_training(captioner()) == {}
    for other in ("runs/sample/small_cnn-2b.pth", "runs/other.pth", None):
        with pytest.raises(ValueError, match="another dataset, seed or settings"):
            of(other).load_training(captioner())


def test_a_model_that_another_run_has_made_is_not_replaced(captioner, vocabulary, tmp_path):
    own, other = (RunCheckpoint(tmp_path, vocabulary, {"dataset": name}) for name in "ab")
    own.check_free()  # nothing is there
    own.save_best(captioner())
    own.check_free()  # stopped before its state was saved: it begins anew
    with pytest.raises(ValueError, match="holds another run's model, which training would replace: choose another"):
        other.check_free()
    own.save_training(captioner(), {})
    other.check_free()  # `load_training` says more


def test_damaged_best_weights_are_a_sentence(captioner, vocabulary, tmp_path):
    run_checkpoint = RunCheckpoint(tmp_path, vocabulary)
    run_checkpoint.save_best(captioner())
    (tmp_path / "model.safetensors").write_bytes(b"12345678901")
    with pytest.raises(ValueError, match=r"model\.safetensors is damaged .*: delete .* to start the run anew"):
        run_checkpoint.load_best(captioner())


def test_the_state_of_an_older_run_which_recorded_less_still_goes_on(captioner, vocabulary, tmp_path):
    metadata = {"dataset": "a1", "seed": 0, "settings": {"learning_rate": 0.1}}
    run_checkpoint = RunCheckpoint(tmp_path, vocabulary, metadata)
    run_checkpoint.save_training(captioner(), {})
    state = torch.load(tmp_path / "training.pt", weights_only=True)
    for recorded in (["a1", 0, {"learning_rate": 0.1}], ["a1", 0], []):
        torch.save(state | {"of": recorded}, tmp_path / "training.pt")
        assert run_checkpoint.load_training(captioner()) == {}
    torch.save(state | {"of": ["a1", 1]}, tmp_path / "training.pt")
    with pytest.raises(ValueError, match="another dataset, seed or settings"):
        run_checkpoint.load_training(captioner())


def test_nothing_in_the_folder_is_a_pickled_class(folder, captioner, vocabulary):
    RunCheckpoint(folder, vocabulary).save_training(captioner(), {"rng": torch.get_rng_state()})
    assert {file.name for file in folder.iterdir()} == {
        "config.json",
        "vocabulary.json",
        "model.safetensors",
        "training_images.json",
        "training.pt",
    }
    assert torch.load(folder / "training.pt", weights_only=True)["words"] == vocabulary.words
