"""Small random models, and what `forward` says of a caption: what the tests of the searches share."""

import torch
from torch import Tensor
from torch.nn.utils.rnn import pack_padded_sequence

from decoding.search import Hypothesis
from model import AttentionDecoder, Decoder, DecoderRNN
from vocabulary import END, START

FEATURES = (4, 6)  # R, E


def decoder(
    seed: int = 0, words: int = 8, cell: str = "lstm", attention: str = "additive", end: float = 0.0
) -> Decoder:
    """A random model of so many words beside the four specials, with a taste; `end` adds to the score of `<end>`."""
    torch.manual_seed(seed)
    if attention == "none":
        model: Decoder = DecoderRNN(4 + words, FEATURES[1], 6, 12, cell=cell)
    else:
        model = AttentionDecoder(4 + words, FEATURES[1], 6, 12, 5, cell=cell, attention=attention)
    model.eval()
    with torch.no_grad():
        model.embedding.weight.mul_(3)
        model.lm_head.weight.mul_(8)
        model.lm_head.bias[END] += end
    return model


def features(pictures: int, seed: int = 0) -> Tensor:
    return 2 * torch.randn(pictures, *FEATURES, generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def scored(model: Decoder, picture: Tensor, ids: list[int]) -> tuple[list[float], Tensor | None]:
    """The log-probabilities of a caption's ids, and its attention, as `forward` has them."""
    inputs = pack_padded_sequence(torch.tensor([[START, *ids[:-1]]]), torch.tensor([len(ids)]), batch_first=True)
    scores, looks = model(picture.unsqueeze(0), inputs, torch.zeros(1, dtype=torch.long))
    return scores.log_softmax(-1)[range(len(ids)), ids].tolist(), looks


def captions(hypotheses: list[Hypothesis]) -> list[list[int]]:
    return [hypothesis.ids for hypothesis in hypotheses]
