"""Files of other authors: what is found, what is refused, and what it scores."""

import csv
import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from sadetr.configuration import load_scale, resolve_dataset
from sadetr.data.annotations import Query, write_annotations
from sadetr.errors import DataError, SettingsError
from sadetr.evaluation.formats import rounded
from sadetr.evaluation.predictions import write_predictions
from sadetr.experiments import Predictions
from sadetr.layout import Layout
from sadetr.reporting.command import table_command
from sadetr.reporting.comparison_command import comparison_command
from sadetr.reporting.metrics import TRAINING_COLUMNS, read_metrics
from sadetr.reporting.published import check_published, left_aside, published_predictions, read_curves
from sadetr.reporting.scoring import rescore

DATASET = resolve_dataset("qvhighlights", "paper")


@pytest.fixture
def root(tmp_path) -> Path:
    """A data root with annotations of three queries in every split."""
    clips, scores = np.array([2, 3]), np.array([[4, 4, 2], [1, 4, 0]])
    queries = [Query(qid, "q", "v", 40.0, np.array([[4.0, 8.0]]), clips, scores) for qid in range(3)]
    for name in DATASET.annotations.values():
        write_annotations(tmp_path / "data/annotations/qvhighlights" / name, queries)
    (tmp_path / "data/released_predictions/qvhighlights").mkdir(parents=True)
    return tmp_path / "data"


@pytest.fixture
def publish(root):
    """Write a prediction file whose first window is right for query 0 alone."""

    def write(name: str, qids=(2, 0, 1)) -> Path:
        path = root / "released_predictions" / name
        ends = {qid: 8.0 if qid == 0 else 5.0 for qid in qids}
        saliency = {"pred_saliency_scores": [0.0, 0.0, 1.0]}
        rows = [{"qid": qid, "pred_relevant_windows": [[4.0, end, 0.9]], **saliency} for qid, end in ends.items()]
        write_predictions(path, rows)
        return path

    return write


def test_prediction_files_are_known_by_their_names(root, publish):
    publish("qvhighlights/tr_detr_test.jsonl")
    publish("qvhighlights/moment_detr_sample_val.jsonl")
    folder = root / "released_predictions"
    for name in ("LICENSE", "tr_detr_test.metrics.json", "convergence.csv", ".hidden.jsonl"):
        (folder / "qvhighlights" / name).write_text("")
    assert set(published_predictions(folder, DATASET)) == {
        Predictions("qvhighlights", "tr_detr", "test"),
        Predictions("qvhighlights", "moment_detr_sample", "val"),
    }
    assert [path.name for path in left_aside(folder, "qvhighlights")] == ["LICENSE", "tr_detr_test.metrics.json"]


@pytest.mark.parametrize("folder", [None, Path("nowhere")])
def test_nothing_published(folder):
    check_published(folder)
    assert (published_predictions(folder, DATASET), left_aside(folder, "qvhighlights")) == ({}, [])


@pytest.mark.parametrize("name", ["tr_detr", "tr_detr_testing", "_test", "test"])
def test_a_name_without_method_or_split_is_refused(root, publish, name):
    path = publish(f"qvhighlights/{name}.jsonl")
    with pytest.raises(DataError, match=r"<method>_train\.jsonl, <method>_val\.jsonl, <method>_test\.jsonl") as error:
        published_predictions(root / "released_predictions", DATASET)
    assert str(path) in str(error.value)


@pytest.mark.parametrize(
    ("name", "words"), [("qvhighlight/a_val.jsonl", "no such benchmark setting"), ("a_val.jsonl", "belongs into")]
)
def test_files_that_no_setting_reads_are_refused(root, publish, name, words):
    publish(name)
    with pytest.raises(DataError, match=words):
        rescore("qvhighlights", Layout(load_scale("paper"), root / "results", root))


@pytest.mark.parametrize("scale", ["paper", "simulated"])
def test_rescoring(root, publish, scale):
    path = publish("qvhighlights/other_val.jsonl")
    rows = read_metrics(rescore("qvhighlights", Layout(load_scale(scale), root / "results", root))).to_pylist()
    values = {row["metric"]: row["value"] for row in rows}
    assert values["R1@0.5"] == pytest.approx(100 / 3)
    assert values["long/mAP"] is None
    columns = ("scale", "method", "split", "data")
    assert {tuple(row[name] for name in columns) for row in rows} == {(scale, "other", "val", "official")}
    assert {row["predictions_sha256"] for row in rows} == {hashlib.sha256(path.read_bytes()).hexdigest()}
    assert {row[name] for row in rows for name in TRAINING_COLUMNS} == {None}


def test_what_is_taken_away_leaves_the_results(root, publish):
    layout = Layout(load_scale("paper"), root / "results", root)
    paths = [publish(f"qvhighlights/{name}.jsonl") for name in ("other_val", "second_test")]
    found = []
    for path in (*paths, None):
        found.append(set(read_metrics(rescore("qvhighlights", layout))["method"].to_pylist()))
        if path:
            path.unlink()
    assert found == [{"other", "second"}, {"second"}, set()]


def test_a_part_of_the_queries_is_refused_and_nothing_is_written(root, publish):
    path = publish("qvhighlights/sample_val.jsonl", qids=(0, 1))
    layout = Layout(load_scale("paper"), root / "results", root)
    with pytest.raises(DataError, match="line 2: the file ends without a prediction for qid 2") as error:
        rescore("qvhighlights", layout)
    assert str(path) in str(error.value)
    assert not layout.folder.exists()


def test_generated_queries_are_nobody_elses(root):
    with pytest.raises(SettingsError, match="generated queries"):
        rescore("qvhighlights", Layout(load_scale("mini"), root / "results", root))
    with pytest.raises(SettingsError, match="--data-root"):
        rescore("qvhighlights", Layout(load_scale("paper"), root / "results"))


LOGS = "method,source_file,epoch,mAP\n"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "line 1: no column 'method'; columns found: none"),
        ("method,epoch\nA,1\n", "line 1: no column 'mAP'; columns found: method, epoch"),
        (LOGS + "A,a,1,2\nA,a,2\n", "line 3: another number of cells"),
        (LOGS + "A,a,1,2,3\n", "line 2: another number of cells"),
        (LOGS + "\nA,a,0,2\n", "line 3: epoch is '0'; expected a whole number from 1"),
        (LOGS + "A,a,1.5,2\n", "line 2: epoch is '1.5'"),
        (LOGS + "A,a,1,\n", "line 2: mAP is ''; expected percent"),
        (LOGS + "A,a,1,nan\n", "line 2: mAP is 'nan'"),
        (LOGS + "A,a,1,101\n", "line 2: mAP is '101'"),
        (LOGS + "A,a,1,2\nB,a,1,2\nA,b,1,2\n", "line 4: 'A' has epoch 1 twice"),
        (LOGS + 'A,"a,1,2\n', "line 2: is not CSV"),
        ("method\n\udcff", "line 2: is not UTF-8"),
    ],
    ids=range(12),
)
def test_malformed_logs_name_file_and_line(tmp_path, text, words):
    path = tmp_path / "convergence.csv"
    path.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(DataError, match=words) as error:
        read_curves(path, ["mAP"])
    assert str(path) in str(error.value)


def test_published_logs(shared):
    """Their best epochs are those of the authors' checkpoints."""
    curves = read_curves(shared("released_predictions", "qvhighlights", "convergence.csv"), ["mAP", "R1@0.7"])
    for method, epoch, precision, recall in (
        ("QD-DETR", 180, 41.24, 46.77),
        ("EaTR", 152, 41.43, 46.13),
        ("TR-DETR", 155, 45.09, 51.48),
        ("CG-DETR", 130, 44.93, 52.06),
    ):
        curve = curves[method, "mAP"]
        best = curve.values.index(max(curve.values))
        assert (curve.epochs[best], curve.values[best]) == (epoch, precision)
        assert curves[method, "R1@0.7"].values[best] == recall


@pytest.fixture(scope="module")
def rescored(tmp_path_factory, shared) -> Layout:
    """All real published predictions, rescored."""
    root = shared("released_predictions").parent
    layout = Layout(load_scale("paper"), tmp_path_factory.mktemp("results"), root)
    rescore("qvhighlights", layout)
    return layout


def test_table_1_shows_every_digit_of_a_published_submission(rescored):
    table_command("table1", rescored.scale, rescored.results)
    with open(rescored.folder / "tables/table1.csv", newline="") as stream:
        row = next(row for row in csv.DictReader(stream) if row["row"] == "TR-DETR")
    metrics = [name.removesuffix("_rescored") for name in row if name.endswith("_rescored")]
    assert [row[f"{name}_rescored"] for name in metrics] == [
        "64.66",
        "48.96",
        "63.98",
        "43.73",
        "42.62",
        "39.91",
        "63.42",
    ]
    assert [row[f"{name}_paper"] for name in metrics] == [row[f"{name}_rescored"] for name in metrics]


def test_the_comparison_confirms_it(rescored):
    comparison_command(rescored.scale, rescored.results)
    with open(rescored.folder / "comparison.csv", newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if row["kind"] == "rescored"]
    assert {row["row"] for row in rows} >= {"TR-DETR"}
    assert {row["verdict"] for row in rows} == {"reached"}


@pytest.mark.parametrize("name", ["cg_detr_val", "qd_detr_val", "moment_detr_sample_val"])
def test_rescored_numbers_are_those_published_beside_them(rescored, name):
    brief = json.loads((rescored.published / f"qvhighlights/{name}.metrics.json").read_text())["brief"]
    method, _, split = name.rpartition("_")
    rows = read_metrics(rescored.rescored("qvhighlights")).to_pylist()
    rows = [row for row in rows if (row["method"], row["split"]) == (method, split)]
    values = {row["metric"]: rounded(row["value"]) for row in rows}
    for key, metric in (("MR-full-mAP", "mAP"), ("MR-short-mAP", "short/mAP"), ("HL-min-Good-mAP", "HD_mAP@Good")):
        assert values[metric] == brief[key]
