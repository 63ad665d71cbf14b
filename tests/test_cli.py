"""The command line: messages, exit codes, and no torch where none is needed."""

import subprocess
import sys

import pytest

COMMANDS = (
    *("runs", "generate", "prepare", "train", "evaluate", "submit"),
    *("gather", "table", "figure", "comparison", "compare"),
)


def sadetr(*arguments: str, cwd=None) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "sadetr", *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False, timeout=120)


def test_help_lists_every_command():
    done = sadetr("--help")
    assert done.returncode == 0
    for command in COMMANDS:
        assert command in done.stdout


def test_runs_prints_rows_and_runs():
    done = sadetr("runs", "--table", "4")
    assert done.returncode == 0
    assert "10 distinct runs" in done.stdout
    assert "qvhighlights/sa_detr/full/seed2018" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("runs", "--table", "99"), "no experiment 'table99'; known: table1, table4, figure5"),
        (("train", "--run", "qvhighlights/sa_detr/ful/seed1"), "nearest is 'full'"),
        (("train", "--run", "full"), "expected <setting>/<method>/<variant>/seed<k>"),
        (("train", "--run", "qvhighlights/sa_detr/full/seed1", "--scale", "paper"), "--data-root DIR"),
        (("train", "--run", "qvhighlights/sa_detr/full/seed1"), "prepare"),
        (("prepare", "--setting", "qvhighlights"), "no such file"),
        (("prepare", "--setting", "qvhighlights", "--scale", "simulated"), "simulated"),
        (("generate", "--setting", "qvhighlights", "--scale", "paper"), "nothing to generate"),
        (("evaluate", "--run", "qvhighlights/sa_detr/full/seed1"), "not trained"),
        (("evaluate", "--baseline", "mean_span", "--split", "dev"), "no split 'dev'"),
    ],
)
def test_a_mistake_is_one_message_and_exit_code_1(tmp_path, arguments, message):
    done = sadetr(*arguments, cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_compare_of_nothing_is_incomplete(tmp_path):
    done = sadetr("compare", cwd=tmp_path)
    assert done.returncode == 1
    assert "missing" in done.stdout


def test_torch_stays_out_of_everything_but_training():
    modules = (
        "sadetr.cli, sadetr.workflow, sadetr.evaluation.command, sadetr.reporting.command, sadetr.data.preparation"
    )
    code = f"import {modules}, sadetr.reporting.scoring, sadetr.data.corpus, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
