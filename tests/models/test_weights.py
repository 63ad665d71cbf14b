"""Official checkpoints: every tensor is used or named as unused, whatever is odd is an error."""

import argparse
import pickle
import shlex
import sys
from pathlib import Path

import pytest
import safetensors.torch
import torch
from typer.testing import CliRunner

from sadetr.cli.options import app
from sadetr.errors import ResultsError, SadetrError
from sadetr.models.moment_detr import weights as moment_weights
from sadetr.models.qd_detr import weights as qd_weights
from sadetr.models.weights import import_weights, read_official
from sadetr.training.checkpoint import read_tensors

METHODS = {"moment_detr": moment_weights, "qd_detr": qd_weights}
UNUSED = {"txt_position_embed.LayerNorm.weight", "txt_position_embed.LayerNorm.bias"}
each_method = pytest.mark.parametrize("method", METHODS)


def official_names(module, model) -> dict[str, str]:
    """Our name -> official name, by inverting the rules."""
    names = {}
    for name in model.state_dict():
        for theirs, ours in module.MAPPING.rules.items():
            parts = fits(ours, name)
            if parts is not None and fits(theirs, fill(theirs, parts)) is not None:
                names.setdefault(name, fill(theirs, parts))
    return names


def fits(pattern: str, name: str) -> list[str] | None:
    parts, places = name.split("."), pattern.split(".")
    if len(parts) != len(places) or any(b not in ("*", a) for a, b in zip(parts, places, strict=True)):
        return None
    return [part for part, place in zip(parts, places, strict=True) if place == "*"]


def fill(pattern: str, parts: list[str]) -> str:
    values = iter(parts)
    return ".".join(next(values) if place == "*" else place for place in pattern.split("."))


def official(method: str, seed: int = 0, encoder_layers: int = 2, decoder_layers: int = 3):
    """A small network of ours, and its state as the official code names it."""
    module = METHODS[method]
    network = {"moment_detr": moment_weights.MomentDETR, "qd_detr": qd_weights.QDDETR}[method]
    settings = {"moment_detr": moment_weights.MomentDETRSettings, "qd_detr": qd_weights.QDDETRSettings}[method]
    torch.manual_seed(seed)
    sizes = {"hidden_width": 8, "num_heads": 2, "feedforward_width": 12, "num_moment_queries": 3}
    depths = {"encoder_layers": encoder_layers, "decoder_layers": decoder_layers, "projection_blocks": 3}
    model = network(settings.model_validate(sizes | depths), 6, 5)
    names = official_names(module, model)
    tensors = {names[name]: value.clone() for name, value in model.state_dict().items()}
    tensors |= {
        "txt_position_embed.LayerNorm.weight": torch.ones(8),
        "txt_position_embed.LayerNorm.bias": torch.ones(8),
    }
    return module, model, tensors


@each_method
def test_every_tensor_arrives_and_the_architecture_is_read_off(method):
    module, model, tensors = official(method)
    found = module.architecture(tensors)
    imported = import_weights(tensors, module.MAPPING, found.state_dict())
    assert imported.weights.keys() == model.state_dict().keys()
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in imported.weights.items())
    assert set(imported.unused) == UNUSED
    assert set(imported.sources.values()) | set(imported.unused) == set(tensors)


@each_method
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda tensors: tensors.pop("class_embed.bias"), "no tensor for 'label_head.bias'"),
        (lambda tensors: tensors.update(extra=torch.zeros(1)), "'extra' is unknown"),
        (lambda tensors: tensors.update({"class_embed.bias": torch.zeros(3)}), r"'class_embed.bias' has shape \[3\]"),
    ],
    ids=["missing", "unknown", "shape"],
)
def test_what_does_not_fit_is_an_error(method, change, message):
    module, model, tensors = official(method)
    change(tensors)
    with pytest.raises(ResultsError, match=message):
        import_weights(tensors, module.MAPPING, model.state_dict())


def test_a_checkpoint_of_another_method_is_an_error():
    _, _, tensors = official("qd_detr")
    with pytest.raises(ResultsError, match="unknown"):
        import_weights(tensors, moment_weights.MAPPING, moment_weights.architecture(tensors).state_dict())
    with pytest.raises(ResultsError, match="not one of this method"):
        qd_weights.architecture({"a": torch.zeros(1)})


@pytest.mark.parametrize("wrapped", [False, True], ids=["plain", "wrapped"])
def test_state_dicts_and_safetensors_hold_the_same(tmp_path, wrapped):
    _, _, tensors = official("moment_detr")
    torch.save({"model": tensors, "epoch": 3} if wrapped else tensors, tmp_path / "a.ckpt")
    safetensors.torch.save_file(tensors, tmp_path / "a.safetensors")
    first, second = (read_official(tmp_path / f"a.{suffix}") for suffix in ("ckpt", "safetensors"))
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_foreign_classes_are_never_unpickled_and_the_remedy_is_named(tmp_path):
    path = tmp_path / "official.ckpt"
    torch.save({"model": {}, "opt": argparse.Namespace(lr=1)}, path)
    with pytest.raises(ResultsError, match="never unpickled") as caught:
        read_official(path)
    assert str(tmp_path / "official.tensors.pt") in str(caught.value)


LOAD = torch.load


def old_load(f, map_location=None, pickle_module=pickle, **pickle_load_args):
    """``torch.load`` of torch 1.9: further arguments go to the unpickler, which refuses them."""
    if pickle_load_args:
        raise TypeError(f"{next(iter(pickle_load_args))!r} is an invalid keyword argument for Unpickler()")
    return LOAD(f, map_location=map_location, weights_only=False)


class Foreign(dict):
    """A state dict of a class of its own, as some repositories save them."""


@pytest.mark.parametrize("version", ["old", "new"])
@pytest.mark.parametrize(
    ("content", "options"),
    [
        (lambda state: {"model": state, "opt": argparse.Namespace(lr=1)}, {}),
        (lambda state: {"model": state, "opt": argparse.Namespace(lr=1)}, {"_use_new_zipfile_serialization": False}),
        (Foreign, {}),
    ],
    ids=["beside options", "format of torch 1.5", "plain"],
)
def test_the_advised_lines_run_in_any_torch_and_what_they_write_is_read(
    tmp_path, monkeypatch, version, content, options
):
    _, _, tensors = official("qd_detr")
    path = tmp_path / "it's official.ckpt"
    # Parameters are tensors with a history.
    torch.save(content({name: torch.nn.Parameter(value) for name, value in tensors.items()}), path, **options)
    with pytest.raises(ResultsError) as caught:
        read_official(path)
    _, lines, command = str(caught.value).split("\n\n")
    namespace: dict = {}
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "safetensors", None)
        if version == "old":
            patch.setattr(torch, "load", old_load)
        for line in lines.splitlines():  # one by one, as at a prompt
            exec(line, namespace)
    exported = shlex.split(command)[-3]
    found = read_official(Path(exported))
    assert found.keys() == tensors.keys()
    assert all(torch.equal(found[name], tensors[name]) for name in tensors)
    done = CliRunner().invoke(app, ["import-weights", "--method", "qd_detr", exported])
    assert done.exit_code == 0, done.output


@pytest.mark.parametrize("content", [b"junk", b""], ids=["junk", "empty"])
@pytest.mark.parametrize("suffix", ["ckpt", "safetensors"])
def test_unreadable_files_are_named(tmp_path, suffix, content):
    path = tmp_path / f"broken.{suffix}"
    path.write_bytes(content)
    with pytest.raises(ResultsError, match=f"broken.{suffix}"):
        read_official(path)
    with pytest.raises(ResultsError, match="missing"):
        read_official(tmp_path / f"missing.{suffix}")


@each_method
def test_command_writes_our_names_and_says_what_is_unused(tmp_path, method):
    _, model, tensors = official(method)
    torch.save(tensors, tmp_path / "official.pt")
    out = tmp_path / "ours.safetensors"
    arguments = ["import-weights", "--method", method, str(tmp_path / "official.pt"), "--out", str(out)]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    assert "txt_position_embed.LayerNorm.bias" in done.output
    weights, metadata = read_tensors(out)
    assert metadata["method"] == method
    assert weights.keys() == model.state_dict().keys()


def test_command_leaves_nothing_behind_a_failure(tmp_path):
    torch.save({"a": torch.zeros(1)}, tmp_path / "official.pt")
    out = tmp_path / "ours.safetensors"
    arguments = ["import-weights", "--method", "qd_detr", str(tmp_path / "official.pt"), "--out", str(out)]
    done = CliRunner().invoke(app, arguments)
    assert isinstance(done.exception, SadetrError)
    assert list(tmp_path.iterdir()) == [tmp_path / "official.pt"]


@pytest.mark.parametrize(
    "change",
    [
        {"transformer.encoder.layers.0.linear1.weight": torch.zeros(4)},
        {"query_embed.weight": torch.tensor(0.0)},
        {"class_embed.bias": torch.tensor([0.0, torch.nan])},
    ],
    ids=["one dimension", "scalar", "nan"],
)
def test_command_refuses_wrong_tensors_in_one_message(tmp_path, change):
    _, _, tensors = official("qd_detr")
    torch.save(tensors | change, tmp_path / "official.pt")
    done = CliRunner().invoke(app, ["import-weights", "--method", "qd_detr", str(tmp_path / "official.pt")])
    assert isinstance(done.exception, ResultsError)
    assert "official.pt" in str(done.exception)


def test_command_refuses_another_methods_checkpoint_and_numbered_tensors(tmp_path):
    _, _, tensors = official("moment_detr")
    for content in (tensors, {0: torch.zeros(1)}):
        torch.save(content, tmp_path / "official.pt")
        done = CliRunner().invoke(app, ["import-weights", "--method", "qd_detr", str(tmp_path / "official.pt")])
        assert isinstance(done.exception, ResultsError)
        assert "official.pt" in str(done.exception)


def test_command_writes_beside_the_checkpoint_and_unwraps_safetensors(tmp_path):
    _, model, tensors = official("qd_detr")
    parallel = {f"module.{name}": value for name, value in tensors.items()}
    safetensors.torch.save_file(parallel, tmp_path / "official.safetensors")
    done = CliRunner().invoke(app, ["import-weights", "--method", "qd_detr", str(tmp_path / "official.safetensors")])
    assert done.exit_code == 0, done.output
    weights, _ = read_tensors(tmp_path / "official.qd_detr.safetensors")
    assert weights.keys() == model.state_dict().keys()
