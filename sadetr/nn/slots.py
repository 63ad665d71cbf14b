"""Slot attention (Locatello et al., NeurIPS 2020) as EaTR has it: no recurrent unit, one MLP per iteration."""

import torch
from torch import Tensor, nn

from sadetr.nn.layers import MLP
from sadetr.nn.settings import SlotPadding


class SlotAttention(nn.Module):
    """Slots compete for inputs: the attention's weights are shared out over slots, then averaged over inputs."""

    def __init__(self, width: int, hidden: tuple[int, ...], iterations: int, padding: SlotPadding) -> None:
        """Build the attention.

        Args:
            width: d.
            hidden: widths inside the MLP behind each iteration.
            iterations: how often the slots are updated, with the same weights.
            padding: what padded inputs give to the slots.
        """
        super().__init__()
        self.iterations, self.padding = iterations, padding
        self.norm_inputs, self.norm_slots, self.norm_mlp, self.norm_out = (nn.LayerNorm(width) for _ in range(4))
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.mlp = MLP(width, *hidden, width)

    def forward(self, slots: Tensor, inputs: Tensor, mask: Tensor) -> Tensor:
        """(B, N, d) slots to start from, (B, M, d) inputs, (B, M) bool mask, True at valid inputs -> (B, N, d)."""
        inputs = self.norm_inputs(inputs)
        key, value = self.key(inputs), self.value(inputs)
        for _ in range(self.iterations):
            slots = slots + self._weights(slots, key, mask) @ value
            slots = slots + self.mlp(self.norm_mlp(slots))
        return self.norm_out(slots)

    def _weights(self, slots: Tensor, key: Tensor, mask: Tensor) -> Tensor:
        """What each slot takes of each input: (B, N, M), rows sum to one."""
        query = self.query(self.norm_slots(slots)) * slots.shape[-1] ** -0.5
        shares = (query @ key.transpose(1, 2)).softmax(1)
        # A mask in front of a softmax over slots leaves equal logits, and thereby equal shares.
        padded = 1 / slots.shape[1] if self.padding == "shared" else 0.0
        shares = torch.where(mask.unsqueeze(1), shares, padded)
        return shares / (shares.sum(2, keepdim=True) + 1e-8)
