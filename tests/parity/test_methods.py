"""Whole methods against numbers of their authors' code."""

from dataclasses import replace

import pytest

from sadetr.errors import DataError
from sadetr.layering import named_files
from sadetr.parity.comparison import compare
from sadetr.parity.fixture import Fixture, read_fixture
from sadetr.parity.registry import method_names
from tests.samples import SHARED

CASES = ("case_a", "case_b")


def fixture(method: str, case: str) -> Fixture:
    path = SHARED / "parity" / method / f"{case}.safetensors"
    if not path.exists():
        pytest.skip(f"{path} is absent; set SADETR_SHARED to the folder that holds parity/")
    return read_fixture(path)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("method", method_names())
@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_every_output_loss_and_gradient_agrees(method, case, precision):
    given = fixture(method, case)
    comparison = compare(given.double() if precision == "float64" else given)
    assert comparison.passed, str(comparison)
    # What is left out has a reason, and is nothing that is trained on.
    uncompared = [line.name for line in comparison.lines if line.error is None]
    assert not [name for name in uncompared if name.startswith(("grad_norm.", "match.")) or name == "loss.total"]


def test_every_method_of_a_fixture_has_official_names():
    """Once a method is there, its authors' numbers are met: none is left without a comparison."""
    folders = {path.parent.name for path in (SHARED / "parity").glob("*/case_*.safetensors")}
    assert folders & set(named_files("methods")) <= set(method_names())


def test_the_correct_mask_is_not_the_published_network(monkeypatch):
    given = fixture("qd_detr", "case_a")
    monkeypatch.setattr("sadetr.models.detr.texts.tiled_word_mask", lambda video, text, heads: text)
    failed = [line.name for line in compare(given).lines if not line.passed]
    assert "output.pred_spans" in failed
    assert "loss.total" in failed


def test_a_faulty_name_is_an_error_not_a_pass():
    given = fixture("qd_detr", "case_a")
    renamed = {name.replace("t2v_encoder", "v2t_encoder"): value for name, value in given.tensors.items()}
    with pytest.raises(DataError, match=r"case_a.*unknown|case_a.*incomplete|case_a.*do not belong together"):
        compare(replace(given, tensors=renamed))


def test_an_option_that_ours_lacks_is_named():
    given = fixture("moment_detr", "case_a")
    changed = replace(given, meta={**given.meta, "config": {**given.meta["config"], "pre_norm": True}})
    with pytest.raises(DataError, match="pre_norm"):
        compare(changed)


def test_losses_at_the_authors_outputs_hide_no_wrong_output():
    given = fixture("mh_detr", "case_a")
    bias = given["weight.predictor.saliency_ffn.bias"] + 1e-4
    changed = replace(given, tensors={**given.tensors, "weight.predictor.saliency_ffn.bias": bias})
    failed = {line.name for line in compare(changed).lines if not line.passed}
    assert {"output.saliency", "eval_output.saliency"} <= failed
