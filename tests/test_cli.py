"""The command line: messages, exit codes, and no torch where none is needed."""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from sadetr.cli import main

COMMANDS = (
    *("runs", "explain", "generate", "download", "check-data", "prepare", "train", "predict", "evaluate", "submit"),
    *("gather", "table", "figure", "paper", "comparison", "compare", "report", "status", "verify-run", "snakefile"),
    *("extract", "compare-features", "locate", "serve"),
)


def started(*arguments: str, cwd=None) -> subprocess.CompletedProcess:
    """The command as a process."""
    command = [sys.executable, "-m", "sadetr", *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False, timeout=120)


@dataclass(frozen=True)
class Said:
    """What a process would have said."""

    returncode: int
    stdout: str
    stderr: str


@pytest.fixture
def sadetr(tmp_path, monkeypatch, capsys) -> Callable[..., Said]:
    """The command in an empty folder, called in this process: a start takes a second. Any other exception goes on."""

    def call(*arguments: str) -> Said:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", ["sadetr", *arguments])
        with pytest.raises(SystemExit) as end:
            main()
        return Said(end.value.code or 0, *capsys.readouterr())

    return call


def test_help_lists_every_command():
    done = started("--help")
    assert done.returncode == 0
    for command in COMMANDS:
        assert command in done.stdout


def test_runs_prints_rows_and_runs(sadetr):
    done = sadetr("runs", "--table", "4")
    assert done.returncode == 0
    assert "10 distinct runs" in done.stdout
    assert "qvhighlights/sa_detr/full/seed2018" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("runs", "--table", "99"), "no experiment 'table99'; known: table1, "),
        (("train", "--run", "qvhighlights/sa_detr/ful/seed1"), "nearest is 'full'"),
        (("train", "--run", "full"), "expected <setting>/<method>/<variant>/seed<k>"),
        (("train", "--run", "qvhighlights/sa_detr/full/seed1", "--scale", "paper"), "--data-root DIR"),
        (("train", "--run", "qvhighlights/sa_detr/full/seed1"), "prepare"),
        (("prepare", "--setting", "qvhighlights"), "no such file"),
        (("prepare", "--setting", "qvhighlights", "--scale", "simulated"), "--data-root DIR"),
        (("check-data", "--setting", "qvhighlights"), "--data-root DIR"),
        (("download", "--setting", "nothing", "--data-root", "."), "no such configuration file"),
        (("download", "--setting", "tacos", "--data-root", ".", "--from-archive", "none.zip"), "no such file"),
        (("generate", "--setting", "qvhighlights", "--scale", "paper"), "nothing to generate"),
        (("evaluate", "--run", "qvhighlights/sa_detr/full/seed1"), "not trained"),
        (("evaluate", "--baseline", "mean_span", "--split", "dev"), "no split 'dev'"),
        (("explain", "--table", "4", "--row", "z"), "table4 has no row 'z'; it has a, b, c"),
        (("explain", "--table", "99", "--row", "a"), "no experiment 'table99'; known: table1, "),
        (("explain", "--table", "4"), "table4: say which row, --row KEY; it has a, b, c"),
        (("explain", "--run", "qvhighlights/sa_detr/full/seed1", "--row", "a"), "--table N --row KEY"),
        (("explain", "--table", "1", "--row", "EaTR", "--qid", "1"), "no run of ours to look into"),
        (("figure", "5", "--qid", "1"), "figure5 shows no single queries"),
        (("verify-run",), "say which runs to verify: RUN..., or --all"),
        (("verify-run", "--all"), "results/mini/runs: holds no run"),
    ],
)
def test_a_mistake_is_one_message_and_exit_code_1(sadetr, arguments, message):
    done = sadetr(*arguments)
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_a_process_ends_with_that_code(tmp_path):
    done = started("runs", "--table", "99", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: no experiment 'table99'")


def test_compare_of_nothing_is_incomplete(sadetr):
    done = sadetr("compare")
    assert done.returncode == 2
    assert "missing" in done.stdout


def test_torch_stays_out_of_everything_but_training():
    modules = (
        "sadetr.cli, sadetr.workflow, sadetr.evaluation.command, sadetr.reporting.command, sadetr.data.preparation"
    )
    modules += ", sadetr.inspection.report, sadetr.inspection.picture, sadetr.reporting.status"
    modules += ", sadetr.reporting.integrity"
    code = f"import {modules}, sadetr.reporting.scoring, sadetr.data.corpus, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_check_data_of_nothing_is_a_report_and_exit_code_1(sadetr, tmp_path):
    done = sadetr("check-data", "--setting", "tacos", "--data-root", ".", "--json", "out/report.json")
    assert done.returncode == 1
    assert "annotations/tacos/train.jsonl" in done.stdout
    assert json.loads((tmp_path / "out/report.json").read_text())["passed"] is False
