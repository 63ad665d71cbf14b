"""The commands on the real experiments and the paper's own numbers, with synthetic runs."""

import itertools
import os
import subprocess
import sys

import numpy as np
import pytest

from sadetr.configuration import load_scale, resolve_dataset
from sadetr.data.annotations import Query, write_annotations
from sadetr.errors import ResultsError, SettingsError
from sadetr.evaluation.predictions import WINDOWS, write_predictions
from sadetr.experiments import experiment_names, load_experiment
from sadetr.layout import Layout
from sadetr.reporting.command import figure_command, gather_command, table_command
from sadetr.reporting.comparison_command import compare_command, comparison_command
from sadetr.reporting.metrics import read_metrics, write_run_metrics
from sadetr.reporting.paper import load_paper_table

from .conftest import GENERATED, metric_row

EPOCHS = [10.0, 20.0, 30.0]


@pytest.fixture
def all_runs(tmp_path, write_run):
    """Every run of every experiment, each metric on each split of each checkpoint."""

    def write(scale):
        experiments = [load_experiment(name, scale) for name in experiment_names()]
        metrics = dict.fromkeys(metric for experiment in experiments for metric in experiment.metrics)
        layout = Layout(scale, tmp_path, tmp_path / "data")
        queries = [Query(7, "a query", "v", 20.0, np.array([[2.0, 6.0]]), None, None)]
        write_annotations(layout.annotations(resolve_dataset("qvhighlights", "mini"))["val"], queries)
        predictions = [{"qid": 7, WINDOWS: [[2.0, 8.0, 0.5]]}]
        for run in dict.fromkeys(run for experiment in experiments for run in experiment.runs):
            folder = write_run(run, scale, {}, EPOCHS)
            write_predictions(layout.run(run).prediction("best", "val"), predictions)
            cells = itertools.product(("val", "test"), ("best", "clean", "last"), metrics)
            rows = [metric_row(run, scale, m, 50.0, split=split, checkpoint=kept) for split, kept, m in cells]
            write_run_metrics(rows, folder / "metrics.parquet")

    return write


def test_everything_at_the_mini_scale(tmp_path, all_runs, capsys):
    scale = load_scale("mini")
    all_runs(scale)
    written = gather_command(scale, tmp_path) + comparison_command(scale, tmp_path)
    for name in experiment_names():
        command = {"table": table_command, "figure": figure_command}[load_experiment(name, scale).kind]
        written += command(name, scale, tmp_path)
    out = tmp_path / "mini"
    expected = [
        out / "metrics.parquet",
        *(out / f"comparison.{suffix}" for suffix in ("csv", "json", "md", "html", "xml")),
    ]
    expected += [out / "tables" / f"table4.{suffix}" for suffix in ("csv", "md", "tex", "html")]
    expected += [out / "figures" / f"figure{n}.{suffix}" for n in (4, 5) for suffix in ("pdf", "svg", "png")]
    assert set(expected) <= set(written)
    assert all(path.stat().st_size > 0 for path in written)
    table = read_metrics(out / "metrics.parquet")
    assert set(table["setting"].to_pylist()) == {"qvhighlights", "charades_sta", "charades_sta_vgg", "tacos"}
    gathered = set(table["variant"].to_pylist())
    assert "full" in gathered
    assert not any(variant.startswith("reading_") for variant in gathered), "sensitivity is not part of all"
    assert len(list((out / "tables").glob("sensitivity.*"))) == 4

    before = sorted(tmp_path.rglob("*"))
    assert compare_command(None, "mini", tmp_path, None) == 0
    assert sorted(tmp_path.rglob("*")) == before
    assert GENERATED in capsys.readouterr().out


def test_every_paper_number_is_rendered(tmp_path):
    scale = load_scale("mini")
    for name in (name for name in experiment_names() if load_experiment(name, scale).has_paper_numbers):
        for path in table_command(name, scale, tmp_path):
            text = path.read_text()
            for value in load_paper_table(name).values.values():
                assert value.value is None or f"{value.value:.2f}" in text


def test_exit_code_at_the_paper_scale(tmp_path, all_runs, capsys):
    scale = load_scale("paper")
    all_runs(scale)
    assert compare_command(None, "paper", tmp_path, None) == 1  # 50 is below the paper on R1@0.5
    assert compare_command(None, "paper", tmp_path, None, names=["figure5"]) == 0
    assert "below" in capsys.readouterr().out


def test_errors(tmp_path):
    scale = load_scale("mini")
    with pytest.raises(SettingsError, match="figure5 is a figure"):
        table_command("figure5", scale, tmp_path)
    with pytest.raises(SettingsError, match="table13"):
        table_command("table13", scale, tmp_path)
    with pytest.raises(ResultsError, match="no run to gather"):
        gather_command(scale, tmp_path)
    assert not list(tmp_path.iterdir())


SCRIPT = """
import sys
from pathlib import Path

from sadetr.configuration import load_scale
from sadetr.reporting.command import figure_command, gather_command, table_command
from sadetr.reporting.comparison_command import comparison_command
scale, results = load_scale("mini"), Path(sys.argv[1])
gather_command(scale, results)
table_command("table4", scale, results)
comparison_command(scale, results)
%s
figure_command("figure4", scale, results)
figure_command("figure5", scale, results)
%s
"""
UNUSED = (
    'assert not {"torch", "pandas", "matplotlib", "seaborn"} & set(sys.modules), "a table needs none of them"',
    'assert "torch" not in sys.modules',
)


def test_bytes_are_equal_across_processes(tmp_path, all_runs, monkeypatch):
    """Of a process, and of this one, where words are hashed otherwise."""
    all_runs(load_scale("mini"))
    seed = "1" if os.environ.get("PYTHONHASHSEED") != "1" else "2"
    environment = {"PYTHONHASHSEED": seed, "MPLCONFIGDIR": str(tmp_path / "matplotlib"), "PATH": ""}
    subprocess.run([sys.executable, "-c", SCRIPT % UNUSED, str(tmp_path)], check=True, env=environment, timeout=120)
    out = tmp_path / "mini"
    written = [path for path in out.rglob("*.*") if path.is_file() and {"runs", "data"}.isdisjoint(path.parts)]
    assert len(written) == 1 + 4 + 5 + 3 + 3
    kept = {path: path.read_bytes() for path in written}
    for path in written:
        path.unlink()
    monkeypatch.setattr(sys, "argv", ["-c", str(tmp_path)])
    exec(SCRIPT % ("", ""), {})
    assert {path: path.read_bytes() for path in out.rglob("*.*") if path in kept} == kept
