"""The attention LSTM of the course EECS 498-007 (Michigan, assignment 5).

The letters of the shapes are those of model.py.
"""

from __future__ import annotations

from torch import Tensor, nn

from model import AttentionDecoder
from models.cells import State


class AttentionLSTM(AttentionDecoder):
    """The attention LSTM of the course EECS 498-007 (Michigan, assignment 5): scaled dot products with the grid itself.

    The picture is projected to the size of the state; its regions are the keys, and their mean is h0 and c0. (The
    course asks with the state as it is; here a linear map of it asks, as in AttentionDecoder.)
    """

    def __init__(
        self,
        vocabulary_size: int,
        feature_size: int,
        word_size: int = 256,
        hidden_size: int = 512,
        dropout: float = 0.0,
    ):
        super().__init__(
            vocabulary_size,
            feature_size,
            word_size,
            hidden_size,
            attention_size=hidden_size,
            cell="lstm",
            attention="dot",
            project=hidden_size,
            dropout=dropout,
        )
        self.init_state = self.attention.keys = nn.Identity()  # the regions themselves serve as both

    def init_hidden_state(self, regions: Tensor) -> State:
        """h0 = c0 = the mean region: (N, R, D) -> (N, D) twice."""
        mean = regions.mean(1)
        return mean, mean
