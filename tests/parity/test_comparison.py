"""The comparison itself: what passes, what fails, what is an error; nothing is skipped in silence."""

import json

import pytest
import torch
from safetensors.torch import save_file
from typer.testing import CliRunner

from sadetr.cli.options import app
from sadetr.errors import DataError
from sadetr.parity.adapters import tr_align
from sadetr.parity.comparison import compare
from sadetr.parity.fixture import read_fixture
from tests.parity.formulas import SIZES
from tests.parity.test_components import from_formulas

VALUE, INPUT = "loss.clip_text", "input.vid_feat"


@pytest.fixture
def write(tmp_path):
    """Write a fixture in float32, changed by a function of its tensors and its meta."""

    def writer(change=lambda tensors, meta: None, component="tr_align", name="fixture"):
        source = from_formulas(component, SIZES[0])
        tensors, meta = dict(source.double().tensors), dict(source.meta)
        tensors = {key: value.float() if value.is_floating_point() else value for key, value in tensors.items()}
        change(tensors, meta)
        path = tmp_path / f"{name}.safetensors"
        save_file({key: value.contiguous() for key, value in tensors.items()}, path, {"meta": json.dumps(meta)})
        return path

    return writer


def parity(*arguments):
    return CliRunner().invoke(app, ["parity", *map(str, arguments)])


def scaled(name, factor):
    def change(tensors, meta):
        tensors[name] = tensors[name] * factor

    return change


@pytest.mark.parametrize("precision", [[], ["--float64"]], ids=["float32", "float64"])
def test_agreeing_fixtures(write, precision):
    result = parity(write(), write(component="matcher", name="other"), *precision)
    assert result.exit_code == 0
    assert "2 of 2 fixtures agree" in result.output
    for name in ("loss.video_text", VALUE, "output.assignment", "output.cost_giou"):
        assert sum(line.split()[:1] == [name] for line in result.output.splitlines()) == 1


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (scaled(VALUE, 1 + 1e-4), "BEYOND"),
        (scaled(VALUE, torch.nan), "BEYOND"),
        (scaled(VALUE, torch.inf), "BEYOND"),
        (lambda tensors, meta: tensors.update({"outputs.x": torch.zeros(2)}), "MISSING"),
        (lambda tensors, meta: tensors.update({VALUE: tensors[VALUE].view(1)}), "SHAPE"),
        (lambda tensors, meta: tensors.update({"output.unheard_of": torch.zeros(2)}), "MISSING"),
        (lambda tensors, meta: tensors.update({"grad_norm.x": torch.zeros(())}), "MISSING"),
        (lambda tensors, meta: tensors.update({"match.call0": torch.zeros(1, 3, dtype=torch.int64)}), "MISSING"),
    ],
    ids=["off", "nan", "inf", "unknown kind", "shape", "output", "grad_norm", "match"],
)
def test_whatever_disagrees_or_is_not_computed_fails(write, change, word):
    good = write(name="good")
    result = parity(write(change), good)
    assert result.exit_code == 1
    assert len([line for line in result.output.splitlines() if word in line]) == 1
    assert "FAILED (1)" in result.output
    assert "1 of 2 fixtures agree" in result.output


def test_a_file_that_cannot_be_compared_does_not_stop_the_others(write, tmp_path):
    result = parity(tmp_path / "absent.safetensors", write())
    assert result.exit_code == 1
    assert "error: " in result.stderr
    assert "absent.safetensors" in result.stderr
    assert "1 of 2 fixtures agree" in result.output


def cut_input(tensors, meta):
    tensors[INPUT] = tensors[INPUT][:, :-1]


def no_config(tensors, meta):
    meta["config"] = None


@pytest.mark.parametrize("change", [cut_input, no_config])
def test_parts_that_do_not_belong_together_do_not_stop_the_others(write, change):
    result = parity(write(change, name="bad"), write())
    assert result.exit_code == 1
    assert "bad.safetensors" in result.stderr
    assert "do not belong together" in result.stderr
    assert "1 of 2 fixtures agree" in result.output


def test_integers_are_equal_or_wrong(write):
    def swap(tensors, meta):
        tensors["output.assignment"][0, 1] += 1

    comparison = compare(read_fixture(write(swap, component="matcher")), relative=1.0)
    assert [line.name for line in comparison.lines if not line.passed] == ["output.assignment"]


def test_the_tolerance_can_be_set(write):
    off = write(scaled(VALUE, 1 + 1e-4))
    assert parity(off).exit_code == 1
    assert parity(off, "--tolerance", "1e-3").exit_code == 0
    assert parity(write(), "--tolerance", "1e-12").exit_code == 1


def test_what_is_not_ours_to_reproduce_is_said(write, monkeypatch):
    path = write(lambda tensors, meta: tensors.update({"loss.logged_only": torch.zeros(())}))
    monkeypatch.setattr(tr_align, "UNCOMPARED", {"loss.logged*": "the authors log it"}, raising=False)
    comparison = compare(read_fixture(path))
    assert comparison.passed
    assert "not compared: the authors log it" in str(comparison)


def test_a_fixture_without_results_does_not_pass(write):
    def without_results(tensors, meta):
        for name in [name for name in tensors if not name.startswith("input")]:
            del tensors[name]

    assert not compare(read_fixture(write(without_results))).passed


def test_noise_around_an_exact_zero_passes_and_is_marked(write):
    # The keys' bias moves all logits of a softmax alike.
    noisy = {"grad_norm.v0.sa_kcontent_proj.bias": torch.tensor(3e-8)}
    comparison = compare(read_fixture(write(lambda tensors, meta: tensors.update(noisy), "dab_cross_attention")))
    assert comparison.passed
    assert [line.name for line in comparison.lines if line.noise] == list(noisy)
    assert "(zero but for rounding)" in str(comparison)
    large = {"grad_norm.v0.sa_kcontent_proj.bias": torch.tensor(1e-4)}
    assert not compare(read_fixture(write(lambda tensors, meta: tensors.update(large), "dab_cross_attention"))).passed


def no_meta(path):
    save_file({"input.x": torch.zeros(1)}, path)


def list_meta(path):
    save_file({"input.x": torch.zeros(1)}, path, {"meta": "[]"})


@pytest.mark.parametrize(
    "make",
    [lambda path: path.write_text("text"), no_meta, list_meta, lambda path: None],
    ids=["text", "no_meta", "list", "absent"],
)
def test_other_files_are_named(tmp_path, make):
    path = tmp_path / "other.safetensors"
    make(path)
    with pytest.raises(DataError, match=r"other\.safetensors"):
        read_fixture(path)


@pytest.mark.parametrize(
    ("component", "change", "message"),
    [
        ("tr_align", lambda tensors, meta: meta.update(case="vr_align"), "no adapter computes 'vr_align'"),
        ("tr_align", lambda tensors, meta: meta.update(method="momentdiff"), "no adapter computes 'momentdiff'"),
        ("tr_align", lambda tensors, meta: tensors.pop(INPUT), "no tensor 'input.vid_feat'"),
        ("tr_align", lambda tensors, meta: meta.update(config={}), "no config 'temperature'"),
        ("eatr_gate", lambda tensors, meta: meta.update(dims={}), "no dims 'H'"),
        ("eatr_gate", lambda tensors, meta: tensors.pop("weight.gate_norm.bias"), "its weights"),
        ("eatr_gate", lambda tensors, meta: tensors.update({"weight.a.b": torch.zeros(1)}), "its weights"),
        ("gtad_align", lambda tensors, meta: tensors.update({"output.x": torch.zeros(1)}), "not named bins"),
        ("sine_time", lambda tensors, meta: tensors.update({"output.x_32": torch.zeros(1)}), "none of normalised"),
    ],
    ids=["component", "method", "input", "option", "heads", "weight", "weights", "bins", "variant"],
)
def test_malformed_fixtures_are_errors_that_name_the_file(write, component, change, message):
    fixture = read_fixture(write(change, component=component, name="bad"))
    with pytest.raises(DataError, match=rf"bad\.safetensors.*{message}"):
        compare(fixture)
