"""EaTR's gated fusion of queries and sentence, and the decoder layer around it (Jang et al. 2023).

SA-DETR's gate (eqs 2-3) takes the idea, not the block: it gates by clips sampled in the anchor's span, by default with
one number per query, and has no attention of its own.
"""

import torch
from torch import Tensor, nn

from sadetr.nn.attention import MultiHeadAttention
from sadetr.nn.decoders import ConditionalCrossAttention, ConditionalSelfAttention, Memory
from sadetr.nn.feedforward import FeedForward
from sadetr.nn.stochastic import Dropout


class GatedFusion(nn.Module):
    """Sigmoid gate of contents and attended sentence, applied to a self attention over their sum.

    Both attentions have one head. The sentence is one token, so attending to it projects it and nothing else.
    """

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.text_attention = MultiHeadAttention(width, 1, dropout)
        self.self_attention = MultiHeadAttention(width, 1, dropout)
        self.linear = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width)
        self.dropout = Dropout(dropout)

    def attended(self, content: Tensor, sentence: Tensor) -> tuple[Tensor, Tensor]:
        """What the queries read of the sentence, and of each other afterwards: (B, N, d), (B, 1, d) -> 2 (B, N, d)."""
        text = self.text_attention(content, sentence, sentence, None)
        placed = content + text
        return text, self.self_attention(placed, placed, placed, None)

    def forward(self, content: Tensor, sentence: Tensor) -> Tensor:
        """(B, N, d) contents and (B, 1, d) sentence -> (B, N, d)."""
        text, mixed = self.attended(content, sentence)
        fused = torch.relu(self.linear((content * text).sigmoid() * mixed))
        return self.norm(content + self.dropout(fused))


class GatedDecoderLayer(nn.Module):
    """EaTR's first decoder layer: DAB-DETR's with the gated fusion behind the self attention, and ReLU."""

    def __init__(self, width: int, heads: int, feedforward: int, dropout: float) -> None:
        super().__init__()
        self.self_attention = ConditionalSelfAttention(width, heads, dropout)
        self.gate = GatedFusion(width, dropout)
        self.cross_attention = ConditionalCrossAttention(width, heads, dropout, first=True, gauss=None)
        self.feedforward = FeedForward(width, feedforward, dropout, nn.ReLU)
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(width) for _ in range(3))
        self.dropout = Dropout(dropout)

    def forward(self, content: Tensor, position: Tensor, sine: Tensor, anchors: Tensor, memory: Memory) -> Tensor:
        """(B, N, d) contents, positions and anchor encodings, (B, N, 2) anchors, memory with sentence -> (B, N, d)."""
        content = self.norm1(content + self.dropout(self.self_attention(content, position)))
        content = self.gate(content, memory.sentence)
        mixed = self.cross_attention(content, position, sine, anchors, memory)
        content = self.norm2(content + self.dropout(mixed))
        return self.norm3(content + self.dropout(self.feedforward(content)))
