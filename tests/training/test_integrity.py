"""A run that was trained and scored passes; whatever is changed in it afterwards is found and named."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from sadetr.cli import app
from sadetr.configuration import load_scale
from sadetr.data.store import FeatureStore
from sadetr.experiments import RunId
from sadetr.fingerprints import prepared_text
from sadetr.layout import Layout, RunFolder
from sadetr.reporting.integrity import Check, verify_run
from sadetr.reporting.metrics import read_metrics
from sadetr.reporting.scoring import score_run

RUN = RunId("qvhighlights", "sa_detr", "full", 2018)


@pytest.fixture(scope="module")
def layout(workspace, finished, tmp_path_factory) -> Layout:
    """Results that hold one run, trained and scored; whoever changes something puts it back."""
    layout = Layout(load_scale(str(workspace.scale)), tmp_path_factory.mktemp("integrity"))
    shutil.copytree(finished.path, layout.run(RUN).path)
    layout.data_root.symlink_to(workspace.layout.data_root)
    store = FeatureStore.open(workspace.layout.store("qvhighlights"))
    layout.prepared("qvhighlights").parent.mkdir()
    # The training read annotations; the store of this corpus was prepared from the same files.
    layout.prepared("qvhighlights").write_text(prepared_text(store.manifest, store.digest))
    score_run(RUN, layout)
    return layout


@pytest.fixture
def run(layout) -> RunFolder:
    return layout.run(RUN)


@contextmanager
def changed(path: Path, content: bytes | None) -> Iterator[None]:
    """A file with another content, or none, for a while."""
    before = path.read_bytes()
    try:
        path.unlink() if content is None else path.write_bytes(content)
        yield
    finally:
        path.write_bytes(before)


def flipped(content: bytes, place: int) -> bytes:
    return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]


def faults(layout: Layout) -> list[Check]:
    return [check for check in verify_run(RUN, layout) if not check.passed]


FILES = (
    *("config.json", "history.parquet", "checkpoints/best.safetensors", "checkpoints/last.safetensors"),
    *("predictions/best.val.jsonl", "predictions/last.test.jsonl", "metrics.parquet"),
)


def test_an_untouched_run_passes_every_check(layout):
    checks = verify_run(RUN, layout)
    assert {check.state for check in checks} == {"ok"}
    assert {name for name in FILES if any(check.what.startswith(name) for check in checks)} == set(FILES)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("share", [0.0, 0.02, 0.5, 0.9, 1.0])
def test_one_flipped_bit_is_found_and_its_file_named(layout, run, name, share):
    path = run.path / name
    content = path.read_bytes()
    with changed(path, flipped(content, round(share * (len(content) - 1)))):
        found = faults(layout)
    named = {file for file in FILES for check in found if check.what.startswith(file)}
    # Predictions that are damaged give other scores, or none; a broken configuration file is nobody else's fault.
    assert name in named
    assert named <= {name, "metrics.parquet"} if name.startswith("predictions/") else named == {name}


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_missing(layout, run, name):
    with changed(run.path / name, None):
        found = faults(layout)
    assert any(check.state == "missing" and check.what.startswith(name) for check in found)


@pytest.mark.parametrize(
    ("key", "value", "named"),
    [
        ("commit", "0" * 40, "commit"),
        ("features", "0" * 16, "features"),
        ("annotations", "0" * 16, "annotations"),
        ("config_fingerprint", "0" * 16, "config.json, fingerprint"),
        ("train_seconds", 1.5, "history.parquet, duration"),
        ("epochs", {"best": 3, "last": 4}, "history.parquet, epochs"),
        ("weights_sha256", {"best": "x", "last": "y"}, "best.safetensors, weights"),
        ("files_sha256", {"config.json": "x"}, "config.json, SHA-256"),
    ],
)
def test_a_provenance_that_says_something_else_is_found(layout, run, key, value, named):
    recorded = json.loads(run.provenance.read_text())
    with changed(run.provenance, json.dumps(recorded | {key: value}).encode()):
        assert any(named in str(check) for check in faults(layout))


def test_a_run_of_an_older_version_passes_and_what_it_did_not_record_is_said(layout, run):
    recorded = json.loads(run.provenance.read_text())
    del recorded["files_sha256"]
    with changed(run.provenance, json.dumps(recorded).encode()):
        checks = verify_run(RUN, layout)
    assert all(check.passed for check in checks)
    unknown = {check.what for check in checks if check.state == "not recorded"}
    assert "config.json, SHA-256" in unknown
    # The metrics know the predictions, the provenance the weights.
    with changed(run.provenance, json.dumps(recorded).encode()):
        for path in (run.prediction("best", "val"), run.checkpoint("last")):
            with changed(path, flipped(path.read_bytes(), path.stat().st_size - 40)):
                assert any(path.name in check.what for check in faults(layout))


def test_scores_that_were_written_by_hand_are_found(layout, run):
    table = read_metrics(run.metrics)
    values = [table["value"][0].as_py() / 2 + 1, *table["value"].to_pylist()[1:]]
    column = table.schema.get_field_index("value")
    better = table.set_column(column, table.schema.field(column), pa.array(values, pa.float64()))
    with changed(run.metrics, run.metrics.read_bytes()):
        pq.write_table(better, run.metrics)
        (found,) = faults(layout)
    assert found.what == "metrics.parquet, scored again"
    assert f"value is {values[0]}, scored again {table['value'][0].as_py()}" in found.detail


def test_without_data_scores_are_not_compared_and_that_is_no_fault(layout, run):
    target = layout.data_root.readlink()
    layout.data_root.unlink()
    try:
        checks = verify_run(RUN, layout)
    finally:
        layout.data_root.symlink_to(target)
    (unknown,) = (check for check in checks if check.state == "not here")
    assert unknown.what == "metrics.parquet, scored again"
    assert all(check.passed for check in checks)


def test_the_exit_code_is_the_verdict(layout, run, workspace):
    words = ["--scale", str(workspace.scale), "--results", str(layout.results)]
    call = CliRunner().invoke
    done = call(app, ["verify-run", str(RUN), *words])
    assert (done.exit_code, done.output.splitlines()[0][-10:]) == (0, "all passed")
    assert call(app, ["verify-run", "--all", *words]).exit_code == 0
    path = run.prediction("best", "val")
    with changed(path, flipped(path.read_bytes(), 5)):
        done = call(app, ["verify-run", "--all", *words])
        assert done.exit_code == 1
        assert "predictions/best.val.jsonl, SHA-256" in done.output
    done = call(app, ["verify-run", str(RUN).replace("2018", "1"), *words])
    assert (done.exit_code, "provenance.json: not finished" in done.output) == (1, True)
