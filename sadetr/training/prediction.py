"""Predictions of a split in the field's submission format."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from sadetr.data.batches import Split
from sadetr.evaluation.postprocess import postprocess_windows, rank_windows
from sadetr.models.interface import Batch, Method

SALIENCY_DECIMALS = 4
Observer = Callable[[NDArray[np.floating], NDArray[np.floating]], None]


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
    model: Method, split: Split, batch_size: int, device: torch.device, observe: Observer | None = None
) -> list[dict[str, Any]]:
    """Rows with qid, query, vid, windows and saliency, in annotation order; the model returns to its mode.

    Windows are decoded with the annotated duration (D58), ranked, and post-processed as the benchmark setting says;
    saliency holds one score per clip of the features. ``observe`` is called with the spans (B, N_q, 2) and scores
    (B, N_q) of every batch as the network predicts them.
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
        for index in range(len(batch)):
            row = next(places)
            query, length = split.queries[row], split.lengths[row]
            windows = rank_windows(spans[index], scores[index], query.duration)
            rules = split.dataset.postprocess
            windows = postprocess_windows(windows, rules.clamp, rules.round_to)
            rows[row] = {
                "qid": query.qid,
                "query": query.query,
                "vid": query.vid,
                "pred_relevant_windows": windows.tolist(),
                "pred_saliency_scores": [round(float(score), SALIENCY_DECIMALS) for score in saliency[index, :length]],
            }
    model.train(training)
    return rows
