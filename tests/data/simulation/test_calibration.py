"""The difficulty of simulated features was chosen by a training: it, the record and the documentation go together."""

import json
import re
from pathlib import Path

import pytest

from sadetr.configuration import resolve_simulation
from sadetr.settings import SimulationSettings

ROOT = Path(__file__).parents[3]
CURVES = ROOT / "benchmarks/results/simulated_curves.cpu.jsonl"
DOCUMENTED = {
    "clutter": r"`clutter`, `clutter_seconds` \| ([\d.]+), [\d.]+ s",
    "clutter_seconds": r"`clutter`, `clutter_seconds` \| [\d.]+, ([\d.]+) s",
    "noise": r"`noise` \| ([\d.]+) ",
    "background": r"`background` \| ([\d.]+) ",
    "appearance": r"`appearance` \| ([\d.]+) ",
    "distractor_rate": r"`distractor_rate`, `shared_words` \| ([\d.]+), [\d.]+ ",
    "shared_words": r"`distractor_rate`, `shared_words` \| [\d.]+, ([\d.]+) ",
    "saliency_contrast": r"`saliency_contrast` \| ([\d.]+) ",
    "boundary_jitter": r"`boundary_jitter` \| ([\d.]+) s",
}
"""Key -> where its table in the documentation has the value."""


def test_the_recorded_curve_was_trained_on_the_scales_own_difficulty() -> None:
    """Who changes the difficulty trains anew (benchmarks/simulated_curves.py)."""
    scale = resolve_simulation("qvhighlights", "simulated").model_dump(mode="json", exclude={"short_features"})
    rows = [json.loads(line) for line in CURVES.read_text().splitlines()]
    curve = [row for row in rows if (row["method"], row["variant"], row["seed"]) == ("qd_detr", "full", 2018)]
    assert [row["epoch"] for row in curve] == list(range(1, len(curve) + 1))
    for row in curve:
        assert row["simulation"] == scale


@pytest.mark.parametrize("name", DOCUMENTED)
def test_the_documented_difficulty_is_the_scales(name: str) -> None:
    scale = resolve_simulation("qvhighlights", "simulated")
    found = re.search(DOCUMENTED[name], (ROOT / "docs/simulated_features.md").read_text())
    assert found is not None
    assert float(found[1]) == getattr(scale, name) == SimulationSettings.model_fields[name].default
