"""What the documentation says of switches and readings is true of the code."""

import re
from pathlib import Path
from typing import Any

import pytest

from sadetr.experiments import RunId, load_experiment, run_settings

DOCS = Path(__file__).parents[1] / "docs"
LINES = (DOCS / "interpretation.md").read_text(encoding="utf-8").splitlines()
READINGS = {match[1]: line for line in LINES if (match := re.match(r"\| (D\d+) \|", line))}
RUN = RunId("qvhighlights", "sa_detr", "full", 2018)


def test_every_reading_has_one_line():
    numbers = [match[1] for line in LINES if (match := re.match(r"\| D(\d+) \|", line))]
    assert sorted(map(int, numbers)) == list(range(1, 76))


@pytest.mark.parametrize("number", READINGS)
def test_switches_exist(number):
    switches = re.split(r"(?<!\\)\|", READINGS[number])[-2]
    settings = run_settings(RUN, "paper").model_dump()
    for key in re.findall(r"`((?:model|dataset|training)\.[a-z_.0-9]+)", switches):
        value: Any = settings
        for part in key.split("."):
            assert part in value, key
            value = value[part]


@pytest.mark.parametrize("row", [row.key for row in load_experiment("sensitivity", "paper").rows[1:]])
def test_measured_readings_are_linked(row):
    labels = next(each.labels for each in load_experiment("sensitivity", "paper").rows if each.key == row)
    line = READINGS[labels["#"]]
    assert f"`{row}`" in line
    assert "(#11-measured-effects)" in line
    assert "## 11 Measured effects" in LINES


def test_every_measured_reading_has_a_row():
    rows = {row.key for row in load_experiment("sensitivity", "paper").rows}
    for line in READINGS.values():
        for names in re.findall(r"Measured: \[([^]]*)\]", line):
            assert set(re.findall(r"`(\w+)`", names)) <= rows
    wanted = {"D6", "D19", "D29", "D38", "D39", "D43", "D46", "D49", "D52", "D59"}
    assert {number for number, line in READINGS.items() if "Measured: " in line} == wanted
