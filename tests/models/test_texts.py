"""Texts of a batch: whose text a sample is given besides its own, the two passes, the published mask."""

from dataclasses import replace

import torch

from sadetr.models.detr.texts import (
    TextPairs,
    least_similar_texts,
    next_source_texts,
    next_texts,
    next_video_texts,
    tiled_word_mask,
)
from tests.samples import small_batch


def test_the_next_text_is_a_negative_unless_it_is_of_the_same_video():
    batch = replace(small_batch(), video_id=torch.tensor([4, 4, 7]))
    assert next_texts(batch).source.tolist() == next_video_texts(batch).source.tolist() == [1, 2, 0]
    assert next_texts(batch).real.all()
    assert next_video_texts(batch).real.tolist() == [False, True, True]


def test_a_text_of_another_part_of_the_same_original_is_no_negative():
    batch = replace(small_batch(), video_id=torch.tensor([4, 5, 7]), source_id=torch.tensor([2, 1, 2]))
    assert next_source_texts(batch).source.tolist() == [1, 2, 0]
    assert next_source_texts(batch).real.tolist() == [True, True, False]
    assert next_video_texts(batch).real.all()


def test_the_least_similar_text_is_one_per_sample():
    similarity = torch.tensor([[0.9, 0.1, 0.4], [0.3, 0.8, 0.2], [0.5, 0.6, 0.3]])
    others = least_similar_texts(similarity, torch.ones(3, 3, dtype=torch.bool))
    assert others.source.tolist() == [1, 2, 2]
    assert others.real.all()


def test_the_least_similar_text_is_a_candidate_where_there_is_one():
    similarity = torch.tensor([[0.9, 0.1, 0.4], [0.3, 0.8, 0.2], [0.5, 0.6, 0.3]])
    candidates = torch.tensor([[False, False, True], [False, False, False], [True, True, False]])
    others = least_similar_texts(similarity, candidates)
    assert others.source[[0, 2]].tolist() == [2, 0]
    assert others.real.tolist() == [True, False, True]


def test_pairs_hold_both_passes_and_take_them_apart_again():
    batch = small_batch()
    pairs = TextPairs(next_texts(batch))
    own, other = pairs.split(pairs.texts(batch.text))
    assert torch.equal(own, batch.text)
    assert torch.equal(other, batch.text.roll(-1, 0))
    assert all(torch.equal(half, batch.video_mask) for half in pairs.split(pairs.videos(batch.video_mask)))
    assert torch.equal(torch.cat(pairs.each(batch.text_mask)), pairs.texts(batch.text_mask))


def test_without_others_there_is_one_pass():
    batch, pairs = small_batch(), TextPairs(None)
    assert torch.equal(pairs.texts(batch.text), batch.text)
    assert torch.equal(pairs.videos(batch.video), batch.video)
    own, other = pairs.split(batch.text)
    assert own is batch.text
    assert other is None


def test_tiled_mask_reads_sample_major_what_was_written_head_major():
    generator = torch.Generator().manual_seed(1)
    size, heads, clips, words = 3, 4, 5, 6
    video = torch.arange(clips) < torch.randint(1, clips + 1, (size, 1), generator=generator)
    text = torch.arange(words) < torch.randint(1, words + 1, (size, 1), generator=generator)
    # As published: one mask per sample, the list of samples repeated once per head ...
    written = [~video[sample, :, None] & ~text[sample, None] for _ in range(heads) for sample in range(size)]
    visible = tiled_word_mask(video, text, heads)
    for sample in range(size):
        for head in range(heads):
            # ... and read as heads of sample 0, heads of sample 1, and so on.
            hidden = written[sample * heads + head] | ~text[sample]
            assert torch.equal(visible[sample, head], ~hidden)
    assert visible[..., 0].all()
