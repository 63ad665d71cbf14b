"""Official checkpoints: every tensor is used or named as unused, whatever is odd is an error."""

import argparse
import pickle
import shlex
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import safetensors.torch
import torch
from typer.testing import CliRunner

from sadetr.cli.options import app
from sadetr.configuration import load_method, resolve
from sadetr.errors import ResultsError, SadetrError, SettingsError
from sadetr.models.construction import make_method
from sadetr.models.detr.official import descendant
from sadetr.models.official import Official, import_weights, renamed
from sadetr.models.weights import load_official, official_network, read_official
from sadetr.parity.registry import method_names
from sadetr.training.checkpoint import read_tensors

METHODS = method_names()
each_method = pytest.mark.parametrize("method", METHODS)


def official_names(theirs: Official, model) -> dict[str, str]:
    """Our name -> official name, by inverting the rules."""
    names = {}
    for name in model.state_dict():
        for pattern, ours in theirs.rules.items():
            parts = fits(ours, name)
            if parts is not None and fits(pattern, fill(pattern, parts)) is not None:
                names.setdefault(name, fill(pattern, parts))
    return names


def fits(pattern: str, name: str) -> list[str] | None:
    parts, places = name.split("."), pattern.split(".")
    if len(parts) != len(places) or any(b not in ("*", a) for a, b in zip(parts, places, strict=True)):
        return None
    return [part for part, place in zip(parts, places, strict=True) if place == "*"]


def fill(pattern: str, parts: list[str]) -> str:
    values = iter(parts)
    return ".".join(next(values) if place == "*" else place for place in pattern.split("."))


def official(method: str, **changes: int):
    """A narrow network of ours, one layer deeper than by default, and its state as the official code names it."""
    record = load_method(method)
    settings = resolve("qvhighlights", method, next(iter(record.variants)), 2018, "mini")
    values = {"encoder_layers": 3, "projection_blocks": 3} | changes
    fields = type(settings.model).model_fields
    known = {name: value for name, value in values.items() if name in fields}
    torch.manual_seed(0)
    model = make_method(settings.model_copy(update={"model": settings.model.model_copy(update=known)}))
    theirs = load_official(record)
    names = official_names(theirs, model)
    tensors = {names[name]: value.clone() for name, value in model.state_dict().items()}
    unused = {pattern.replace("*", "x"): torch.ones(8) for pattern in theirs.unused}
    return theirs, model, tensors | unused


def architecture(method: str, tensors):
    return official_network(load_method(method), tensors)[0]


@each_method
def test_every_tensor_arrives_and_the_architecture_is_read_off(method):
    theirs, model, tensors = official(method)
    imported = import_weights(tensors, theirs, architecture(method, tensors).state_dict())
    assert imported.weights.keys() == model.state_dict().keys()
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in imported.weights.items())
    assert set(imported.unused) == {pattern.replace("*", "x") for pattern in theirs.unused}
    assert imported.targets.keys() | imported.unused.keys() == tensors.keys()


def test_every_depth_is_a_number_of_its_own():
    depths = {"encoder_layers": 1, "decoder_layers": 3, "fusion_layers": 4}
    _, _, tensors = official("qd_detr", **depths)
    found = architecture("qd_detr", tensors).settings.model_dump()
    assert {name: found[name] for name in depths} == depths


@each_method
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda tensors, name: tensors.pop(name), "no tensor for '"),
        (lambda tensors, name: tensors.update(extra=torch.zeros(1)), "'extra' is unknown"),
        (lambda tensors, name: tensors.update({name: torch.zeros(3, 5, 7)}), r"has shape \[3, 5, 7\]"),
    ],
    ids=["missing", "unknown", "shape"],
)
def test_what_does_not_fit_is_an_error(method, change, message):
    theirs, model, tensors = official(method)
    change(tensors, next(iter(tensors)))
    with pytest.raises(ResultsError, match=message):
        import_weights(tensors, theirs, model.state_dict())


def test_two_names_of_one_tensor_are_equal_or_an_error():
    theirs, model, tensors = official("qd_detr")
    # As EaTR and BAM-DETR list a head under its own name and under its decoder's.
    theirs = replace(theirs, rules={**theirs.rules, "alias.bias": "label_head.bias"})
    tensors["alias.bias"] = tensors["class_embed.bias"].clone()
    imported = import_weights(tensors, theirs, model.state_dict())
    assert {name for name, ours in imported.targets.items() if ours == "label_head.bias"} == {
        "alias.bias",
        "class_embed.bias",
    }
    tensors["alias.bias"] += 1
    with pytest.raises(ResultsError, match=r"'alias.bias' differs from another one that is 'label_head.bias' too"):
        import_weights(tensors, theirs, model.state_dict())


def test_a_checkpoint_of_another_method_is_an_error():
    _, _, tensors = official("qd_detr")
    expected = architecture("moment_detr", tensors).state_dict()
    with pytest.raises(ResultsError, match="unknown"):
        import_weights(tensors, load_official(load_method("moment_detr")), expected)
    with pytest.raises(ResultsError, match="not one of this method"):
        architecture("qd_detr", {"a": torch.zeros(1)})


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
    theirs, model, tensors = official(method)
    torch.save(tensors, tmp_path / "official.pt")
    out = tmp_path / "ours.safetensors"
    arguments = ["import-weights", "--method", method, str(tmp_path / "official.pt"), "--out", str(out)]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    assert done.output.count("unused: ") == len(theirs.unused)
    weights, metadata = read_tensors(out)
    assert metadata["method"] == method
    assert weights.keys() == model.state_dict().keys()


def test_a_descendant_adds_to_what_its_ancestor_has():
    own = descendant({"memory.*": "memory.*"}, lambda *_: {}, lambda *_: {}, unused={"old.*": "never read"})
    assert renamed("memory.weight", own.rules) == "memory.weight"
    assert renamed("class_embed.bias", own.rules) == "label_head.bias"
    assert own.unused.keys() == {"old.*", "txt_position_embed.*"}


def test_a_descendants_own_names_go_first():
    rules = {"body.layers.*.bias": "encoder.*.norm1.bias", "class_embed.*": "other_head.*"}
    own = descendant(rules, lambda *_: {}, lambda *_: {})
    assert next(name for name, ours in own.rules.items() if ours == "encoder.*.norm1.bias") == "body.layers.*.bias"
    assert renamed("class_embed.bias", own.rules) == "other_head.bias"


def test_a_method_without_official_names_is_an_error():
    with pytest.raises(SettingsError, match="'sa_detr' has no official names"):
        load_official(load_method("sa_detr"))


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
