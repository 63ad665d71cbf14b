"""Maps of moments by first and last position (2D-TAN), of which only the cells that hold anything are computed.

A video of N positions has a map of N x N cells: cell (i, j) is the moment from the start of position i to the end of
position j. Cells with i > j are no moments, and of long moments only some are candidates.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from sadetr.nn.layers import exact

Cells = NDArray[np.int64]
"""(K, 2) first and last position of each cell."""

GATHERED = 2**23
"""Numbers that a convolution gathers at once, 32 MiB in single precision."""


@dataclass(frozen=True)
class Level:
    """The candidates of one length, made from those of the level before."""

    kernel: int
    """Moments of the level before that one of these covers."""
    stride: int
    """Between the first of these of neighbours."""
    cells: Cells
    """By start."""


def candidate_levels(positions: int, scales: Sequence[int]) -> list[Level]:
    """Levels of candidates, from single positions to long moments.

    Scale s has ``scales[s]`` levels, whose moments start at every 2^s-th position and grow by 2^s positions from level
    to level. The first level of a further scale covers three neighbours of the last one, each other level two of the
    level before. Lengths that do not fit into the positions are left out.
    """
    levels: list[Level] = []
    offset = 0
    for scale, count in enumerate(scales):
        step = 2**scale
        for index in range(count):
            offset += step if levels else 0
            if offset >= positions:
                return levels
            starts = np.arange(0, positions - offset, step)
            levels.append(Level(*window(scale, index), np.stack((starts, starts + offset), 1)))
    return levels


def window(scale: int, index: int) -> tuple[int, int]:
    """Kernel and stride by which level ``index`` of a scale is made from the level before."""
    return (2, 1) if index else (3, 2) if scale else (1, 1)


class PooledCandidates(nn.Module):
    """Candidates by max pooling: (B, N, d) positions -> (B, K, d), level by level."""

    def __init__(self, levels: Sequence[Level]) -> None:
        super().__init__()
        self._levels = levels

    def forward(self, positions: Tensor) -> Tensor:
        """Pool every level from the one before."""
        values, found = positions.transpose(1, 2), []
        for level in self._levels:
            values = functional.max_pool1d(values, level.kernel, level.stride)
            found.append(values)
        return torch.cat(found, 2).transpose(1, 2)


class ConvolvedCandidates(nn.Module):
    """Candidates by convolutions without activation, one per level: (B, N, d) positions -> (B, K, d)."""

    def __init__(self, levels: Sequence[Level], scales: Sequence[int], width: int) -> None:
        """``scales`` as in :func:`candidate_levels`; what does not fit has weights that are not used."""
        super().__init__()
        self._count = len(levels)
        self.layers = nn.ModuleList(
            nn.ModuleList(nn.Conv1d(width, width, *window(scale, index)) for index in range(count))
            for scale, count in enumerate(scales)
        )

    def forward(self, positions: Tensor) -> Tensor:
        """Convolve every level from the one before."""
        values, found = positions.transpose(1, 2), []
        for layer in [layer for scale in self.layers for layer in scale][: self._count]:
            values = layer(values)
            found.append(values)
        return torch.cat(found, 2).transpose(1, 2)


class MapConvolution(nn.Module):
    """One convolution over the map, a ReLU, and a division by the number of cells with content under the kernel."""

    def __init__(self, read: Cells, computed: Cells, width: int, kernel: int) -> None:
        """``read`` are the cells that there are, ``computed`` those that are wanted."""
        super().__init__()
        self.convolution = nn.Conv2d(width, width, kernel)
        reads = neighbours(computed, read, kernel)
        # The cell at a place of a cell's kernel has that cell at the opposite place of its own.
        read_by = neighbours(read, computed, kernel)[:, ::-1]
        self.register_buffer("reads", torch.from_numpy(reads), persistent=False)
        self.register_buffer("read_by", torch.from_numpy(read_by.copy()), persistent=False)
        self.register_buffer("counts", (self.reads < len(read)).sum(1, keepdim=True), persistent=False)

    def forward(self, values: Tensor) -> Tensor:
        """(B, n, d) cells that there are -> (B, m, d) wanted ones."""
        kernel = self.convolution.weight.permute(2, 3, 1, 0).flatten(0, 1)
        # The kernel's gradient is a sum over all cells of all samples.
        values = _CellConvolution.apply(exact(values), kernel, self.reads, self.read_by) + self.convolution.bias
        return values.relu() / self.counts.to(values.dtype)


class MapConvolutions(nn.Sequential):
    """Convolutions over the map: (B, K, d) candidates -> (B, K, d).

    Every layer spreads content into cells around the candidates, which the next ones read; on a padded map that is
    2D-TAN's. Here layer l of n computes only cells that have content, within l kernels of a candidate, and that a
    candidate reads in the end, within n - l kernels.
    """

    def __init__(self, cells: Cells, width: int, kernel: int, layers: int) -> None:
        """``kernel`` is odd; see the class."""
        reach = [min(layer, layers - layer) * (kernel // 2) for layer in range(layers + 1)]
        held = [surrounding(cells, radius) if radius else cells for radius in reach]
        super().__init__(*(MapConvolution(read, computed, width, kernel) for read, computed in pairwise(held)))


def surrounding(cells: Cells, radius: int) -> Cells:
    """Cells at most ``radius`` rows and columns from one of ``cells``, these included; positions may be negative."""
    shift = radius - cells.min()
    marked = np.zeros((cells.max() + shift + radius + 1,) * 2, bool)
    for row in range(-radius, radius + 1):
        for column in range(-radius, radius + 1):
            marked[cells[:, 0] + shift + row, cells[:, 1] + shift + column] = True
    return np.argwhere(marked) - shift


def neighbours(cells: Cells, among: Cells, kernel: int) -> Cells:
    """Which of ``among`` lie at the places of a kernel around ``cells``.

    Returns:
        (K, kernel²) index of the one at each place, row by row; ``len(among)`` where there is none.
    """
    radius = kernel // 2
    least = min(cells.min(), among.min()) - radius
    size = max(cells.max(), among.max()) - least + radius + 1
    index = np.full((size, size), len(among))
    index[tuple((among - least).T)] = np.arange(len(among))
    places = np.stack(np.meshgrid(*[np.arange(-radius, radius + 1)] * 2, indexing="ij"), -1).reshape(-1, 2)
    found = cells[:, None] - least + places
    return index[found[..., 0], found[..., 1]]


class _CellConvolution(torch.autograd.Function):
    """Convolution of (B, n, d_in) cells into (B, m, d_out) by a (k, d_in, d_out) kernel.

    Each result reads ``reads`` (m, k) of the cells, and each cell is ``read_by`` (n, k) of the results. Gathering makes
    k copies of the cells; none is kept for the gradients, which gather anew.
    """

    @staticmethod
    def forward(ctx, values: Tensor, kernel: Tensor, reads: Tensor, read_by: Tensor) -> Tensor:
        ctx.save_for_backward(values, kernel, reads, read_by)
        return _product(values, kernel, reads, read_by)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, Tensor, None, None]:
        values, kernel, reads, read_by = ctx.saved_tensors
        of_values = _product(gradient, kernel.transpose(1, 2), read_by, reads)
        if len(read_by) < len(reads):
            of_kernel = _correlation(gradient, values, read_by).transpose(1, 2)
        else:
            of_kernel = _correlation(values, gradient, reads)
        return of_values, of_kernel, None, None


def _product(values: Tensor, kernel: Tensor, reads: Tensor, read_by: Tensor) -> Tensor:
    """The convolution, multiplied where there are fewer cells: at those that read, or at those that are read."""
    if len(read_by) < len(reads):
        return _spread_product(values, kernel, read_by, len(reads))
    matrix = kernel.flatten(0, 1)
    product = values.new_empty(len(values), len(reads), matrix.shape[1])
    for sample, rows, gathered in _portions(values, reads):
        torch.mm(gathered, matrix, out=product[sample, rows])
    return product


def _spread_product(values: Tensor, kernel: Tensor, read_by: Tensor, count: int) -> Tensor:
    """The same of (B, n, d_in) cells, each added to the ``read_by`` (n, k) of ``count`` results."""
    matrix = kernel.transpose(0, 1).flatten(1)
    # The last row is for places where there is no result.
    product = values.new_zeros(len(values), count + 1, kernel.shape[2])
    portion = min(max(1, GATHERED // matrix.shape[1]), len(read_by))
    memory = values.new_empty(portion, matrix.shape[1])
    for cells, result in zip(values, product, strict=True):
        for some, targets in zip(cells.split(portion), read_by.split(portion), strict=True):
            spread = torch.mm(some, matrix, out=memory[: len(some)])
            result.index_add_(0, targets.flatten(), spread.view(-1, kernel.shape[2]))
    return product[:, :-1]


def _correlation(values: Tensor, others: Tensor, reads: Tensor) -> Tensor:
    """Sum over (B, m, d_out) others of each times the cells of (B, n, d_in) that it ``reads`` -> (k, d_in, d_out)."""
    total = values.new_zeros(reads.shape[1] * values.shape[2], others.shape[2])
    for sample, rows, gathered in _portions(values, reads):
        total.addmm_(gathered.T, others[sample, rows])
    return total.unflatten(0, (reads.shape[1], -1))


def _portions(values: Tensor, reads: Tensor) -> Iterator[tuple[int, slice, Tensor]]:
    """What the rows of ``reads`` read of (B, n, d) cells, n being a cell of zeros: sample, rows and (rows, k d).

    All portions are of one sample each and lie in the same memory: fresh pages cost more than what is written there.
    """
    padded = functional.pad(values, (0, 0, 0, 1))
    portion = min(max(1, GATHERED // (reads.shape[1] * values.shape[2])), len(reads))
    memory = values.new_empty(portion * reads.shape[1], values.shape[2])
    for sample, cells in enumerate(padded):
        for start in range(0, len(reads), portion):
            some = reads[start : start + portion]
            gathered = torch.index_select(cells, 0, some.flatten(), out=memory[: some.numel()])
            yield sample, slice(start, start + portion), gathered.view(len(some), -1)
