"""Scores of single queries: their means are the metrics, and the file of a run holds nothing else."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sadetr.configuration import load_scale, resolve_dataset
from sadetr.data.annotations import Query, write_annotations
from sadetr.errors import ResultsError
from sadetr.evaluation.predictions import SALIENCY, WINDOWS, write_predictions
from sadetr.layout import Layout
from sadetr.reporting.metrics import read_metrics
from sadetr.reporting.scores import ScaleResults
from sadetr.reporting.scoring import score_run

from .conftest import SYSTEM, run_id

RUN = run_id("full")
QUERIES = 40


def queries_of(rng):
    """Of 20 s, in no order of their qids; the first has no labels."""
    queries = []
    for qid in rng.permutation(QUERIES).tolist():
        start = 2.0 * rng.integers(0, 6)
        clips = np.arange(start // 2, start // 2 + 4, dtype=np.int64)
        windows = np.array([[start, start + 8.0]])
        queries.append(Query(qid, "a query", f"v{qid}", 20.0, windows, clips, rng.integers(0, 5, (4, 3))))
    queries[0] = Query(*[getattr(queries[0], name) for name in ("qid", "query", "vid", "duration")], None, None, None)
    return queries


def predictions_of(queries, rng):
    """Random windows; every seventh query has none."""
    for query in queries:
        starts = np.sort(rng.uniform(0, 12, 3))
        windows = [[start, start + 8.0, float(score)] for start, score in zip(starts, (0.9, 0.5, 0.1), strict=True)]
        yield {
            "qid": query.qid,
            WINDOWS: windows if query.qid % 7 else [],
            SALIENCY: rng.normal(size=10).round(2).tolist(),
        }


@pytest.fixture(scope="module")
def scored(tmp_path_factory):
    """A run with random predictions, scored."""
    rng = np.random.default_rng(5)
    layout = Layout(load_scale("mini"), tmp_path_factory.mktemp("results"))
    dataset, folder = resolve_dataset("qvhighlights", "mini"), layout.run(RUN)
    for split in dataset.report_splits:
        queries = queries_of(rng)
        write_annotations(layout.annotations(dataset)[split], queries)
        for checkpoint in dataset.checkpoints:
            write_predictions(folder.prediction(checkpoint, split), list(predictions_of(queries, rng)))
    provenance = {"epochs": dict.fromkeys(dataset.checkpoints, 3), **SYSTEM}
    folder.provenance.write_text(json.dumps(provenance))
    score_run(RUN, layout)
    return layout


def test_metrics_are_the_means_of_what_queries_add(scored):
    source = ScaleResults(scored.results, scored.scale)
    rows = [row for row in read_metrics(scored.run(RUN).metrics).to_pylist() if "/" not in row["metric"]]
    checked = 0
    for row in rows:
        table = source.query_scores(RUN, row["checkpoint"], row["split"])
        assert len(table) == QUERIES
        if row["metric"].startswith("labelled"):
            continue
        assert np.mean(table[row["metric"]].drop_null().to_numpy()) == pytest.approx(row["value"], abs=1e-4)
        checked += 1
    assert checked == 4 * (len(table.schema.names) - 1)


def test_a_query_that_does_not_count_has_no_score(scored):
    table = ScaleResults(scored.results, scored.scale).query_scores(RUN, "best", "val")
    assert (table["R1@0.5"].null_count, table["HD_mAP"].null_count) == (1, 1)
    unpredicted = {str(qid) for qid in range(0, QUERIES, 7)}
    missing = {
        qid for qid, value in zip(table["qid"].to_pylist(), table["mAP"].to_pylist(), strict=True) if value is None
    }
    assert unpredicted <= missing
    assert len(missing - unpredicted) <= 1


def test_the_file_is_sorted_small_and_repeats_itself(scored):
    path = scored.run(RUN).query_scores
    table = pq.read_table(path)
    keys = list(zip(*(table[name].to_pylist() for name in ("checkpoint", "split", "qid")), strict=True))
    assert keys == sorted(set(keys))
    assert {field.type for field in list(table.schema)[3:]} == {pa.float32()}
    before = path.read_bytes()
    score_run(RUN, scored)
    assert path.read_bytes() == before


def test_a_run_without_the_file_has_no_scores_and_a_strange_file_is_refused(scored, tmp_path):
    assert ScaleResults(tmp_path, scored.scale).query_scores(RUN, "best", "val") is None
    assert ScaleResults(scored.results, scored.scale).query_scores(RUN, "clean", "val") is None
    path = Layout(scored.scale, tmp_path).run(RUN).query_scores
    path.parent.mkdir(parents=True)
    pq.write_table(pa.table({"qid": ["1"], "mAP": [1.0]}), path)
    with pytest.raises(ResultsError, match=r"query_scores\.parquet: columns differ .* sadetr evaluate"):
        ScaleResults(tmp_path, scored.scale).query_scores(RUN, "best", "val")
