"""Aligner and enhance blocks: wiring, the fusion token, padding."""

import math

import pytest
import torch

from sadetr.models.sa_detr.aligner import ModalAligner
from sadetr.models.sa_detr.enhance import GlobalBlock
from sadetr.nn.positions import clip_positions
from sadetr.nn.tokens import FusionToken, HighlightHead
from tests.samples import HIDDEN, small_settings

MASK = torch.arange(6) < torch.tensor([[6], [3]])


def test_the_fusion_token_is_row_0_with_its_own_position():
    torch.manual_seed(0)
    token, video = FusionToken(HIDDEN), torch.randn(2, 6, HIDDEN)
    clips, positions, mask = token.prepend(video, MASK)
    assert torch.equal(clips[:, 0], token.token.expand(2, -1))
    assert torch.equal(clips[:, 1:], video)
    assert torch.equal(positions[:, 0], token.position.expand(2, -1))
    assert torch.equal(positions[:, 1:], clip_positions(MASK, HIDDEN))
    assert mask[:, 0].all()
    assert torch.equal(mask[:, 1:], MASK)


def test_both_directions_share_layers_and_attend_to_unfused_features():
    torch.manual_seed(0)
    aligner = ModalAligner(small_settings())
    video, positions, text = torch.randn(2, 7, HIDDEN), torch.randn(2, 7, HIDDEN), torch.randn(2, 4, HIDDEN)
    video_mask, text_mask = torch.ones(2, 7, dtype=torch.bool), torch.tensor([[True] * 4, [True, True, False, False]])
    expected_video, expected_text = video, text
    for layer in aligner.layers:
        expected_video = layer(expected_video, positions, text, text_mask)
        expected_text = layer(expected_text, None, video, video_mask)
    assert torch.equal(aligner.fuse_video(video, positions, text, text_mask), expected_video)
    assert torch.equal(aligner.fuse_text(text, video, video_mask), expected_text)
    # No layer of its own for either direction.
    names = {name.partition(".")[0] for name, _ in aligner.named_parameters()}
    assert names == {"layers", "pooling"}


def test_the_fusion_token_reads_the_text_and_the_text_reads_the_token():
    torch.manual_seed(0)
    aligner = ModalAligner(small_settings())
    video, text = torch.randn(1, 7, HIDDEN), torch.randn(1, 4, HIDDEN)
    masks = torch.ones(1, 7, dtype=torch.bool), torch.ones(1, 4, dtype=torch.bool)
    positions = torch.zeros(1, 7, HIDDEN)
    token = aligner.fuse_video(video, positions, text, masks[1])[:, 0]
    assert not torch.allclose(aligner.fuse_video(video, positions, text + 1, masks[1])[:, 0], token)
    moved = video.clone()
    moved[:, 0] += 1
    assert not torch.allclose(aligner.fuse_text(text, moved, masks[0]), aligner.fuse_text(text, video, masks[0]))


def test_the_global_block_does_not_see_padding():
    torch.manual_seed(0)
    block = GlobalBlock(small_settings())
    video, positions = torch.randn(2, 6, HIDDEN), torch.randn(2, 6, HIDDEN)
    spoiled = torch.where(MASK[..., None], video, torch.full_like(video, 40))
    assert torch.equal(block(spoiled, positions, MASK)[MASK], block(video, positions, MASK)[MASK])
    torch.testing.assert_close(
        block(video[1:, :3], positions[1:, :3], MASK[1:, :3])[0], block(video, positions, MASK)[1, :3]
    )


def test_highlight_scores_are_scaled_products_with_the_token():
    torch.manual_seed(0)
    head, video = HighlightHead(HIDDEN), torch.randn(2, 5, HIDDEN)
    scores = head(video)
    assert scores.shape == (2, 4)
    product = (head.clip.weight @ video[1, 3] + head.clip.bias) @ (head.token.weight @ video[1, 0] + head.token.bias)
    assert scores[1, 2].item() == pytest.approx(product.item() / math.sqrt(HIDDEN), rel=1e-4)
