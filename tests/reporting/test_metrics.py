"""Metrics in long format: schema, gathering, means over seeds, and refusals."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sadetr.errors import ResultsError
from sadetr.experiments import Predictions
from sadetr.reporting.metrics import SCHEMA, gather, read_history, read_metrics, write_run_metrics

from .conftest import OTHER, metric_row, released_row, run_id


def test_round_trip(tmp_path, generated):
    rows = [metric_row(run_id("full"), generated, metric, value) for metric, value in [("mAP", 1 / 3), ("HIT@1", None)]]
    write_run_metrics(rows, tmp_path / "metrics.parquet")
    table = read_metrics(tmp_path / "metrics.parquet")
    assert table.schema == SCHEMA
    assert sorted(table.to_pylist(), key=lambda row: row["metric"], reverse=True) == rows


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"seed": "zero"}, "does not fit"),
        ({"value": 101.0}, "row 1: column 'value'"),
        ({"value": float("nan")}, "row 1: column 'value'"),
        ({"device": None}, "row 1: column 'device' must not be empty"),
        ({"checkpoint": "middle"}, "row 1: column 'checkpoint' holds 'middle'; valid: best, clean, last"),
        ({"data": "real"}, "row 1: column 'data'"),
        ({"origin": "found"}, "row 1: column 'origin' holds 'found'; valid: released predictions, trained"),
        ({"origin": "released predictions"}, "row 1: column 'variant' must be empty for released predictions"),
        ({"predictions_sha256": None}, "row 1: column 'predictions_sha256' must not be empty"),
        ({"host": "x"}, "row 1: unknown column host"),
    ],
)
def test_malformed_rows_leave_nothing(tmp_path, generated, change, words):
    path = tmp_path / "run" / "metrics.parquet"
    with pytest.raises(ResultsError, match=words) as error:
        write_run_metrics([metric_row(run_id("full"), generated, "mAP", 1.0, **change)], path)
    assert str(path) in str(error.value)
    assert not path.exists()


def test_missing_column_and_repeated_key(tmp_path, generated):
    row = metric_row(run_id("full"), generated, "mAP", 1.0)
    with pytest.raises(ResultsError, match=r"two rows for .*metric=mAP"):
        write_run_metrics([row, row], tmp_path / "metrics.parquet")
    del row["torch"]
    with pytest.raises(ResultsError, match="row 1: missing column torch"):
        write_run_metrics([row], tmp_path / "metrics.parquet")


@pytest.mark.parametrize("content", [b"", b"PAR1 cut short"])
def test_truncated_file(tmp_path, content):
    path = tmp_path / "metrics.parquet"
    path.write_bytes(content)
    with pytest.raises(ResultsError, match="Delete it"):
        read_metrics(path)


def test_foreign_schema(tmp_path):
    pq.write_table(pa.table({"metric": ["mAP"]}), tmp_path / "metrics.parquet")
    with pytest.raises(ResultsError, match="columns differ"):
        read_metrics(tmp_path / "metrics.parquet")


def test_gather_is_independent_of_order(tmp_path, generated, write_run):
    folders = [write_run(run_id("full", seed), generated, {"mAP": 40.0 + seed, "HIT@1": 60.0}) for seed in (2, 0, 1)]
    paths = [folder / "metrics.parquet" for folder in folders]
    gather(paths, tmp_path / "one.parquet")
    gather(reversed(paths), tmp_path / "two.parquet")
    assert (tmp_path / "one.parquet").read_bytes() == (tmp_path / "two.parquet").read_bytes()
    table = read_metrics(tmp_path / "one.parquet")
    assert table["seed"].to_pylist() == [0, 0, 1, 1, 2, 2]
    facts = {b"sadetr.scale": b"mini", b"sadetr.runs": b"3", b"sadetr.commits": b"0" * 40, b"sadetr.seeds": b"paper"}
    assert table.schema.metadata == facts


def test_gather_joins_published_predictions(tmp_path, official, write_run, write_rescored):
    run = write_run(run_id("full"), official, {"mAP": 40.0}) / "metrics.parquet"
    released = write_rescored(official, {OTHER: {"mAP": 41.0, "HIT@1": None}})
    gather([run, released], tmp_path / "one.parquet")
    gather([released, run], tmp_path / "two.parquet")
    assert (tmp_path / "one.parquet").read_bytes() == (tmp_path / "two.parquet").read_bytes()
    table = read_metrics(tmp_path / "one.parquet")
    assert table["origin"].to_pylist() == ["released predictions", "released predictions", "trained"]
    assert table["seed"].to_pylist() == [None, None, 2018]
    assert (table.schema.metadata[b"sadetr.runs"], table.schema.metadata[b"sadetr.commits"]) == (b"1", b"0" * 40)
    with pytest.raises(ResultsError, match="no run to gather"):
        gather([write_rescored(official, {})], tmp_path / "none.parquet")


def test_score_of_published_predictions(official, write_rescored, results):
    assert results(official).rescored(OTHER, "mAP").state == "no file"
    path = write_rescored(official, {OTHER: {"mAP": 41.0, "HIT@1": None}})
    source = results(official)
    states = [source.rescored(OTHER, metric).state for metric in ("mAP", "HIT@1", "HD_mAP")]
    assert states == ["scored", "no queries", "not evaluated"]
    assert (source.rescored(OTHER, "mAP").mean, source.rescored(OTHER, "mAP").std) == (41.0, None)
    another = Predictions("qvhighlights", "other", "test")
    assert source.rescored(another, "mAP").state == "no file"
    rows = [released_row(OTHER, official, "mAP", 41.0) | {"scale": "simulated"}]
    write_run_metrics(rows, path)
    with pytest.raises(ResultsError, match=r"scale = 'simulated', expected 'paper': delete it and run .* rescore"):
        results(official).rescored(OTHER, "mAP")


def test_gather_refuses(tmp_path, generated, official, write_run):
    one = write_run(run_id("full"), generated, {"mAP": 40.0}) / "metrics.parquet"
    other = write_run(run_id("full"), official, {"mAP": 40.0}) / "metrics.parquet"
    out = tmp_path / "metrics.parquet"
    for paths, words in (([], "no run"), ([one, other], "different scales"), ([one, one], "two rows")):
        with pytest.raises(ResultsError, match=words):
            gather(paths, out)
    assert not out.exists()


def test_score_over_seeds(generated, experiment, write_run, results):
    row = experiment.rows[1]
    states = []
    for seed, value in enumerate((40.0, 41.0, 45.0)):
        states.append(results(generated).score(row.runs, experiment.split, row.checkpoint, "mAP").state)
        write_run(run_id("full", seed), generated, {"mAP": value})
    score = results(generated).score(row.runs, experiment.split, row.checkpoint, "mAP")
    assert states == ["not run", "scored", "scored"]
    assert (score.mean, score.found, score.wanted, score.complete) == (42.0, 3, 3, True)
    assert score.std == pytest.approx(7**0.5)  # squared deviations 4 + 1 + 9, over two degrees of freedom
    assert results(generated).score(row.runs, experiment.split, row.checkpoint, "HD_mAP").state == "not evaluated"


def test_score_without_queries(generated, write_run, results):
    write_run(run_id("plain"), generated, {"mAP": None})
    score = results(generated).score((run_id("plain"),), "val", "best", "mAP")
    assert (score.mean, score.state, score.complete) == (None, "no queries", True)


def test_score_refuses_a_run_of_other_data(generated, official, write_run, results):
    folder = write_run(run_id("plain"), generated, {"mAP": 40.0})
    copy = Path(str(folder).replace("mini", "paper"))
    copy.mkdir(parents=True)
    rows = [metric_row(run_id("plain"), generated, "mAP", 40.0, scale="paper")]
    write_run_metrics(rows, copy / "metrics.parquet")
    with pytest.raises(ResultsError, match="data = 'generated', expected 'official'"):
        results(official).score((run_id("plain"),), "val", "best", "mAP")


def test_history(generated, write_run):
    path = write_run(run_id("full"), generated, {"mAP": 40.0}, [10.0, None, 30.0]) / "history.parquet"
    assert read_history(path, ["epoch", "val/mAP"]).to_pydict() == {"epoch": [1, 2, 3], "val/mAP": [10.0, None, 30.0]}
    with pytest.raises(ResultsError, match="no column 'val/HIT@1'"):
        read_history(path, ["val/HIT@1"])
    with pytest.raises(ResultsError, match="no such file"):
        read_history(path.with_name("other.parquet"), ["epoch"])
