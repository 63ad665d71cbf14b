"""Recorded lines are found by what they say, the latest first."""

import json
from pathlib import Path

import pytest

from sadetr.errors import ResultsError
from sadetr.forecast.lines import RECORDED, Recorded


def write(path: Path, *lines: dict) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path.parent


def test_the_latest_line_of_the_last_folder_counts(tmp_path: Path) -> None:
    ours = write(tmp_path / "ours" / "a.jsonl", {"benchmark": "x", "n": 1}, {"benchmark": "x", "n": 2, "device": "d"})
    own = write(tmp_path / "own" / "b.jsonl", {"benchmark": "x", "n": 3}, {"benchmark": "y", "n": 4})
    assert Recorded.read(ours, own).find("x")["n"] == 3
    assert str(Recorded.read(ours, own).find("x", device="d")) == "a.jsonl:2"
    assert Recorded.read(ours).find("y") is None
    assert Recorded.read(ours, own).values("n", "x") == (1, 2, 3)


def test_what_is_no_line_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"benchmark": "x"}\n{"benchm')
    with pytest.raises(ResultsError, match=r"a\.jsonl: line 2: is not valid JSON"):
        Recorded.read(tmp_path)
    with pytest.raises(ResultsError, match="nowhere: no such folder"):
        Recorded.read(tmp_path / "nowhere")
    with pytest.raises(ResultsError, match=r"b\.jsonl:1: has no 'median_ms'"):
        Recorded.read(write(tmp_path / "b" / "b.jsonl", {"benchmark": "x"})).find("x")["median_ms"]


def test_the_recorded_lines_can_be_read() -> None:
    assert Recorded.read(RECORDED).find("training_step", method="sa_detr", measured="step")["median_ms"] > 0
