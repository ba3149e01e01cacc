"""All decoders by name, and a whole captioner from a checkpoint's config.

A new decoder is a class with `prepare`, `step` and `forward` (model.Decoder), and an entry here.
"""

from __future__ import annotations

from typing import Any

from model import AttentionDecoder, Captioner, Decoder, DecoderRNN, EncoderCNN, SpatialDecoder
from models.adaptive import AdaptiveDecoder
from models.attention_lstm import AttentionLSTM
from models.bahdanau_gru import BahdanauGRU
from models.cells import named
from models.show_and_tell import ShowAndTell
from models.show_attend_tell import ShowAttendTell
from models.transformer import TransformerDecoder

DECODERS: dict[str, type[Decoder]] = {
    kind.__name__: kind
    for kind in (
        DecoderRNN,
        AttentionDecoder,
        SpatialDecoder,
        AttentionLSTM,
        BahdanauGRU,
        ShowAndTell,
        ShowAttendTell,
        AdaptiveDecoder,
        TransformerDecoder,
    )
}


def build(config: dict[str, dict[str, Any]]) -> Captioner:
    """The captioner whose `config` this is, with fresh weights; ValueError for a decoder this version does not know."""
    decoder = dict(config["decoder"])
    kind = named(DECODERS, decoder.pop("kind"), "decoder")
    return Captioner(EncoderCNN(**config["encoder"]), kind(**decoder))
