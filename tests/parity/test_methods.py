"""Whole methods against numbers of their authors' code."""

from dataclasses import replace

import pytest

from sadetr.errors import DataError
from sadetr.parity.comparison import compare
from sadetr.parity.fixture import Fixture, read_fixture
from tests.samples import SHARED

CASES = [(method, case) for method in ("moment_detr", "qd_detr") for case in ("case_a", "case_b")]


def fixture(method: str, case: str) -> Fixture:
    path = SHARED / "parity" / method / f"{case}.safetensors"
    if not path.exists():
        pytest.skip(f"{path} is absent; set SADETR_SHARED to the folder that holds parity/")
    return read_fixture(path)


@pytest.mark.parametrize(("method", "case"), CASES, ids=[f"{method}-{case}" for method, case in CASES])
@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_every_output_loss_and_gradient_agrees(method, case, precision):
    given = fixture(method, case)
    comparison = compare(given.double() if precision == "float64" else given)
    assert comparison.passed, str(comparison)
    uncompared = [line.name for line in comparison.lines if line.error is None]
    assert all(name.startswith("loss.class_error") for name in uncompared)


def test_the_correct_mask_is_not_the_published_network(monkeypatch):
    given = fixture("qd_detr", "case_a")
    monkeypatch.setattr("sadetr.models.qd_detr.model.QDDETR._visible", lambda self, video_mask, text_mask: text_mask)
    failed = [line.name for line in compare(given).lines if not line.passed]
    assert "output.pred_spans" in failed
    assert "loss.total" in failed


def test_an_option_that_ours_lacks_is_named():
    given = fixture("moment_detr", "case_a")
    changed = replace(given, meta={**given.meta, "config": {**given.meta["config"], "pre_norm": True}})
    with pytest.raises(DataError, match="pre_norm"):
        compare(changed)
