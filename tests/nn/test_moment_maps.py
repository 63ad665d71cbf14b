"""Maps of moments: which candidates there are, and that cells alone compute what the whole padded map does."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from sadetr.nn import moment_maps
from sadetr.nn.moment_maps import (
    ConvolvedCandidates,
    MapConvolutions,
    PooledCandidates,
    candidate_levels,
    neighbours,
    surrounding,
)

WIDTH = 6
MAPS = [(16, [16]), (16, [8, 4]), (32, [8, 4, 4]), (11, [3, 2, 9])]


def cells_of(positions, scales):
    return np.concatenate([level.cells for level in candidate_levels(positions, scales)])


@pytest.mark.parametrize(("positions", "scales"), MAPS)
def test_candidates_are_moments_and_each_occurs_once(positions, scales):
    cells = cells_of(positions, scales)
    assert (cells[:, 0] <= cells[:, 1]).all()
    assert cells.min() >= 0
    assert cells.max() < positions
    assert len(np.unique(cells, axis=0)) == len(cells)
    # Every position by itself, and no length twice.
    assert {(place, place) for place in range(positions)} <= set(map(tuple, cells.tolist()))
    lengths = [int(level.cells[0, 1]) for level in candidate_levels(positions, scales)]
    assert lengths == sorted(set(lengths))


def test_candidates_of_the_published_maps():
    assert len(cells_of(16, [16])) == 16 * 17 / 2
    offsets = [int(level.cells[0, 1]) for level in candidate_levels(128, [16, 8, 8, 8])]
    assert offsets == [*range(16), *range(17, 32, 2), *range(35, 64, 4), *range(71, 128, 8)]
    assert [0, 127] in cells_of(128, [16, 8, 8, 8]).tolist()


@pytest.mark.parametrize(("positions", "scales"), MAPS)
def test_a_pooled_candidate_is_the_maximum_of_its_positions(positions, scales):
    levels = candidate_levels(positions, scales)
    values = torch.randn(2, positions, 3)
    for (first, last), found in zip(
        cells_of(positions, scales), PooledCandidates(levels)(values).unbind(1), strict=True
    ):
        assert torch.equal(found, values[:, first : last + 1].amax(1))


@pytest.mark.parametrize(("positions", "scales"), MAPS)
def test_a_convolved_candidate_reads_its_positions_and_no_others(positions, scales):
    levels = candidate_levels(positions, scales)
    model, values = ConvolvedCandidates(levels, scales, 3), torch.randn(1, positions, 3, requires_grad=True)
    found = model(values)[0]
    for (first, last), row in zip(cells_of(positions, scales), found, strict=True):
        (gradient,) = torch.autograd.grad(row.sum(), values, retain_graph=True)
        read = gradient[0].abs().sum(1) > 0
        assert read.nonzero()[:, 0].tolist() == list(range(first, last + 1))


def whole_map(model, values, cells, positions, kernel):
    """What 2D-TAN's authors compute: the map padded once by all that its layers take away, and shrinking."""
    layers = len(model)
    grid = values.new_zeros(len(values), values.shape[2], positions, positions)
    grid[:, :, cells[:, 0], cells[:, 1]] = values.transpose(1, 2)
    content = (grid != 0).any(1, keepdim=True).any(0, keepdim=True).to(values.dtype)
    grid, content = (functional.pad(each, [layers * (kernel // 2)] * 4) for each in (grid, content))
    for layer in model:
        grid = layer.convolution(grid).relu()
        count = functional.conv2d(content, content.new_ones(1, 1, kernel, kernel)).round()
        grid, content = grid * torch.where(count > 0, 1 / count, 0.0), (count > 0).to(values.dtype)
    return grid[:, :, cells[:, 0], cells[:, 1]].transpose(1, 2)


@pytest.mark.parametrize(
    ("positions", "scales", "kernel", "layers", "gathered"),
    [
        (16, [8, 4], 5, 8, 2**23),
        (32, [8, 4, 4], 9, 4, 2**23),
        (11, [3, 2, 9], 3, 5, 2**23),
        (11, [11], 1, 2, 2**23),
        # Several portions, the last one smaller, and one cell at a time.
        (11, [11], 3, 3, 9 * WIDTH * 7),
        (6, [6], 3, 1, 1),
    ],
)
def test_cells_alone_are_what_the_whole_padded_map_has(monkeypatch, positions, scales, kernel, layers, gathered):
    monkeypatch.setattr(moment_maps, "GATHERED", gathered)
    torch.manual_seed(0)
    cells = cells_of(positions, scales)
    model = MapConvolutions(cells, WIDTH, kernel, layers).double()
    values = torch.randn(2, len(cells), WIDTH, dtype=torch.float64, requires_grad=True)
    ours, theirs = model(values), whole_map(model, values, cells, positions, kernel)
    weights = torch.randn_like(theirs)
    parameters = [values, *model.parameters()]
    torch.testing.assert_close(ours, theirs)
    for found, expected in zip(
        torch.autograd.grad((ours * weights).sum(), parameters),
        torch.autograd.grad((theirs * weights).sum(), parameters),
        strict=True,
    ):
        torch.testing.assert_close(found, expected)


def test_mixed_precision_sums_the_kernels_gradient_in_single():
    """Over all cells and samples, to the bit; what a layer reads and gives may have been rounded before and after."""
    torch.manual_seed(0)
    cells = cells_of(16, [8, 4])
    model = MapConvolutions(cells, WIDTH, 3, 2)
    values = torch.randn(4, len(cells), WIDTH).bfloat16()
    with torch.autocast("cpu", torch.bfloat16, cache_enabled=False):
        rounded = model(values)
    exact = model(values.float())
    found, expected = (torch.autograd.grad(each.float().pow(2).sum(), model.parameters()) for each in (rounded, exact))
    for ours, theirs in zip(found, expected, strict=True):
        assert torch.equal(ours, theirs)


def test_fewer_cells_are_computed_than_the_whole_map_has():
    """By more than a factor of two on the published maps: what a training step is made of."""
    for positions, scales in ((16, [16]), (128, [16, 8, 8, 8])):
        model = MapConvolutions(cells_of(positions, scales), 1, 5, 8)
        ours = sum(len(layer.counts) for layer in model)
        theirs = sum((positions + 32 - 4 * layer) ** 2 for layer in range(1, 9))
        assert theirs > 2 * ours


def test_tables_are_no_weights():
    model = MapConvolutions(cells_of(8, [8]), WIDTH, 3, 2)
    assert {name.split(".")[1] for name in model.state_dict()} == {"convolution"}


def test_surrounding_cells_and_neighbours():
    cells = np.array([[0, 0], [0, 2]])
    near = surrounding(cells, 1)
    assert near.tolist() == [[row, column] for row in (-1, 0, 1) for column in range(-1, 4)]
    assert neighbours(cells, cells, 5).tolist() == [
        [2] * 12 + [0, 2, 1] + [2] * 10,
        [2] * 10 + [0, 2, 1] + [2] * 12,
    ]
