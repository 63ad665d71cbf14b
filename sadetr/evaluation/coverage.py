"""How many queries stand behind each metric, and which of them a metric leaves out (docs/metrics.md)."""

from collections.abc import Sequence

from sadetr.data.annotations import Query
from sadetr.evaluation.moment_retrieval import FULL
from sadetr.evaluation.scorer import Scores

PRECISION = "mAP"
"""Part of the names of the metrics that leave out queries without predicted windows."""


def counted_queries(scores: Scores, metrics: Sequence[str]) -> dict[str, int]:
    """Number of queries whose mean each of ``metrics``, by the scorer's names, is."""
    counts = {}
    for metric in metrics:
        name, _, plain = metric.rpartition("/")
        if name == "" and plain.startswith(("HD_mAP", "HIT@1")):
            counts[metric] = 0 if scores.highlights is None else len(scores.highlights.queries)
            continue
        values = scores.moments[name or FULL]
        counts[metric] = int(values.predicted.sum()) if plain.startswith(PRECISION) else len(values.queries)
    return counts


def left_out(scores: Scores, queries: Sequence[Query]) -> str:
    """What to say of queries that mAP leaves out because nothing is predicted for them; '' where it counts all.

    ``queries`` are those that were scored, in the same order.
    """
    full = scores.moments[FULL]
    missing = full.queries[~full.predicted]
    if not len(missing):
        return ""
    total, first = len(full.queries), queries[missing[0]].qid
    verb, noun = ("has", "query") if len(missing) == 1 else ("have", "queries")
    return (
        f"mAP counts {total - len(missing):,} of {total:,} queries: {len(missing):,} {verb} no predicted window "
        f"(first: qid {first!r}). R1 and mIoU count such {noun} as missed, the field's mAP leaves them out: it is no "
        "mean over the split."
    )
