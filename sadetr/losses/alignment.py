"""Alignment losses: video-text contrast, clip-text matching (section 3.2, L_vtc and L_ctm), queries and text."""

import torch
from torch import Tensor
from torch.nn import functional

from sadetr.losses.moment import masked_average


def symmetric_contrast(logits: Tensor) -> Tensor:
    """Row and column cross entropy of (B, B) logits against the diagonal, summed."""
    diagonal = logits.diagonal()
    return (logits.logsumexp(1) - diagonal).mean() + (logits.logsumexp(0) - diagonal).mean()


def video_text_contrast(video: Tensor, text: Tensor, temperature: float) -> Tensor:
    """L_vtc: CLIP's loss on pooled (B, d) embeddings with a fixed temperature, mean of both directions (D4)."""
    return (
        symmetric_contrast(functional.normalize(video, dim=-1) @ functional.normalize(text, dim=-1).T / temperature) / 2
    )


def clip_text_logits(clips: Tensor, sentence: Tensor, temperature: float) -> Tensor:
    """Cosine similarity S of clips (B, L, d) and their own sentence (B, d), over the temperature: (B, L)."""
    clips, sentence = functional.normalize(clips, dim=-1), functional.normalize(sentence, dim=-1)
    return torch.einsum("bld,bd->bl", clips, sentence) / temperature


def local_loss(logits: Tensor, relevant: Tensor, mask: Tensor) -> Tensor:
    """L_local: binary cross entropy of (B, L) logits against relevance, mean over valid clips (D12)."""
    losses = functional.binary_cross_entropy_with_logits(logits, relevant.to(logits.dtype), reduction="none")
    return masked_average(losses, mask)


def intra_loss(logits: Tensor, labels: Tensor, mask: Tensor, positive: Tensor) -> Tensor:
    """L_intra: contrast of one positive clip within its video and at its position across samples (D13).

    Args:
        logits: (B, L) S / temperature.
        labels: (B, L) saliency; clips as salient as the positive or more leave the contrast.
        mask: (B, L) bool.
        positive: (B,) int64 clip.
    """
    own = positive.unsqueeze(1)
    chosen = logits.gather(1, own).squeeze(1)
    is_positive = torch.arange(logits.shape[1], device=logits.device) == own
    candidate = mask & ((labels < labels.gather(1, own)) | is_positive)
    contrasted = logits.masked_fill(~candidate, -torch.inf)
    rows = contrasted.logsumexp(1) - chosen
    # Entry (b, b') is clip p_b of sample b', out of the contrast unless it is a candidate of its own sample.
    columns = contrasted[:, positive].T.logsumexp(1) - chosen
    return rows.mean() + columns.mean()


def inter_loss(clips: Tensor, sentence: Tensor, positive: Tensor, temperature: float) -> Tensor:
    """L_inter: contrast of each sample's positive clip (of (B, L, d)) with all sentences (B, d), rows plus columns."""
    index = positive.view(-1, 1, 1).expand(-1, 1, clips.shape[-1])
    chosen = functional.normalize(clips.gather(1, index).squeeze(1), dim=-1)
    return symmetric_contrast(chosen @ functional.normalize(sentence, dim=-1).T / temperature)


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
