"""Losses of clips that predict a window each: which clips they are, and the losses by hand."""

import pytest
import torch

from sadetr.losses.dense import ClipTargets, boundary_losses, clip_targets, foreground_loss
from sadetr.nn.spans import cw_to_se, se_to_cw


def targets(points, windows, clips=None):
    """Of one video; windows as ``se``."""
    places = torch.tensor([points])
    mask = torch.arange(len(points))[None] < (len(points) if clips is None else clips)
    spans = se_to_cw(torch.tensor([windows]))
    return clip_targets(places, mask, spans, torch.ones(spans.shape[:2], dtype=torch.bool))


def test_both_ends_of_a_window_are_inside():
    found = targets([0.25, 0.5, 0.75, 1.0], [[0.25, 0.75]])
    assert found.inside.tolist() == [[True, True, True, False]]


@pytest.mark.parametrize("length", [75, 90, 97, 701])
def test_rounding_moves_no_clip_across_a_border(length):
    points = [(index + 1) / length for index in range(length)]
    for first, last in ((0, 3), (length // 3, length // 2), (length - 5, length - 1)):
        window = [(first + 1) / length, (last + 1) / length]
        assert targets(points, [window]).inside[0].nonzero().flatten().tolist() == list(range(first, last + 1))


def test_the_last_window_of_a_clip_counts():
    found = targets([0.1, 0.3, 0.5, 0.9], [[0.0, 0.6], [0.2, 0.4]])
    torch.testing.assert_close(found.windows[0, :3], torch.tensor([[0.0, 0.6], [0.2, 0.4], [0.0, 0.6]]))
    assert found.inside.tolist() == [[True, True, True, False]]


def test_a_window_between_two_points_takes_the_clip_of_its_start():
    found = targets([0.125, 0.375, 0.625, 0.875], [[0.5, 0.55], [0.76, 0.8]])
    assert found.inside.tolist() == [[False, False, True, False]]
    torch.testing.assert_close(found.windows[0, 2], torch.tensor([0.5, 0.55]))
    # At the end of the video it is the last clip, and no padded one.
    assert targets([0.25, 0.75, 0.0, 0.0], [[0.999, 1.0]], clips=2).inside.tolist() == [[False, True, False, False]]


def test_padded_clips_and_windows_give_nothing():
    points, mask = torch.zeros(2, 4), torch.tensor([[True] * 4, [True, True, False, False]])
    spans = se_to_cw(torch.tensor([[[0.0, 1.0], [0.0, 0.0]], [[0.0, 1.0], [0.0, 1.0]]]))
    found = clip_targets(points, mask, spans, torch.tensor([[True, False], [True, True]]))
    assert torch.equal(found.inside, mask)
    torch.testing.assert_close(found.windows[0, 0], cw_to_se(spans[0, 0]))


def test_foreground_loss_by_hand():
    logits = torch.tensor([[0.0, 0.0, 5.0]])
    inside, mask = torch.tensor([[True, False, False]]), torch.tensor([[True, True, False]])
    # One of weight 1 and one of 0.1, over two valid clips.
    expected = (1 + 0.1) * torch.tensor(2.0).log() / 2
    torch.testing.assert_close(foreground_loss(logits, inside, mask, 0.1), expected)


def test_boundary_losses_by_hand():
    predicted = torch.tensor([[[0.0, 0.4], [0.2, 0.6], [9.0, 9.5]]])
    windows = torch.tensor([[[0.0, 0.2], [0.2, 0.6], [0.0, 0.0]]])
    l1, giou = boundary_losses(predicted, ClipTargets(torch.tensor([[True, True, False]]), windows))
    # Smooth L1 of 0.2 is 0.2² / 2; half of the first window's hull is covered by both.
    assert l1.item() == pytest.approx(0.02 / 2)
    assert giou.item() == pytest.approx(0.5 / 2)
