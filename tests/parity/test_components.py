"""Every component that SA-DETR takes over: the authors' numbers, and the formulas in numpy at other sizes."""

from pathlib import Path

import numpy as np
import pytest
import torch

from sadetr.parity.comparison import TOLERANCES, compare
from sadetr.parity.fixture import Fixture, read_fixture
from sadetr.parity.registry import component_names
from tests.parity.formulas import COMPONENTS, SIZES
from tests.samples import SHARED

FOLDER = SHARED / "parity" / "components"


def from_formulas(name, sizes, seed=0):
    values, options = COMPONENTS[name](np.random.default_rng(seed), sizes)
    tensors = {key: torch.as_tensor(np.asarray(value)) for key, value in values.items()}
    return Fixture(
        Path(f"{name}.numpy"), {"method": "components", "case": name, "config": options, "dims": sizes}, tensors
    )


def official(name):
    path = FOLDER / f"{name}.safetensors"
    if not path.exists():
        pytest.skip(f"{path} is absent; set SADETR_SHARED to the folder that holds parity/")
    return read_fixture(path)


@pytest.mark.parametrize("name", COMPONENTS)
def test_the_authors_numbers_are_met(name):
    comparison = compare(official(name))
    assert comparison.passed, f"\n{comparison}"
    # No component has anything that is not ours to reproduce.
    assert all(line.error is not None for line in comparison.lines)


@pytest.mark.parametrize("name", COMPONENTS)
def test_double_precision_agrees_with_the_authors_numbers(name):
    comparison = compare(official(name).double())
    assert comparison.passed, f"\n{comparison}"


@pytest.mark.parametrize("sizes", SIZES, ids=lambda sizes: "B{B}-L{LV}-D{D}".format_map(sizes))
@pytest.mark.parametrize("name", COMPONENTS)
def test_the_formulas_are_met_to_1e_9(name, sizes, monkeypatch):
    for kind in ("output", "loss"):
        monkeypatch.setitem(TOLERANCES, kind, TOLERANCES[kind]._replace(absolute=1e-12))
    comparison = compare(from_formulas(name, sizes), relative=1e-9)
    assert comparison.passed, f"\n{comparison}"


def test_every_component_has_an_adapter_and_every_file_a_component():
    assert COMPONENTS.keys() <= set(component_names())
    assert {path.stem for path in FOLDER.glob("*.safetensors")} <= COMPONENTS.keys()
