"""First and last clip of a window against every pair of clips, the highlight around them, and both losses."""

import math

import numpy as np
import pytest
import torch

from sadetr.losses.boundaries import boundary_clips, extended_clips, highlight_loss, location_loss
from tests.samples import agree


def overlap(window, clips):
    """IoU of a window in clips with every pair of first and last clip, (n, n); 0 where the last is before the first."""
    found = np.zeros((clips, clips))
    for first in range(clips):
        for last in range(first, clips):
            common = min(last + 1, window[1]) - max(first, window[0])
            hull = max(last + 1, window[1]) - min(first, window[0])
            found[first, last] = max(0, common) / hull
    return found


def clips_of(window, clips):
    """What is found for a window in clips of a video of ``clips`` clips."""
    start, end = window
    span = torch.tensor([[(start + end) / 2, end - start]], dtype=torch.float64) / clips
    return boundary_clips(span, torch.tensor([clips]))[0].tolist()


def test_clips_overlap_the_window_most_of_all_pairs():
    rng = np.random.default_rng(0)
    for _ in range(300):
        clips = int(rng.integers(1, 13))
        window = np.sort(rng.random(2)) * clips
        overlaps = overlap(window, clips)
        assert overlaps[tuple(clips_of(window, clips))] == pytest.approx(overlaps.max(), abs=1e-9)


@pytest.mark.parametrize("clips", [1, 7, 29, 128])
def test_whole_clips_are_found_again_in_single_precision(clips):
    pairs = [(first, last) for first in range(0, clips, 3) for last in range(first, clips, 5)]
    ends = torch.tensor([(first, last + 1) for first, last in pairs]) / clips
    spans = torch.stack((ends.mean(1), ends[:, 1] - ends[:, 0]), 1)
    assert boundary_clips(spans, torch.tensor([clips] * len(pairs))).tolist() == [list(pair) for pair in pairs]


def test_windows_at_the_borders_stay_inside():
    assert clips_of((0, 0.1), 5) == [0, 0]
    assert clips_of((4.9, 5), 5) == [4, 4]
    assert clips_of((0, 5), 5) == [0, 4]
    # A window of no length, as one beyond the features may be.
    assert clips_of((5, 5), 5) == [4, 4]


def test_of_equally_good_pairs_the_first_is_taken():
    """[1.5, 3] of four clips: from clip 1 and from clip 2 on, 1 of 2 and 1 of 1.5 clips; two halves tie exactly."""
    assert clips_of((1.5, 3), 4) == [1, 2]
    assert clips_of((0.5, 1.5), 2) == [0, 1]


@pytest.mark.parametrize(("count", "more"), [(4, 0), (5, 0), (6, 1), (14, 1), (15, 2), (16, 2), (25, 2), (26, 3)])
def test_the_highlight_is_longer_by_a_tenth_on_both_sides_rounded_like_python(count, more):
    assert round(0.1 * float(count)) == more
    inside = extended_clips(torch.tensor([[10, 9 + count]]), torch.ones(1, 60, dtype=torch.bool), 0.1)
    assert inside[0].nonzero().flatten().tolist() == list(range(10 - more, 10 + count + more))


def test_the_highlight_ends_with_the_video():
    mask = torch.arange(24) < torch.tensor([[20]])
    inside = extended_clips(torch.tensor([[0, 19]]), mask, 0.1)
    assert torch.equal(inside, mask)


def test_losses_are_their_formulas():
    torch.manual_seed(0)
    start, end, scores = torch.randn(2, 4), torch.randn(2, 4), torch.rand(2, 4)
    mask = torch.arange(4) < torch.tensor([[4], [2]])
    boundaries = torch.tensor([[1, 3], [0, 1]])
    inside = torch.tensor([[False, True, True, True], [True, True, False, False]])
    expected = -sum(
        each.log_softmax(1)[row, clip] / 2
        for each, column in ((start, 0), (end, 1))
        for row, clip in enumerate(boundaries[:, column])
    )
    agree(location_loss(start, end, boundaries), expected)
    total = 0.0
    for score, label, valid in zip(scores.flatten(), inside.flatten(), mask.flatten(), strict=True):
        total -= (2 * math.log(score) if label else math.log(1 - score)) * valid
    agree(highlight_loss(scores, inside, mask, 2.0), total / mask.sum())
