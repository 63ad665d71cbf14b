"""Convolutional heads: their reach, and what a mask keeps from them."""

import pytest
import torch

from sadetr.nn.convolutions import ConvolutionHead


@pytest.mark.parametrize("layers", [1, 3])
def test_a_clip_reaches_as_far_as_there_are_layers(layers):
    torch.manual_seed(0)
    head, clips = ConvolutionHead(16, 2, layers), torch.randn(1, 11, 16)
    changed = clips.clone()
    changed[:, 5] += 10
    moved = (head(changed, None) - head(clips, None)).abs().amax((0, 2)) > 0
    assert moved.nonzero().flatten().tolist() == list(range(5 - layers, 6 + layers))


def test_behind_the_mask_there_is_nothing():
    torch.manual_seed(0)
    head, clips = ConvolutionHead(16, 2, 3), torch.randn(2, 6, 16)
    mask = torch.tensor([[True] * 6, [True] * 3 + [False] * 3])
    masked = head(clips, mask)
    torch.testing.assert_close(masked[1, :3], head(clips[1:, :3], None)[0])
    torch.testing.assert_close(masked[0], head(clips[:1], None)[0])
