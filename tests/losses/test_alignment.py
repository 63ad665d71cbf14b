"""Alignment losses: chance levels, slow literal loops. The published values are in tests/parity."""

import math

import pytest
import torch
from torch.nn import functional

from sadetr.losses.alignment import (
    clip_contrast,
    clip_text_logits,
    clip_text_loss,
    inter_loss,
    intra_loss,
    local_loss,
    video_text_contrast,
)
from tests.samples import small_batch

TEMPERATURE = 0.07


def features(batch, seed=0):
    generator = torch.Generator().manual_seed(seed)
    size, clips = batch.video_mask.shape
    return torch.randn(size, clips, 8, generator=generator), torch.randn(size, 8, generator=generator)


@pytest.mark.parametrize("size", [2, 3, 32])
def test_constant_features_give_the_chance_levels(size):
    video = torch.ones(size, 5)
    assert video_text_contrast(video, video, TEMPERATURE).item() == pytest.approx(math.log(size), rel=1e-5)
    clips, first = torch.ones(size, 4, 5), torch.zeros(size, dtype=torch.int64)
    assert inter_loss(clips, video, first, TEMPERATURE).item() == pytest.approx(2 * math.log(size), rel=1e-5)
    logits = torch.zeros(size, 4)
    mask = torch.ones(size, 4, dtype=torch.bool)
    assert local_loss(logits, mask, mask).item() == pytest.approx(math.log(2), rel=1e-6)


def test_contrast_falls_to_zero_for_separable_pairs():
    pairs = torch.eye(4)
    assert video_text_contrast(pairs, pairs, TEMPERATURE) < 1e-4
    assert inter_loss(pairs[:, None], pairs, torch.zeros(4, dtype=torch.int64), TEMPERATURE) < 1e-4


def test_contrast_is_cosine_and_symmetric():
    torch.manual_seed(0)
    video, text = torch.randn(4, 6), torch.randn(4, 6)
    loss = video_text_contrast(video, text, TEMPERATURE)
    torch.testing.assert_close(video_text_contrast(3 * video, 0.1 * text, TEMPERATURE), loss)
    torch.testing.assert_close(video_text_contrast(text, video, TEMPERATURE), loss)
    order = torch.tensor([2, 0, 3, 1])
    torch.testing.assert_close(video_text_contrast(video[order], text[order], TEMPERATURE), loss)


def test_contrast_is_cross_entropy_in_both_directions():
    torch.manual_seed(0)
    video, text = torch.randn(4, 6), torch.randn(4, 6)
    logits = functional.cosine_similarity(video[:, None], text[None], dim=-1) / TEMPERATURE
    diagonal = torch.arange(4)
    expected = (functional.cross_entropy(logits, diagonal) + functional.cross_entropy(logits.T, diagonal)) / 2
    torch.testing.assert_close(video_text_contrast(video, text, TEMPERATURE), expected)


def test_padded_clips_add_chance_to_the_clip_text_loss_where_they_count():
    batch = small_batch()
    clips, _ = features(batch)
    words = torch.randn(*batch.text_mask.shape, 8, generator=torch.Generator().manual_seed(1))
    mask, everything = batch.video_mask, torch.ones_like(batch.video_mask)
    inputs = (clips, words, mask, batch.text_mask, batch.relevant, TEMPERATURE)
    valid, counted = clip_text_loss(*inputs, mask), clip_text_loss(*inputs, everything)
    share = mask.float().mean()
    torch.testing.assert_close(counted, share * valid + (1 - share) * math.log(2))
    # The sentence is a mean of unit words: their length says nothing.
    longer = words * torch.rand(*batch.text_mask.shape, 1).add(0.5)
    torch.testing.assert_close(clip_text_loss(clips, longer, *inputs[2:], mask), valid)


def test_local_loss_is_the_mean_over_valid_clips():
    batch = small_batch()
    clips, sentence = features(batch)
    logits = clip_text_logits(clips, sentence, TEMPERATURE)
    terms = []
    for sample, clip in batch.video_mask.nonzero().tolist():
        cosine = functional.cosine_similarity(clips[sample, clip], sentence[sample], dim=0)
        probability = torch.sigmoid(cosine / TEMPERATURE).double()
        terms.append(-(probability if batch.relevant[sample, clip] else 1 - probability).log())
    loss = local_loss(logits, batch.relevant, batch.video_mask)
    assert loss.item() == pytest.approx(torch.stack(terms).mean().item(), rel=1e-4)


def test_intra_loss_equals_a_literal_loop():
    batch = small_batch()
    clips, sentence = features(batch, seed=3)
    logits = clip_text_logits(clips, sentence, TEMPERATURE)
    positives = batch.aligned_clip.tolist()
    candidates = [
        {
            clip: logits[sample, clip]
            for clip in range(int(batch.video_mask[sample].sum()))
            if clip == positive or batch.saliency[sample, clip] < batch.saliency[sample, positive]
        }
        for sample, positive in enumerate(positives)
    ]
    rows, columns = [], []
    for sample, positive in enumerate(positives):
        own = logits[sample, positive]
        across = [clips[positive] for clips in candidates if positive in clips]
        rows.append(torch.stack(list(candidates[sample].values())).logsumexp(0) - own)
        columns.append(torch.stack(across).logsumexp(0) - own)
    expected = torch.stack(rows).mean() + torch.stack(columns).mean()
    assert any(positive >= batch.video_mask.sum(1).min() for positive in batch.aligned_clip.tolist())
    torch.testing.assert_close(intra_loss(logits, batch.saliency, batch.video_mask, batch.aligned_clip), expected)


def test_an_equally_salient_clip_leaves_the_contrast():
    logits = torch.tensor([[0.0, 5.0, 1.0]], requires_grad=True)
    mask, first = torch.ones(1, 3, dtype=torch.bool), torch.tensor([0])
    intra_loss(logits, torch.tensor([[4.0, 4.0, 1.0]]), mask, first).backward()
    assert logits.grad[0, 1] == 0
    assert logits.grad[0, 2] > 0


def test_a_positive_without_any_other_candidate_costs_nothing_and_stays_finite():
    logits = torch.zeros(2, 3, requires_grad=True)
    mask = torch.tensor([[True, True, True], [True, False, False]])
    # Clip 2 is valid in the first sample only, and no clip is less salient than a label of 0.
    loss = intra_loss(logits, torch.zeros(2, 3), mask, torch.tensor([2, 0]))
    loss.backward()
    assert loss.item() == pytest.approx(0)
    assert logits.grad.isfinite().all()


def test_inter_loss_equals_a_literal_loop():
    batch = small_batch()
    clips, sentence = features(batch)
    chosen = torch.stack([clips[sample, clip] for sample, clip in enumerate(batch.aligned_clip.tolist())])
    similarity = functional.cosine_similarity(chosen[:, None], sentence[None], dim=-1) / TEMPERATURE
    expected = -(similarity.log_softmax(1).diagonal().mean() + similarity.log_softmax(0).diagonal().mean())
    torch.testing.assert_close(inter_loss(clips, sentence, batch.aligned_clip, TEMPERATURE), expected)


def test_padded_clips_do_not_count():
    batch = small_batch()
    clips, sentence = features(batch)
    logits = clip_text_logits(clips, sentence, TEMPERATURE)
    spoiled = torch.where(batch.video_mask, logits, torch.full_like(logits, 99.0))
    assert torch.equal(
        local_loss(spoiled, batch.relevant, batch.video_mask), local_loss(logits, batch.relevant, batch.video_mask)
    )
    labels = (batch.saliency, batch.video_mask, batch.aligned_clip)
    assert torch.equal(intra_loss(spoiled, *labels), intra_loss(logits, *labels))


def test_clips_are_contrasted_with_all_that_count():
    similarity = torch.tensor([[0.5, -0.2, 0.1, 0.9], [0.3, 0.4, 7.0, -9.0]])
    relevant = torch.tensor([[True, False, True, False], [False, True, False, False]])
    short = torch.arange(4) < torch.tensor([[4], [2]])
    first = sum(math.log(math.exp(x) / sum(math.exp(y) for y in similarity[0])) for x in similarity[0, [0, 2]])
    second = math.log(1 / (1 + math.exp(-0.1)))
    assert clip_contrast(similarity, relevant, short).item() == pytest.approx(-(first / 4 + second / 2) / 2, rel=1e-5)
    everything = torch.ones_like(short)
    expected = -(similarity.log_softmax(1) * relevant).mean()
    torch.testing.assert_close(clip_contrast(similarity, relevant, everything), expected)
