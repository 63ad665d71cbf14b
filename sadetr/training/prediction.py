"""Predictions of a split: what a network says, as the windows and scores that a submission has."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from sadetr.data.batches import Split
from sadetr.evaluation.postprocess import postprocess_windows, rank_windows
from sadetr.evaluation.prediction_arrays import PredictionArrays
from sadetr.evaluation.ranking import rerank
from sadetr.models.interface import Batch, Method
from sadetr.settings import Postprocess
from sadetr.training_settings import Ranking, ScoreRanking

SALIENCY_DECIMALS = 4
MOST_NUMBERS = 1 << 20
"""That a network's device keeps before they are fetched together: 4 MB."""
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
) -> PredictionArrays:
    """Predictions of all queries, in annotation order; the model returns to its mode.

    Windows are decoded with the annotated duration (D58), ranked, post-processed as the benchmark setting says, and
    suppressed as ``ranking`` does; saliency holds one score per clip of the features. ``observe`` is called with the
    spans (B, N_q, 2) and scores (B, N_q) of every batch as the network predicts them.

    Raises:
        SettingsError: ``ranking`` does not suit the network's scores.
    """
    training = model.training
    model.eval()
    order = split.by_length()
    parts, done = [PredictionArrays.of_rows([])], 0
    for outputs in _fetched(model, split.prediction_batches(batch_size, order), device):
        if observe is not None:
            for spans, scores, _ in outputs:
                observe(spans, scores)
        rows = order[done:][: sum(len(output.scores) for output in outputs)]
        parts.append(_arrays(outputs, rows, split, ranking))
        done += len(rows)
    model.train(training)
    return PredictionArrays.join(parts).take(np.argsort(order))


class _Fetched(NamedTuple):
    """A batch's output on the host, in single precision."""

    spans: NDArray[np.float32]
    scores: NDArray[np.float32]
    saliency: NDArray[np.float32]


def _fetched(model: Method, batches: Iterable[Batch], device: torch.device) -> Iterator[list[_Fetched]]:
    """What a network says of batches, many at a time, so that its device is hardly ever waited for."""
    waiting: list[torch.Tensor] = []
    shapes: list[list[torch.Size]] = []
    numbers = 0
    for batch in batches:
        output = model(batch.to(device))
        values = (output.spans, output.scores, output.saliency)
        shapes.append([value.shape for value in values])
        # A copy: a network may write its next output to the same place.
        waiting.append(torch.cat([value.float().flatten() for value in values]))
        numbers += waiting[-1].numel()
        if numbers >= MOST_NUMBERS:
            yield _unpacked(torch.cat(waiting), shapes)
            waiting, shapes, numbers = [], [], 0
    if waiting:
        yield _unpacked(torch.cat(waiting), shapes)


def _unpacked(values: torch.Tensor, shapes: Sequence[Sequence[torch.Size]]) -> list[_Fetched]:
    flat = [shape for each in shapes for shape in each]
    pieces = np.split(values.cpu().numpy(), np.cumsum([shape.numel() for shape in flat])[:-1])
    arrays = iter([piece.reshape(shape) for piece, shape in zip(pieces, flat, strict=True)])
    return [_Fetched(*each) for each in zip(arrays, arrays, arrays, strict=True)]


def _arrays(outputs: Sequence[_Fetched], rows: NDArray[np.int64], split: Split, ranking: Ranking) -> PredictionArrays:
    """The queries ``rows`` as they are written; ``outputs`` are those of their batches."""
    spans = _stacked([output.spans for output in outputs], 0.0)
    scores = _stacked([output.scores for output in outputs], -np.inf)
    saliency = _stacked([output.saliency for output in outputs], 0.0)
    durations = np.array([split.queries[row].duration for row in rows])
    windows, kept = decoded_windows(spans, scores, durations, split.dataset.postprocess, ranking)
    lengths = split.lengths[rows]
    # Numbers of single precision are rounded here as Python rounds them: ten thousand times one is exact in double.
    clip_scores = saliency[np.arange(saliency.shape[1]) < lengths[:, None]].astype(np.float64)
    return PredictionArrays(windows[kept], kept.sum(1), np.round(clip_scores, SALIENCY_DECIMALS), lengths)


def _stacked(arrays: Sequence[NDArray[np.float32]], fill: float) -> NDArray[np.float32]:
    """Arrays (B, N, ...) one behind the other, those with a smaller N filled up."""
    widest = max(array.shape[1] for array in arrays)
    result = np.full((sum(map(len, arrays)), widest, *arrays[0].shape[2:]), fill, dtype=np.float32)
    start = 0
    for array in arrays:
        result[start : start + len(array), : array.shape[1]] = array
        start += len(array)
    return result


def decoded_windows(
    spans: NDArray[np.floating],
    scores: NDArray[np.floating],
    durations: Sequence[float] | NDArray[np.float64],
    rules: Postprocess,
    ranking: Ranking,
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """From (B, N_q, 2) ``cw`` spans and (B, N_q) scores to windows (B, n, 3) as they are written, and which are kept.

    ``durations`` are the videos' in seconds; (B, n) says which windows a query has.
    """
    ranked = rank_windows(spans, scores, durations, clamp=ranking.clamp_to_duration)
    return rerank(postprocess_windows(ranked, rules.clamp, rules.round_to), ranking)
