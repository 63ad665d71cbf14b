"""Subcommands that exchange weights with other code."""

from pathlib import Path
from typing import Annotated

import typer

from sadetr.cli.options import app


@app.command()
def import_weights(
    file: Annotated[Path, typer.Argument(help="Official checkpoint: safetensors, or a state dict saved by torch.")],
    method: Annotated[str, typer.Option(help="Method, a file of config/methods.")],
    out: Annotated[
        Path | None, typer.Option(help="File to write; default: beside FILE, with the method's name.")
    ] = None,
) -> None:
    """Turn an official checkpoint into ours, strictly: every tensor is used or named as unused."""
    from sadetr.configuration import load_method
    from sadetr.models.weights import import_file
    from sadetr.training.checkpoint import write_tensors

    imported = import_file(file, load_method(method))
    out = file.with_name(f"{file.stem}.{method}.safetensors") if out is None else out
    write_tensors(out, imported.weights, {"method": method, "imported_from": file.name})
    for name, reason in imported.unused.items():
        print(f"unused: {name} ({reason})")
    total = len(imported.weights) + len(imported.unused)
    print(f"{out}: {len(imported.weights)} of {total} tensors, {len(imported.unused)} unused")
