"""Published predictions are optional inputs of the workflow."""

import os
from pathlib import Path

import numpy as np
import pytest

from sadetr.configuration import resolve_dataset
from sadetr.data.annotations import Query, write_annotations
from sadetr.errors import DataError
from sadetr.evaluation.predictions import write_predictions
from sadetr.reporting.metrics import read_metrics
from sadetr.workflow import Workflow

from .test_workflow import Checkout

pytestmark = pytest.mark.workflow
DATASET = resolve_dataset("qvhighlights", "paper")


@pytest.fixture
def root(tmp_path) -> Path:
    """A data root with one query per split and empty feature folders."""
    root = tmp_path / "data"
    query = Query(1, "q", "v", 40.0, np.array([[4.0, 8.0]]), np.array([2]), np.array([[4, 4, 2]]))
    for name in DATASET.annotations.values():
        write_annotations(root / "annotations/qvhighlights" / name, [query])
    for stream in [*DATASET.video_streams, DATASET.text_stream]:
        (root / "features/qvhighlights" / stream.directory).mkdir(parents=True)
    return root


def publish(root: Path, name: str) -> Path:
    path = root / "released_predictions" / name
    row = {"qid": 1, "pred_relevant_windows": [[4.0, 8.0, 0.9]], "pred_saliency_scores": [0.0, 0.0, 1.0]}
    write_predictions(path, [row])
    return path


def workflow(root: Path, scale: str = "paper") -> Workflow:
    return Workflow({"scale": scale, "data_root": str(root), "results": str(root / "results")})


def names(paths: list[Path]) -> list[str]:
    return [path.name for path in paths]


def test_the_files_behind_a_table_and_a_figure(root):
    flow = workflow(root)
    assert names(flow.rescored("table1")) == ["qvhighlights.parquet"]
    assert flow.rescored("table4") == []
    assert set(names(flow.rescored())) >= {"qvhighlights.parquet", "tacos.parquet", "charades_sta.parquet"}
    before, drawn = flow.fingerprints.rescoring("qvhighlights"), flow.published_inputs("figure5")
    assert (drawn, flow.published_inputs("table1")) == ([], [])
    publish(root, "qvhighlights/tr_detr_test.jsonl")
    log = root / "released_predictions/qvhighlights/convergence.csv"
    log.write_text("method,epoch,mAP\n")
    assert workflow(root).fingerprints.rescoring("qvhighlights") != before
    assert flow.published_inputs("figure5") == [log]
    publish(root, "qvhighlights/cg_detr_val.jsonl")
    assert names(flow.published_inputs("figure4")) == ["cg_detr_val.jsonl"]


def test_published_files_count_by_content(root):
    def prints() -> tuple[str, str]:
        flow = workflow(root)
        prints = flow.fingerprints
        return prints.rescoring("qvhighlights"), prints.rendering(flow.published_inputs("figure4"))

    path = publish(root, "qvhighlights/cg_detr_val.jsonl")
    before = prints()
    os.utime(path)
    (path.parent / ".DS_Store").write_text("x")
    (path.parent / "notes.txt").write_text("x")
    assert prints() == before
    path.write_text(path.read_text().replace("0.9", "0.8"))
    assert all(one != other for one, other in zip(prints(), before, strict=True))


def test_annotations_count_by_content_for_what_is_scored_on_them(root):
    publish(root, "qvhighlights/tr_detr_test.jsonl")
    before = workflow(root).fingerprints.rescoring("qvhighlights")
    folder = root / "annotations/qvhighlights"
    (folder / DATASET.annotations["val"]).write_text("another split\n")
    assert workflow(root).fingerprints.rescoring("qvhighlights") == before
    (folder / DATASET.annotations["test"]).write_text("this split\n")
    assert workflow(root).fingerprints.rescoring("qvhighlights") != before


def test_a_generated_scale_has_no_published_files(root):
    publish(root, "qvhighlights/tr_detr_test.jsonl")
    (root / "released_predictions/qvhighlights/convergence.csv").write_text("method,epoch,mAP\n")
    flow = workflow(root, "mini")
    assert (flow.rescored(), flow.rescored("table1"), flow.published_inputs("figure5")) == ([], [], [])


def test_a_misplaced_file_is_an_error_at_once(root):
    publish(root, "qvhighlight/tr_detr_test.jsonl")
    with pytest.raises(DataError, match="qvhighlight: no such benchmark setting"):
        workflow(root)


def test_adding_a_file_rescores(tmp_path, root):
    checkout = Checkout(tmp_path / "checkout")
    (checkout.folder / "tiny.yaml").write_text("extends: paper\nlabel: ''\ndata: official\n")
    config = (f"data_root={root}",)
    target = "results/tiny/rescored/qvhighlights.parquet"
    done = checkout.snakemake(target, config=config)
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(read_metrics(checkout.folder / target)) == 0
    publish(root, "qvhighlights/tr_detr_test.jsonl")
    assert checkout.planned("table1", config=config)["rescore"] == 1
