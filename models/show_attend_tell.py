"""Xu et al. 2015, "Show, Attend and Tell: Neural Image Caption Generation with Visual Attention".

The letters of the shapes are those of model.py.
"""

from __future__ import annotations

from torch import Tensor, nn

from model import AttentionDecoder


class ShowAttendTell(AttentionDecoder):
    """Xu et al. 2015, "Show, Attend and Tell": LSTM, additive attention, gate; `deep_output` as in its equation 7.

    With deep output the word before, the state and what was seen say the next word together: L_o (E y + L_h h + L_z z).
    Without it the state alone does, as in most implementations.
    """

    def __init__(
        self,
        vocabulary_size: int,
        feature_size: int,
        word_size: int = 512,
        hidden_size: int = 512,
        attention_size: int = 512,
        deep_output: bool = False,
        dropout: float = 0.5,
    ):
        super().__init__(
            vocabulary_size,
            feature_size,
            word_size,
            hidden_size,
            attention_size,
            cell="lstm",
            attention="additive",
            gate=True,
            dropout=dropout,
        )
        self.deep_output = deep_output
        if deep_output:
            self.of_hidden = nn.Linear(hidden_size, word_size)
            self.of_context = nn.Linear(feature_size, word_size, bias=False)
            self.lm_head = nn.Linear(word_size, vocabulary_size)

    def logits(self, hidden: Tensor, context: Tensor, embedded: Tensor) -> Tensor:
        """As in AttentionDecoder, or equation 7."""
        if self.deep_output:
            hidden = embedded + self.of_hidden(self.dropout(hidden)) + self.of_context(context)
        return super().logits(hidden, context, embedded)
