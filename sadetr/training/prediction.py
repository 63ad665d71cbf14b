"""Predictions of a split in the field's submission format."""

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from sadetr.data.batches import Split
from sadetr.evaluation.postprocess import postprocess_windows, rank_windows
from sadetr.evaluation.ranking import rerank
from sadetr.models.interface import Batch, Method
from sadetr.settings import Postprocess
from sadetr.training_settings import Ranking, ScoreRanking

SALIENCY_DECIMALS = 4
Observer = Callable[[NDArray[np.floating], NDArray[np.floating]], None]
AS_SCORED = ScoreRanking()


def predicted_batch(split: Split, row: int, batch_size: int) -> tuple[Batch, int]:
    """The batch in which :func:`predict` meets the query ``row``, and its place there.

    For networks whose predictions depend on their company: QD-DETR's published mask mixes neighbours.
    """
    order = split.by_length()
    place = int(np.flatnonzero(order == row)[0])
    (batch,) = split.prediction_batches(batch_size, order[place - place % batch_size :][:batch_size])
    return batch, place % batch_size


@torch.no_grad()
def predict(
    model: Method,
    split: Split,
    batch_size: int,
    device: torch.device,
    observe: Observer | None = None,
    ranking: Ranking = AS_SCORED,
) -> list[dict[str, Any]]:
    """Rows with qid, query, vid, windows and saliency, in annotation order; the model returns to its mode.

    Windows are decoded with the annotated duration (D58), ranked, post-processed as the benchmark setting says, and
    suppressed as ``ranking`` does; saliency holds one score per clip of the features. ``observe`` is called with the
    spans (B, N_q, 2) and scores (B, N_q) of every batch as the network predicts them.

    Raises:
        SettingsError: ``ranking`` does not suit the network's scores.
    """
    training = model.training
    model.eval()
    order = split.by_length()
    rows: list[dict[str, Any]] = [{} for _ in order]
    places = iter(order)
    for batch in split.prediction_batches(batch_size, order):
        output = model(batch.to(device))
        spans, scores, saliency = (
            values.float().cpu().numpy() for values in (output.spans, output.scores, output.saliency)
        )
        if observe is not None:
            observe(spans, scores)
        chosen = list(itertools.islice(places, len(batch)))
        durations = [split.queries[row].duration for row in chosen]
        windows = decoded_windows(spans, scores, durations, split.dataset.postprocess, ranking)
        for index, row in enumerate(chosen):
            query, length = split.queries[row], split.lengths[row]
            rows[row] = {
                "qid": query.qid,
                "query": query.query,
                "vid": query.vid,
                "pred_relevant_windows": windows[index].tolist(),
                "pred_saliency_scores": [round(float(score), SALIENCY_DECIMALS) for score in saliency[index, :length]],
            }
    model.train(training)
    return rows


def decoded_windows(
    spans: NDArray[np.floating],
    scores: NDArray[np.floating],
    durations: Sequence[float],
    rules: Postprocess,
    ranking: Ranking,
) -> list[NDArray[np.float64]]:
    """From a batch's (B, N_q, 2) ``cw`` spans and (B, N_q) scores to each query's (n, 3) windows as they are written.

    ``durations`` are the videos' in seconds.
    """
    ranked = [
        rank_windows(*each, clamp=ranking.clamp_to_duration) for each in zip(spans, scores, durations, strict=True)
    ]
    return rerank(np.stack([postprocess_windows(each, rules.clamp, rules.round_to) for each in ranked]), ranking)
