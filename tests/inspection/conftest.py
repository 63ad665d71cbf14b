"""A tiny trained run where the command line looks for it."""

from pathlib import Path

import pytest

from sadetr.experiments import RunId
from sadetr.layout import Layout
from sadetr.reporting.scoring import score_run
from tests.training.conftest import Workspace, workspace

__all__ = ["workspace"]

FULL = RunId("qvhighlights", "sa_detr", "full", 2018)
PLAIN = RunId("qvhighlights", "sa_detr", "baseline", 2018)


@pytest.fixture(scope="session")
def trained(workspace: Workspace) -> Layout:
    """The full model trained and scored; the baseline trained only. Not to be changed."""
    for run in (FULL, PLAIN):
        workspace.train(workspace.layout.run(run).path, workspace.settings(variant=run.variant))
    score_run(FULL, workspace.layout)
    return workspace.layout


@pytest.fixture
def val_file(trained: Layout) -> Path:
    """Annotations of the validation split."""
    return trained.data_root / "annotations/qvhighlights/highlight_val_release.jsonl"
