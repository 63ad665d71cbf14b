"""What a trained network computes for one query. The only part of this package that needs torch."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sadetr.data.annotations import Query
from sadetr.data.batches import Split
from sadetr.data.store import FeatureStore
from sadetr.errors import ResultsError, SettingsError
from sadetr.evaluation.moment_retrieval import pairwise_iou
from sadetr.experiments import RunId, run_settings
from sadetr.layout import Layout
from sadetr.models.inspection import inspect
from sadetr.nn.spans import cw_to_se
from sadetr.provenance import config_fingerprint
from sadetr.reporting.queries import find_in_split
from sadetr.training.checkpoint import read_tensors
from sadetr.training.prediction import decoded_windows, predicted_batch
from sadetr.training.predictor import load_network

Array = NDArray[np.float64]


@dataclass(frozen=True)
class QueryInspection:
    """One query through one network: N moment queries, best first, R layers, h heads, L clips; times in seconds.

    Moment queries are all that the network has, also where the run's ranking keeps fewer windows.

    The parts that a method does not have are None.
    """

    run: RunId
    checkpoint: str
    split: str
    query: Query
    clip_length: float
    windows: Array
    """(n, 3) start, end and score, as the prediction file holds them."""
    saliency: Array
    """(L,)."""
    order: NDArray[np.int64]
    """(N,) index of each moment query in the network."""
    scores: Array
    """(N,)."""
    spans: Array
    """(N, 2) start and end before post-processing; may leave the video."""
    anchors: Array | None
    """(R + 1, N, 2) start and end before the first layer and behind each; may leave the video."""
    qualities: Array | None
    """(R, N) score after each layer."""
    masks: Array | None
    """(R, N, L) weight of each clip by the anchor that the layer received."""
    attention: Array | None
    """(R, h, N, L) cross attention."""

    @property
    def iou(self) -> Array | None:
        """(N,) of the final span with its best ground-truth window; None without labels."""
        if self.query.windows is None:
            return None
        return pairwise_iou(self.spans[:, None], self.query.windows).max(1)

    @property
    def inside(self) -> Array | None:
        """(R, N) share of the attention, averaged over heads, on clips whose centre the layer's anchor covers."""
        if self.attention is None or self.anchors is None:
            return None
        clips = self.attention.shape[-1]
        centres = (np.arange(clips) + 0.5) * self.query.duration / clips
        start, end = self.anchors[:-1, :, :1], self.anchors[:-1, :, 1:]
        weights = self.attention.mean(1)
        total = weights.sum(-1)
        covered = np.where((start <= centres) & (centres <= end), weights, 0.0).sum(-1)
        return np.divide(covered, total, out=np.zeros_like(total), where=total > 0)


def inspect_query(run: RunId, layout: Layout, qid: str, checkpoint: str = "best") -> QueryInspection:
    """Load the weights of ``run`` and predict one query of any split of its setting, on the CPU.

    Raises:
        SettingsError: no such qid or checkpoint.
        ResultsError: the run is not trained, or was trained with other settings or by another version.
        StoreError: the features are not prepared.
        DataError: annotations are missing or malformed.
    """
    settings = run_settings(run, layout.scale.reference)
    dataset = settings.dataset
    if checkpoint not in dataset.checkpoints:
        raise SettingsError(f"no checkpoint {checkpoint!r}; {dataset.name} has {', '.join(dataset.checkpoints)}")
    split, queries, row = find_in_split(qid, layout.annotations(dataset), dataset.annotation_rules)
    query = queries[row]
    path = layout.run(run).checkpoint(checkpoint)
    if not path.exists():
        raise ResultsError(f"{path}: not there; train the run first: python -m sadetr train --run {run}")
    weights, metadata = read_tensors(path)
    if metadata.get("config_fingerprint") != config_fingerprint(settings):
        raise ResultsError(f"{path}: was trained with other settings than the run has now; train it again")
    model = load_network(path, settings, weights).eval()
    company = Split(queries, FeatureStore.open(layout.store(run.setting)), dataset)
    batch, place = predicted_batch(company, row, settings.training.batch_size)
    with torch.no_grad():
        found = inspect(model, batch)
    scores = _array(found.output.scores[place])
    spans = _array(found.output.spans[place])
    windows, kept = decoded_windows(
        spans[None], scores[None], [query.duration], dataset.postprocess, settings.training.ranking
    )
    order = np.argsort(-scores, kind="stable")[: np.isfinite(scores).sum()]
    clips = int(batch.video_mask[place].sum())
    return QueryInspection(
        run=run,
        checkpoint=checkpoint,
        split=split,
        query=query,
        clip_length=dataset.clip_length_in(query.duration, clips),
        windows=windows[kept],
        saliency=_array(found.output.saliency[place, :clips]),
        order=order,
        scores=scores[order],
        spans=_seconds(found.output.spans[place], query)[order],
        anchors=None if found.anchors is None else _seconds(found.anchors[:, place], query)[:, order],
        qualities=None if found.qualities is None else _array(found.qualities[:, place])[:, order],
        masks=None if found.masks is None else _array(found.masks[:, place, :, :clips])[:, order],
        attention=None if found.attention is None else _array(found.attention[:, place, :, :, :clips])[:, :, order],
    )


def _array(values: Tensor) -> Array:
    return values.double().cpu().numpy()


def _seconds(spans: Tensor, query: Query) -> Array:
    """Normalised ``cw`` spans (..., 2) -> start and end in seconds of the annotated duration (D58)."""
    return _array(cw_to_se(spans.double())) * query.duration
