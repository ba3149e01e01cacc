"""What a user relies on before training: the encoder learns to see what people name, and where."""

import torch

from data_loader import Transform, get_loader
from model import EncoderCNN
from training.pretraining import WordDetector, fit_detector, multi_hot_targets


def test_who_said_what_holds_words_and_no_specials():
    captions = torch.tensor([[1, 7, 5, 2], [1, 6, 2, 0], [1, 7, 2, 0]])
    said = multi_hot_targets(captions, torch.tensor([1, 0, 1]), images=2, vocabulary_size=9)
    assert said.nonzero().tolist() == [[0, 6], [1, 5], [1, 7]]


def test_a_word_fits_a_picture_if_it_fits_one_region():
    torch.manual_seed(0)
    detector = WordDetector(EncoderCNN("small", image_size=32, finetune=None), 12).eval()
    scores, in_regions = detector(torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8))
    assert in_regions.shape == (2, 16, 12)
    assert torch.equal(scores, in_regions.max(dim=1).values)


def test_the_detector_learns_and_repeats_itself(records, vocabulary):
    def fitted() -> tuple[list[float], dict]:
        torch.manual_seed(0)
        encoder = EncoderCNN("small", image_size=32, finetune=None)
        loader = get_loader(records["train"], vocabulary, transform=Transform(32), images_per_batch=3)
        history = fit_detector(WordDetector(encoder, len(vocabulary)), loader, epochs=8)
        return [row["loss"] for row in history], encoder.state_dict()

    (losses, weights), (again, same) = fitted(), fitted()
    assert losses[-1] < losses[0] / 2
    assert losses == again
    assert all(torch.equal(weights[key], same[key]) for key in weights)
