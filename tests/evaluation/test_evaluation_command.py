import csv
import json
import subprocess
import sys

import numpy as np
import pytest

from sadetr.data.annotations import Query, write_annotations
from sadetr.errors import DataError, SettingsError
from sadetr.evaluation.command import evaluate_command, submit_command
from sadetr.evaluation.predictions import write_predictions
from sadetr.settings import DatasetSettings, VideoStream


@pytest.fixture
def dataset():
    stream = VideoStream(name="clip", directory="clip", width=4)
    return DatasetSettings(
        name="small",
        title="Small",
        clip_length=2.0,
        annotations={"train": "t", "val": "v"},
        video_streams=[stream],
    )


@pytest.fixture
def files(tmp_path):
    rng = np.random.default_rng(0)
    queries = [
        Query(qid, "q", "v", 40.0, np.array([[4.0, 12.0]]), np.array([2, 3]), np.array([[4, 4, 2], [1, 4, 0]]))
        for qid in range(30)
    ]
    write_annotations(tmp_path / "gt.jsonl", queries)
    for name, noise in (("good", 1.0), ("bad", 9.0)):
        rows = []
        for qid in range(30):
            starts = np.abs(rng.normal(4, noise, 10)).clip(0, 30)
            windows = [[start, start + 8.0, score] for start, score in zip(starts, np.linspace(1, 0, 10), strict=True)]
            rows.append(
                {
                    "qid": qid,
                    "query": "q",
                    "vid": "v",
                    "pred_relevant_windows": windows,
                    "pred_saliency_scores": rng.normal(size=20).tolist(),
                }
            )
        write_predictions(tmp_path / f"{name}.jsonl", rows)
    return tmp_path


def test_metrics_are_printed_and_written_unrounded(dataset, files, capsys):
    evaluate_command(dataset, files / "gt.jsonl", files / "bad.jsonl", out=files / "m.json")
    printed = capsys.readouterr().out
    report = json.loads((files / "m.json").read_text())
    assert report["queries"] == 30
    assert report["metrics"]["middle/mAP"] is None
    assert report["metrics"]["mIoU"] != round(report["metrics"]["mIoU"], 2)
    for text in (
        "bad.jsonl",
        "30 queries",
        "R1@0.7",
        "VeryGood",
        "middle (no queries)",
        f"{report['metrics']['mIoU']:.2f}",
    ):
        assert text in printed


def without_windows(path, *qids):
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    write_predictions(path, [row | ({"pred_relevant_windows": []} if row["qid"] in qids else {}) for row in rows])


def test_every_metric_says_how_many_queries_it_counts(dataset, files, capsys):
    without_windows(files / "bad.jsonl", 4, 7, 9)
    evaluate_command(
        dataset, files / "gt.jsonl", files / "bad.jsonl", out=files / "m.json", queries=files / "q.csv", bootstrap=5
    )
    report = json.loads((files / "m.json").read_text())
    assert report["counted"].keys() == report["metrics"].keys()
    with open(files / "q.csv", newline="") as stream:
        rows = list(csv.DictReader(stream))
    # The contributions of single queries are the independent count.
    assert {name: sum(row[name] != "" for row in rows) for name in report["counted"]} == report["counted"]
    assert {report["counted"][name] for name in ("R1@0.5", "mIoU", "HD_mAP@Fair", "HIT@1", "short/R1@0.7")} == {30}
    assert {report["counted"][name] for name in ("mAP", "mAP@0.75", "short/mAP")} == {27}
    assert report["counted"]["long/mAP"] == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert "ATTENTION" in last
    assert "mAP counts 27 of 30 queries: 3 have no predicted window (first: qid 4)" in last


def test_nothing_is_said_where_every_query_counts(dataset, files, capsys):
    evaluate_command(dataset, files / "gt.jsonl", files / "bad.jsonl", against=files / "good.jsonl")
    assert "ATTENTION" not in capsys.readouterr().out


def test_of_two_files_the_incomplete_one_is_named(dataset, files, capsys):
    without_windows(files / "good.jsonl", 2)
    evaluate_command(dataset, files / "gt.jsonl", files / "bad.jsonl", against=files / "good.jsonl")
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "ATTENTION" in line]
    assert f"{files / 'good.jsonl'}: mAP counts 29 of 30 queries: 1 has no" in line


def test_benchmarks_without_saliency_have_no_highlight_metrics(dataset, files, capsys):
    dataset = dataset.model_copy(update={"highlights": False})
    evaluate_command(dataset, files / "gt.jsonl", files / "bad.jsonl", out=files / "m.json", format="moment-detr")
    assert "VeryGood" not in capsys.readouterr().out
    assert set(json.loads((files / "m.json").read_text())) == {"brief", "full", "long", "middle", "short"}


def test_official_structure_rounds_and_has_null_for_an_empty_range(dataset, files):
    evaluate_command(dataset, files / "gt.jsonl", files / "bad.jsonl", out=files / "m.json", format="moment-detr")
    report = json.loads((files / "m.json").read_text())
    assert report["long"]["MR-R1"]["0.5"] is None
    assert set(report["full"]["MR-R1"]) == set(report["full"]["MR-mAP"]) - {"average"}
    assert report["brief"]["MR-full-mAP"] == round(report["brief"]["MR-full-mAP"], 2)


def test_significance_and_contributions(dataset, files, capsys):
    evaluate_command(
        dataset,
        files / "gt.jsonl",
        files / "good.jsonl",
        out=files / "m.json",
        bootstrap=200,
        against=files / "bad.jsonl",
        queries=files / "q.csv",
    )
    report = json.loads((files / "m.json").read_text())
    low, high = report["intervals"]["mIoU"]
    assert low < report["metrics"]["mIoU"] < high
    assert report["differences"]["mIoU"]["difference"] > 0
    assert 0 < report["differences"]["mIoU"]["p"] < 0.05
    assert "paired comparison" in capsys.readouterr().out
    with open(files / "q.csv", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["qid"] for row in rows] == [str(qid) for qid in range(30)]
    assert np.mean([float(row["mAP"]) for row in rows]) == pytest.approx(report["metrics"]["mAP"])
    assert {row["long/mAP"] for row in rows} == {""}


def test_a_baseline_needs_no_predictions(dataset, files, capsys):
    evaluate_command(dataset, files / "gt.jsonl", baseline="mean_span", train_annotations=files / "gt.jsonl")
    assert "mean_span" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "either a prediction file or a baseline"),
        ({"predictions": "good.jsonl", "baseline": "whole_video"}, "either a prediction file or a baseline"),
        ({"baseline": "best"}, "no baseline 'best'"),
        ({"predictions": "good.jsonl", "format": "xml"}, "choose one of flat, moment-detr, cg-detr"),
        ({"predictions": "good.jsonl", "bootstrap": 0}, "0 bootstrap resamples"),
    ],
)
def test_arguments_must_go_together(dataset, files, arguments, message):
    if "predictions" in arguments:
        arguments = arguments | {"predictions": files / arguments["predictions"]}
    with pytest.raises(SettingsError, match=message):
        evaluate_command(dataset, files / "gt.jsonl", **arguments)


def without(path, *fields, rows=slice(None)):
    """Take fields out of some rows of an annotation file."""
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    for line in lines[rows]:
        for field in fields:
            del line[field]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def test_queries_without_labels_are_left_out_and_counted_aloud(dataset, files, capsys):
    without(files / "gt.jsonl", "relevant_windows", rows=slice(0, 10))
    without(files / "gt.jsonl", "saliency_scores", rows=slice(5, 6))
    arguments = {"out": files / "m.json", "bootstrap": 20, "against": files / "bad.jsonl", "queries": files / "q.csv"}
    evaluate_command(dataset, files / "gt.jsonl", files / "good.jsonl", **arguments)
    warnings = capsys.readouterr().err
    assert "gt.jsonl: 10 of 30 queries have no relevant_windows and are left out of all moment metrics" in warnings
    assert "1 of 30 queries has no saliency_scores and is left out of all highlight metrics (qid 5)" in warnings
    rows = list(csv.DictReader((files / "q.csv").read_text().splitlines()))
    assert [row["qid"] for row in rows if not row["mIoU"]] == [str(qid) for qid in range(10)]
    assert [row["qid"] for row in rows if not row["HD_mAP"]] == ["5"]
    metrics = json.loads((files / "m.json").read_text())["metrics"]
    for name in ("mIoU", "HIT@1"):
        assert np.mean([float(row[name]) for row in rows if row[name]]) == pytest.approx(metrics[name])


@pytest.mark.parametrize("format", ["flat", "moment-detr", "cg-detr"])
def test_windows_without_saliency_are_scored_and_need_no_predicted_saliency(dataset, files, capsys, format):
    without(files / "gt.jsonl", "saliency_scores", "relevant_clip_ids")
    without(files / "good.jsonl", "pred_saliency_scores")
    evaluate_command(dataset, files / "gt.jsonl", files / "good.jsonl", out=files / "m.json", format=format)
    printed = capsys.readouterr()
    assert "no query has saliency_scores: highlight metrics have no value" in printed.err
    assert "mIoU" in printed.out
    if format == "flat":
        metrics = json.loads((files / "m.json").read_text())["metrics"]
        assert metrics["mAP"] > 0
        assert metrics["HD_mAP"] is metrics["HIT@1"] is None


@pytest.mark.parametrize("source", [{"predictions": "good.jsonl"}, {"baseline": "whole_video"}])
def test_a_split_without_any_label_is_one_message(dataset, files, source):
    without(files / "gt.jsonl", "relevant_windows", "saliency_scores")
    source = {name: files / value if name == "predictions" else value for name, value in source.items()}
    with pytest.raises(DataError, match=r"gt.jsonl: no query has relevant_windows, so there is nothing to score"):
        evaluate_command(dataset, files / "gt.jsonl", **source)


def test_submit_packs_what_is_valid_and_nothing_else(dataset, files, capsys):
    truth = files / "gt.jsonl"
    submit_command(dataset, files / "good.jsonl", files / "bad.jsonl", truth, truth, files / "s.zip")
    assert "30 queries" in capsys.readouterr().out
    assert (files / "s.zip").exists()
    (files / "bad.jsonl").write_text("{}\n")
    with pytest.raises(DataError, match="line 1"):
        submit_command(dataset, files / "good.jsonl", files / "bad.jsonl", truth, truth, files / "t.zip")
    assert not (files / "t.zip").exists()


def test_scoring_imports_neither_torch_nor_other_slow_packages():
    code = (
        "import sys, sadetr.evaluation.command; "
        "print(*{'torch', 'pandas', 'scipy', 'rich', 'pyarrow', 'matplotlib'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, r"give --out"),
        ({"out": "m.json", "bootstrap": 5}, r"no place for intervals"),
        ({"out": "m.json", "against": "good.jsonl"}, r"no place for intervals"),
    ],
)
def test_an_official_format_refuses_what_it_cannot_hold(dataset, files, options, message):
    options = {name: files / value if isinstance(value, str) else value for name, value in options.items()}
    with pytest.raises(SettingsError, match=message):
        evaluate_command(dataset, files / "gt.jsonl", files / "bad.jsonl", format="moment-detr", **options)
    assert not (files / "m.json").exists()


@pytest.mark.parametrize("option", [("--predictions", "p.jsonl"), ("--bootstrap", "5"), ("--baseline", "mean_span")])
def test_a_finished_run_is_scored_without_other_options(option):
    command = [sys.executable, "-m", "sadetr", "evaluate", "--run", "qvhighlights/sa_detr/full/seed2018", *option]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "--run scores a finished run" in done.stderr
    assert "Traceback" not in done.stderr
