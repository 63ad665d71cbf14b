"""What the documentation says of switches and readings is true of the code."""

import re
from pathlib import Path
from typing import Any

import pytest

from sadetr.experiments import RunId, load_experiment, run_settings

DOCS = Path(__file__).parents[1] / "docs"
LINES = (DOCS / "interpretation.md").read_text(encoding="utf-8").splitlines()
READINGS = {match[1]: line for line in LINES if (match := re.match(r"\| (D\d+) \|", line))}
SETTINGS = [
    run_settings(RunId(setting, "sa_detr", "full", 2018), "paper").model_dump()
    for setting in ("qvhighlights", "charades_sta_vgg")
]
"""Settings of runs: with token files, and with word vectors."""
ROWS = {
    row.key: row.labels["#"]
    for name in ("sensitivity", "sensitivity_charades_sta_vgg")
    for row in load_experiment(name, "paper").rows[1:]
}
"""Measured reading -> its number."""


def holds(settings: Any, key: str) -> bool:
    for part in key.split("."):
        if part not in settings:
            return False
        settings = settings[part]
    return True


def test_every_reading_has_one_line():
    numbers = [match[1] for line in LINES if (match := re.match(r"\| D(\d+) \|", line))]
    assert sorted(map(int, numbers)) == list(range(1, 80))


@pytest.mark.parametrize("number", READINGS)
def test_switches_exist(number):
    switches = re.split(r"(?<!\\)\|", READINGS[number])[-2]
    for key in re.findall(r"`((?:model|dataset|training)\.[a-z_.0-9]+)", switches):
        assert any(holds(settings, key) for settings in SETTINGS), key


@pytest.mark.parametrize("row", ROWS)
def test_measured_readings_are_linked(row):
    line = READINGS[ROWS[row]]
    assert f"`{row}`" in line
    assert "(#11-measured-effects)" in line
    assert "## 11 Measured effects" in LINES


def test_every_measured_reading_has_a_row():
    for line in READINGS.values():
        for names in re.findall(r"Measured: \[([^]]*)\]", line):
            assert set(re.findall(r"`(\w+)`", names)) <= ROWS.keys()
    assert {number for number, line in READINGS.items() if "Measured: " in line} == set(ROWS.values())


def test_sources_are_papers_and_repositories():
    root = DOCS.parent
    files = [path for folder in ("sadetr", "config", "docs") for path in (root / folder).rglob("*.*")]
    read = [path for path in files if path.suffix in (".py", ".yaml", ".md") and "bundle" not in path.parts]
    assert len(read) > 100
    assert [path for path in read if re.search(r"\bspec/\w+\.md", path.read_text(encoding="utf-8"))] == []
