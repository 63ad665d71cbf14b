"""Position encodings: the grid, invariance to padding. Published values are in tests/parity."""

import math

import pytest
import torch

from sadetr.nn.positions import anchor_positions, clip_positions


def test_a_clip_sits_at_its_right_edge():
    mask = torch.ones(1, 4, dtype=torch.bool)
    encoded = clip_positions(mask, 8)[0]
    for clip in range(4):
        angle = 2 * math.pi * (clip + 1) / 4
        for pair in range(4):
            phase = angle / 10000 ** (2 * pair / 8)
            expected = torch.tensor([math.sin(phase), math.cos(phase)])
            torch.testing.assert_close(encoded[clip, 2 * pair : 2 * pair + 2], expected, rtol=1e-4, atol=1e-5)


def test_clip_positions_do_not_see_padding():
    short, long = torch.ones(1, 5, dtype=torch.bool), torch.arange(9)[None] < 5
    assert torch.equal(clip_positions(long, 16)[:, :5], clip_positions(short, 16))


def test_the_centre_comes_first_and_both_halves_use_the_same_frequencies():
    encoded = anchor_positions(torch.tensor([[0.3, 0.7], [0.7, 0.3]]), 32)
    assert torch.equal(encoded[0, :16], encoded[1, 16:])
    assert torch.equal(encoded[0, 16:], encoded[1, :16])
    assert encoded[0, :2].tolist() == pytest.approx([math.sin(0.6 * math.pi), math.cos(0.6 * math.pi)], abs=1e-6)


def test_gradients_reach_the_anchors():
    anchors = torch.rand(2, 3, 2, requires_grad=True)
    anchor_positions(anchors, 16).square().sum(-1).sum().backward()
    anchors.grad = None
    anchor_positions(anchors, 16)[..., ::2].sum().backward()
    assert anchors.grad.abs().min() > 0
