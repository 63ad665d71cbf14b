"""Videos on a fixed number of positions."""

import pytest
import torch

from sadetr.nn.resampling import position_means
from tests.samples import agree


def limits(length, positions):
    """Python rounds halves to even, too."""
    return [min(round(place * length / positions), length - 1) for place in range(positions + 1)]


@pytest.mark.parametrize("length", [1, 3, 7, 8, 9, 16, 21, 40])
def test_positions_are_means_between_rounded_limits(length):
    values = torch.randn(1, length, 5)
    found = position_means(values, torch.ones(1, length, dtype=torch.bool), 8)[0]
    ends = limits(length, 8)
    for row, first, stop in zip(found, ends[:-1], ends[1:], strict=True):
        agree(row, values[0, first : max(stop, first + 1)].mean(0))


def test_as_many_clips_as_positions_are_themselves():
    values = torch.randn(2, 12, 5)
    assert torch.equal(position_means(values, torch.ones(2, 12, dtype=torch.bool), 12), values)


def test_padding_and_what_it_holds_change_nothing():
    values, mask = torch.randn(2, 9, 5), torch.arange(9) < torch.tensor([[9], [4]])
    found = position_means(values, mask, 6)
    assert torch.equal(found[1:], position_means(values[1:, :4], mask[1:, :4], 6))
    spoiled = torch.where(mask.unsqueeze(2), values, 50.0)
    agree(position_means(spoiled, mask, 6), found)


def test_the_last_clip_of_a_longer_video_is_read_by_nobody():
    """As published: the limits end one clip too early."""
    values, mask = torch.zeros(1, 40, 1), torch.ones(1, 40, dtype=torch.bool)
    values[0, -1] = 1.0
    assert not position_means(values, mask, 8).any()
    assert position_means(values[:, -8:], mask[:, -8:], 8)[0, -1] == 1
