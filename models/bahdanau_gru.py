"""The decoder of TensorFlow's image-captioning tutorial, after Bahdanau et al. 2015.

The letters of the shapes are those of model.py.
"""

from __future__ import annotations

from torch import Tensor, nn

from model import AttentionDecoder
from models.cells import State


class BahdanauGRU(AttentionDecoder):
    """The decoder of TensorFlow's image-captioning tutorial: FC + ReLU, additive attention, GRU, two linear layers.

    It starts from zeros. Its state is kept from word to word, which the tutorial's own code forgets to do.
    """

    def __init__(
        self,
        vocabulary_size: int,
        feature_size: int,
        word_size: int = 256,
        hidden_size: int = 512,
        attention_size: int = 512,
        project: int = 256,
        dropout: float = 0.0,
    ):
        super().__init__(
            vocabulary_size,
            feature_size,
            word_size,
            hidden_size,
            attention_size,
            cell="gru",
            attention="additive",
            project=project,
            dropout=dropout,
        )
        self.init_state = nn.Identity()  # nothing to learn: it starts from zeros
        self.project = nn.Sequential(self.project, nn.ReLU())
        self.before_lm_head = nn.Linear(hidden_size, hidden_size)

    def init_hidden_state(self, regions: Tensor) -> State:
        """Zeros (N, D)."""
        return (regions.new_zeros(len(regions), self.lm_head.in_features),)

    def logits(self, hidden: Tensor, context: Tensor, embedded: Tensor) -> Tensor:
        """As in AttentionDecoder, with one more linear layer."""
        return super().logits(self.before_lm_head(hidden), context, embedded)
