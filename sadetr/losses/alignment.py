"""Alignment losses: video-text contrast, clip-text matching (section 3.2, L_vtc and L_ctm), queries and text."""

import torch
from torch import Tensor
from torch.nn import functional

from sadetr.losses.moment import masked_average
from sadetr.nn.layers import masked_mean


def contrast_directions(logits: Tensor) -> tuple[Tensor, Tensor]:
    """Row and column cross entropy of (B, B) logits against the diagonal."""
    diagonal = logits.diagonal()
    return (logits.logsumexp(1) - diagonal).mean(), (logits.logsumexp(0) - diagonal).mean()


def symmetric_contrast(logits: Tensor) -> Tensor:
    """Both directions of :func:`contrast_directions`, summed."""
    rows, columns = contrast_directions(logits)
    return rows + columns


def video_text_contrast(video: Tensor, text: Tensor, temperature: float) -> Tensor:
    """L_vtc: CLIP's loss on pooled (B, d) embeddings with a fixed temperature, mean of both directions (D4)."""
    return (
        symmetric_contrast(functional.normalize(video, dim=-1) @ functional.normalize(text, dim=-1).T / temperature) / 2
    )


def clip_text_logits(clips: Tensor, sentence: Tensor, temperature: float, unit_sentence: bool = True) -> Tensor:
    """Cosine similarity S of clips (B, L, d) and their own sentence (B, d), over the temperature: (B, L).

    Without ``unit_sentence`` only the clips are normalised: TR-DETR's sentence is a mean of unit words, shorter than 1.
    """
    clips = functional.normalize(clips, dim=-1)
    sentence = functional.normalize(sentence, dim=-1) if unit_sentence else sentence
    return torch.einsum("bld,bd->bl", clips, sentence) / temperature


def local_loss(logits: Tensor, relevant: Tensor, mask: Tensor) -> Tensor:
    """L_local: binary cross entropy of (B, L) logits against relevance, mean over valid clips (D12)."""
    losses = functional.binary_cross_entropy_with_logits(logits, relevant.to(logits.dtype), reduction="none")
    return masked_average(losses, mask)


def clip_text_loss(
    clips: Tensor,
    words: Tensor,
    video_mask: Tensor,
    text_mask: Tensor,
    relevant: Tensor,
    temperature: float,
    counted: Tensor,
) -> Tensor:
    """TR-DETR's form of L_local: the sentence is the mean of its unit words, padded clips have similarity 0.

    Args:
        clips: (B, L, d).
        words: (B, T, d).
        video_mask: (B, L) bool.
        text_mask: (B, T) bool.
        relevant: (B, L), clips that belong to a window.
        temperature: of the similarities.
        counted: (B, L) bool clips of the mean; all of them, padded ones included, as published.
    """
    sentence = masked_mean(functional.normalize(words, dim=-1), text_mask)
    logits = clip_text_logits(clips, sentence, temperature, unit_sentence=False) * video_mask
    return local_loss(logits, relevant, counted)


def intra_candidates(labels: Tensor, mask: Tensor, positive: Tensor) -> Tensor:
    """Clips that the positive is contrasted with: itself and the valid ones less salient than it; shapes as below."""
    own = positive.unsqueeze(1)
    is_positive = torch.arange(labels.shape[1], device=labels.device) == own
    return mask & ((labels < labels.gather(1, own)) | is_positive)


def intra_directions(logits: Tensor, labels: Tensor, mask: Tensor, positive: Tensor) -> tuple[Tensor, Tensor]:
    """Contrast of one positive clip within its video, and at its position across samples.

    Args:
        logits: (B, L) S / temperature.
        labels: (B, L) saliency; clips as salient as the positive or more leave the contrast.
        mask: (B, L) bool.
        positive: (B,) int64 clip.
    """
    chosen = logits.gather(1, positive.unsqueeze(1)).squeeze(1)
    contrasted = logits.masked_fill(~intra_candidates(labels, mask, positive), -torch.inf)
    rows = contrasted.logsumexp(1) - chosen
    # Entry (b, b') is clip p_b of sample b', out of the contrast unless it is a candidate of its own sample.
    columns = contrasted[:, positive].T.logsumexp(1) - chosen
    return rows.mean(), columns.mean()


def intra_loss(logits: Tensor, labels: Tensor, mask: Tensor, positive: Tensor) -> Tensor:
    """L_intra: both directions of :func:`intra_directions`, summed (D13)."""
    rows, columns = intra_directions(logits, labels, mask, positive)
    return rows + columns


def inter_logits(clips: Tensor, sentence: Tensor, positive: Tensor, temperature: float) -> Tensor:
    """Cosine of each sample's positive clip (of (B, L, d)) and every sentence (B, d) over the temperature: (B, B)."""
    index = positive.view(-1, 1, 1).expand(-1, 1, clips.shape[-1])
    chosen = functional.normalize(clips.gather(1, index).squeeze(1), dim=-1)
    return chosen @ functional.normalize(sentence, dim=-1).T / temperature


def inter_loss(clips: Tensor, sentence: Tensor, positive: Tensor, temperature: float) -> Tensor:
    """L_inter: contrast of each sample's positive clip with all sentences, rows plus columns."""
    return symmetric_contrast(inter_logits(clips, sentence, positive, temperature))


def query_text_contrast(queries: Tensor, text: Tensor, assigned: Tensor, mask: Tensor, temperature: float) -> Tensor:
    """Moment-DETR's contrastive alignment: matched queries are closer to the text than the others.

    The similarity of a query is summed over all tokens, padded ones included, as published. Mean over samples, sum
    over stages.

    Args:
        queries: (S, B, N, c) unit vectors.
        text: (B, T, c) unit vectors.
        assigned: (S, B, G) int64 query of each window.
        mask: (B, G) bool.
        temperature: of the softmax over queries.
    """
    logits = torch.einsum("sbnc,bc->sbn", queries, text.sum(1)) / temperature
    positive = (logits.gather(2, assigned) * mask).sum(-1) / mask.sum(-1)
    return (logits.logsumexp(-1) - positive).mean(1).sum()


def clip_contrast(similarity: Tensor, relevant: Tensor, counted: Tensor) -> Tensor:
    """UVCOM's contrast of the clips of a video: the relevant ones take part in a softmax over all.

    The sum over relevant clips is divided by the number of clips, so that long moments weigh more, as published.

    Args:
        similarity: (B, L) of clips and their own text.
        relevant: (B, L) bool, all of them counted.
        counted: (B, L) bool, clips of the softmax and of the number; all of them, padded ones included, as published.
    """
    log_probability = similarity - similarity.masked_fill(~counted, -torch.inf).logsumexp(1, keepdim=True)
    return -((log_probability * relevant).sum(1) / counted.sum(1)).mean()
