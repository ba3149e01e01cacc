"""What a user relies on in every decoder: forward is the loop of step, and captions of a picture do not mix."""

import inspect
from itertools import product

import pytest
import torch
from torch.nn.utils.rnn import pack_padded_sequence

from decoding.beam import beam
from decoding.search import greedy
from model import DecoderRNN, SpatialDecoder
from models.decoders import DECODERS, build
from models.packing import by_picture, place_in_group
from models.transformer import TransformerDecoder

SIZES = {"word_size": 6, "hidden_size": 6, "attention_size": 4}
CELLS = ("rnn", "gru", "lstm")
ALL = [
    *(("DecoderRNN", {"cell": cell}) for cell in CELLS),
    *(
        ("AttentionDecoder", {"cell": cell, "attention": attention, "gate": gate})
        for cell, attention, gate in product(CELLS, ("additive", "dot"), (False, True))
    ),
    ("AttentionDecoder", {"gate": True, "project": 3}),
    *(("SpatialDecoder", {"cell": c, "attention": a}) for c, a in product(CELLS, ("additive", "dot"))),
    ("SpatialDecoder", {"attention": "uniform"}),
    ("AttentionLSTM", {}),
    ("BahdanauGRU", {"project": 3}),
    ("ShowAttendTell", {}),
    ("ShowAttendTell", {"deep_output": True}),
    *(("ShowAndTell", {"layers": n, "cell": c}) for n, c in product((1, 2), CELLS)),
    ("ShowAndTell", {"image_at": "every", "tied": True}),
    ("AdaptiveDecoder", {}),
    ("TransformerDecoder", {"layers": 2, "heads": 2}),
]
every_decoder = pytest.mark.parametrize(
    ("name", "options"), ALL, ids=[" ".join([name, *map(str, options.values())]) for name, options in ALL]
)


def decoder(name: str, options: dict, dropout: float = 0.0) -> torch.nn.Module:
    torch.manual_seed(0)
    kind = DECODERS[name]
    known = inspect.signature(kind).parameters
    sizes = {key: value for key, value in SIZES.items() if key in known}
    return kind(11, 7, **sizes, **options, dropout=dropout).double().eval()


def batch() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, list[int]]:
    """Features of 3 pictures of 9 regions; four captions of 6, 4, 4 and 1 words, two of them of one picture."""
    torch.manual_seed(1)
    lengths = [6, 4, 4, 1]
    return torch.randn(3, 9, 7, dtype=torch.float64), torch.randint(0, 11, (4, 6)), torch.tensor([1, 0, 2, 1]), lengths


@every_decoder
def test_forward_equals_the_loop_of_step(name, options):
    model = decoder(name, options)
    features, captions, image_of, lengths = batch()
    words = pack_padded_sequence(captions, torch.tensor(lengths), batch_first=True)
    scores, looks = model(features, words, image_of)
    assert scores.shape == (sum(lengths), 11)
    start_of_step = [0, *words.batch_sizes.cumsum(0).tolist()]
    for b, length in enumerate(lengths):
        memory = model.prepare(features[image_of[b]].unsqueeze(0))
        state = memory.state
        for t in range(length):
            logits, state, look = model.step(captions[b, t : t + 1], state, memory)
            row = start_of_step[t] + b
            torch.testing.assert_close(scores[row], logits[0], rtol=1e-11, atol=1e-11)
            if looks is None:
                assert look is None
            else:
                torch.testing.assert_close(looks[row], look[0], rtol=1e-11, atol=1e-11)


@every_decoder
def test_step_of_several_captions_an_image_equals_one_at_a_time(name, options):
    model = decoder(name, options)
    features, *_ = batch()
    memory = model.prepare(features)
    before = torch.randint(0, 11, (12,))  # four captions of each image, behind each other
    state = tuple(s.repeat_interleave(4, dim=0) for s in memory.state)
    _, state, _ = model.step(before, state, memory)  # so that their states differ
    words = torch.randint(0, 11, (12,))
    scores, after, looks = model.step(words, state, memory)
    for row in range(12):
        of_row, image = slice(row, row + 1), slice(row // 4, row // 4 + 1)
        alone = model.step(words[of_row], tuple(s[of_row] for s in state), memory.rows(image))
        torch.testing.assert_close(scores[of_row], alone[0], rtol=1e-11, atol=1e-11)
        for together, single in zip(after, alone[1], strict=True):
            torch.testing.assert_close(together[of_row], single, rtol=1e-11, atol=1e-11)
        if looks is not None:
            torch.testing.assert_close(looks[of_row], alone[2], rtol=1e-11, atol=1e-11)


@every_decoder
def test_a_beam_scores_its_words_as_forward_does(name, options):
    """Whatever a decoder's state is made of, the search carries it along with the right hypothesis."""
    model = decoder(name, options)
    with torch.no_grad():
        model.lm_head.weight.mul_(3)
    features, *_ = batch()
    for search in (greedy, lambda *args, **how: beam(*args, num_beams=3, **how)):
        for n, said in enumerate(search(model, features, max_length=6)):
            inputs = torch.tensor([[1, *said.ids[:-1]]])
            words = pack_padded_sequence(inputs, torch.tensor([len(said.ids)]), batch_first=True)
            scores, _ = model(features[n : n + 1], words, torch.tensor([0]))
            expected = scores.log_softmax(-1)[range(len(said.ids)), said.ids]
            torch.testing.assert_close(torch.tensor(said.logprobs).double(), expected.double(), rtol=1e-5, atol=1e-5)


@every_decoder
def test_attention_is_a_share_of_one(name, options):
    model = decoder(name, options)
    features, captions, image_of, lengths = batch()
    words = pack_padded_sequence(captions, torch.tensor(lengths), batch_first=True)
    _, looks = model(features, words, image_of)
    if looks is None:
        assert name in ("DecoderRNN", "ShowAndTell")
    else:
        assert looks.shape == (sum(lengths), 9) and (looks >= 0).all()
        total = looks.sum(-1)
        if name == "AdaptiveDecoder":  # the rest went to the sentinel
            assert ((total > 0) & (total < 1)).all()
        else:
            torch.testing.assert_close(total, torch.ones_like(total))


@every_decoder
def test_every_weight_learns(name, options):
    """No parameter is left over but the keys and queries of a decoder that looks everywhere alike."""
    model = decoder(name, options).train()
    features, captions, image_of, lengths = batch()
    words = pack_padded_sequence(captions, torch.tensor(lengths), batch_first=True)
    model(features, words, image_of)[0].square().sum().backward()
    idle = {name.split(".")[-2] for name, p in model.named_parameters() if p.grad is None}
    assert idle == ({"keys", "query"} if options.get("attention") == "uniform" else set())


@every_decoder
def test_its_config_builds_it_again(name, options):
    model = decoder(name, options, dropout=0.25)
    encoder = {"name": "small", "image_size": 32, "grid": 2, "finetune": 0}
    again = build({"encoder": encoder, "decoder": {"kind": name} | model.config}).decoder
    assert again.config == model.config
    again.double().load_state_dict(model.state_dict())


def test_a_tied_vocabulary_is_the_embedding():
    tied, free = (DECODERS["ShowAndTell"](11, 7, word_size=6, hidden_size=6, tied=tied) for tied in (True, False))
    assert tied.lm_head.weight is tied.embedding.weight
    assert sum(p.numel() for p in free.parameters()) - sum(p.numel() for p in tied.parameters()) == 11 * 6
    with pytest.raises(ValueError, match="tied weights need word_size = hidden_size, not 5 and 6"):
        DECODERS["ShowAndTell"](11, 7, word_size=5, hidden_size=6, tied=True)


def test_an_open_sentinel_does_not_see_the_picture():
    model = decoder("AdaptiveDecoder", {})
    with torch.no_grad():
        model.picture_gates.weight.zero_()
        model.attention.v.weight.copy_(torch.ones(1, 4))
        model.sentinel_key.bias.fill_(1e3)
        model.attention.keys.bias.fill_(-1e3)
    seen, unseen = torch.randn(2, 1, 9, 7, dtype=torch.float64)
    scores = []
    for features in (seen, unseen):
        memory = model.prepare(features)
        logits, _, look = model.step(torch.tensor([5]), memory.state, memory)
        scores.append(logits)
        assert look.sum() < 0.01
    torch.testing.assert_close(*scores, rtol=1e-2, atol=1e-2)


def test_a_transformer_keeps_what_it_has_said():
    model = decoder("TransformerDecoder", {"layers": 3, "heads": 2})
    memory = model.prepare(torch.randn(2, 9, 7, dtype=torch.float64))
    assert [s.shape for s in memory.state] == [(2, 0, 6)] * 6
    _, state, _ = model.step(torch.tensor([1, 1]), memory.state, memory)
    _, state, _ = model.step(torch.tensor([4, 5]), state, memory)
    assert [s.shape for s in state] == [(2, 2, 6)] * 6
    with pytest.raises(ValueError, match="hidden_size must be even and a multiple of heads, not 6 and 4"):
        TransformerDecoder(11, 7, hidden_size=6, heads=4)


def test_unknown_parts_are_refused():
    with pytest.raises(ValueError, match="unknown attention 'none': take one of additive, dot, uniform"):
        SpatialDecoder(11, 7, attention="none")
    with pytest.raises(ValueError, match="unknown image_at 'last': take one of first, every"):
        DECODERS["ShowAndTell"](11, 7, image_at="last")
    with pytest.raises(ValueError, match="unknown decoder 'Transformer'"):
        build({"encoder": {}, "decoder": {"kind": "Transformer"}})


def test_words_are_seated_beside_those_of_their_picture():
    image = torch.tensor([1, 0, 1, 2, 1])
    assert place_in_group(image, 4)[0].tolist() == [0, 0, 1, 0, 2]
    x = torch.arange(5.0).unsqueeze(1)
    grouped, back = by_picture(x, image, 4)
    assert grouped.squeeze(-1).tolist() == [[1, 0, 0], [0, 2, 4], [3, 0, 0], [0, 0, 0]]
    assert torch.equal(back(grouped), x)


def test_a_decoder_of_ones_own_is_kept_with_its_arguments():
    class Mine(DecoderRNN):
        def __init__(self, vocabulary_size, feature_size, width=6, dropout=0.1):
            super().__init__(vocabulary_size, feature_size, width, width, dropout=dropout)

    mine = Mine(11, 7, 8)
    assert mine.config == {"vocabulary_size": 11, "feature_size": 7, "width": 8, "dropout": 0.1}
    assert Mine(**mine.config).rnn.hidden_size == 8
