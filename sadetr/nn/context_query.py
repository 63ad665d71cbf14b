"""VSLNet's fusion of a context (clips) with a query (words), which TR-DETR takes over (26hzhang/VSLNet)."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from sadetr.nn.stochastic import Dropout

HIDDEN = -1e30
"""Score of what a softmax must not see."""


class PointwiseConvolution(nn.Conv1d):
    """Convolution of kernel size 1 over the last dimension: a linear layer with a weight of (d, d_in, 1)."""

    def __init__(self, width_in: int, width: int) -> None:
        super().__init__(width_in, width, kernel_size=1)

    def forward(self, x: Tensor) -> Tensor:
        """(..., d_in) -> (..., d)."""
        return functional.linear(x, self.weight.squeeze(-1), self.bias)


class ContextQueryAttention(nn.Module):
    """Every row of the context reads the query, and the context through the query (VSLNet's CQA).

    With the trilinear scores S between context C and query Q, S_r their softmax over the query's rows and S_c the one
    over the context's: A = S_r Q, B = S_r S_c^T C, and the result is a linear map of [C; A; C * A; C * B].
    """

    def __init__(self, width: int, dropout: float) -> None:
        """Build the scores and the linear map; ``dropout`` acts on what the scores are computed from, nowhere else."""
        super().__init__()
        self.context_weight = nn.Parameter(torch.empty(width, 1))
        self.query_weight = nn.Parameter(torch.empty(width, 1))
        self.product_weight = nn.Parameter(torch.empty(1, 1, width))
        for weight in (self.context_weight, self.query_weight, self.product_weight):
            nn.init.xavier_uniform_(weight)
        self.dropout = Dropout(dropout)
        self.out = PointwiseConvolution(4 * width, width)

    def forward(self, context: Tensor, query: Tensor, context_mask: Tensor, query_mask: Tensor) -> Tensor:
        """(B, N, d) context and (B, M, d) query with their bool masks, True at valid rows -> (B, N, d)."""
        scores = self._scores(self.dropout(context), self.dropout(query))
        over_query = scores.masked_fill(~query_mask.unsqueeze(1), HIDDEN).softmax(2)
        over_context = scores.masked_fill(~context_mask.unsqueeze(2), HIDDEN).softmax(1)
        attended = over_query @ query
        # From the right: M x d entries instead of N x N.
        returned = over_query @ (over_context.transpose(1, 2) @ context)
        return self.out(torch.cat((context, attended, context * attended, context * returned), -1))

    def _scores(self, context: Tensor, query: Tensor) -> Tensor:
        """Compute the trilinear scores ``C w_c + (Q w_q)^T + (C * w_p) Q^T``, (B, N, M), the latter two as one."""
        rows = context * self.product_weight + self.query_weight.squeeze(1)
        return rows @ query.transpose(1, 2) + context @ self.context_weight


class PooledConcatenation(nn.Module):
    """A linear map of every row of the context beside the query pooled by learned scores (VSLNet's CQConcat)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.score = nn.Parameter(torch.empty(width, 1))
        nn.init.xavier_uniform_(self.score)
        self.out = PointwiseConvolution(2 * width, width)

    def forward(self, context: Tensor, query: Tensor, query_mask: Tensor) -> Tensor:
        """(B, N, d) context, (B, M, d) query and its (B, M) bool mask -> (B, N, d)."""
        scores = (query @ self.score).masked_fill(~query_mask.unsqueeze(2), HIDDEN)
        pooled = scores.softmax(1).transpose(1, 2) @ query
        # The pooled query is the same for every row, and is mapped once.
        rows, shared = self.out.weight.squeeze(-1).chunk(2, 1)
        return functional.linear(context, rows) + functional.linear(pooled, shared, self.out.bias)
