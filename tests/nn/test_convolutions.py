"""Convolutions over time: their reach, and what a mask keeps from them."""

import pytest
import torch

from sadetr.nn.convolutions import ConvolutionHead, LocalBlock

WIDTH = 32
MASK = torch.arange(6) < torch.tensor([[6], [3]])


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


def local_block():
    torch.manual_seed(0)
    return LocalBlock(WIDTH)


def test_the_local_block_keeps_the_length_and_does_not_see_padding():
    block, video = local_block(), torch.randn(2, 6, WIDTH)
    result = block(video, MASK)
    assert result.shape == video.shape
    spoiled = torch.where(MASK[..., None], video, torch.full_like(video, 40))
    assert torch.equal(block(spoiled, MASK)[MASK], result[MASK])
    torch.testing.assert_close(block(video[1:, :3], MASK[1:, :3])[0], result[1, :3], rtol=1e-5, atol=1e-5)


def test_the_local_block_sees_one_neighbour_on_either_side():
    block, video = local_block(), torch.randn(1, 6, WIDTH)
    mask = torch.ones(1, 6, dtype=torch.bool)
    moved = video.clone()
    moved[0, 2] += 1
    changed = (block(moved, mask) - block(video, mask)).abs().amax(-1)[0] > 1e-4
    assert changed.tolist() == [False, True, True, True, False, False]


def test_the_local_block_is_linear_around_its_residual():
    # No activation and no norm between the convolutions.
    block, mask = local_block(), torch.ones(1, 6, dtype=torch.bool)
    first, second = torch.randn(2, 1, 6, WIDTH)
    zero = block(torch.zeros_like(first), mask)
    torch.testing.assert_close(
        block(first + 2 * second, mask) - zero,
        (block(first, mask) - zero) + 2 * (block(second, mask) - zero),
        rtol=1e-3,
        atol=1e-4,
    )


def test_masking_again_changes_the_last_valid_clip_of_padded_videos_only():
    # UVCOM masks the input of the stack and no more: the first bias leaks into the last valid clip (parity: remask).
    block, leaky = local_block(), LocalBlock(WIDTH, remask=False)
    leaky.load_state_dict(block.state_dict())
    video = torch.randn(2, 6, WIDTH)
    differs = (block(video, MASK) - leaky(video, MASK)).abs().amax(-1) > 1e-5
    assert (differs & MASK).nonzero().tolist() == [[1, 2]]
