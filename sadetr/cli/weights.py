"""Subcommands that exchange weights with other code."""

from pathlib import Path
from typing import Annotated

import typer

from sadetr.cli.options import app
from sadetr.errors import SettingsError


@app.command()
def import_weights(
    file: Annotated[Path, typer.Argument(help="Official checkpoint: safetensors, or a state dict saved by torch.")],
    method: Annotated[str, typer.Option(help="Method, a file of config/methods.")],
    out: Annotated[Path, typer.Option(help="Safetensors file to write.")],
) -> None:
    """Turn an official checkpoint into ours, strictly: every tensor is used or named as unused."""
    import importlib

    from sadetr.configuration import load_method
    from sadetr.models.weights import import_weights, read_official
    from sadetr.training.checkpoint import write_tensors

    module = load_method(method).weights
    if module is None:
        raise SettingsError(f"method {method!r} has no mapping of official weights (key 'weights' of its file)")
    weights = importlib.import_module(module)
    tensors = read_official(file)
    imported = import_weights(tensors, weights.MAPPING, weights.architecture(tensors).state_dict())
    write_tensors(out, imported.weights, {"method": method, "imported_from": file.name})
    for name, reason in imported.unused.items():
        print(f"unused: {name} ({reason})")
    print(f"{out}: {len(imported.weights)} of {len(tensors)} tensors, {len(imported.unused)} unused")
