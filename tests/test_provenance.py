"""Fingerprints change with what matters and with nothing else."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from sadetr.provenance import PACKAGE, code_fingerprint, commit

TRAINING = ("sadetr.training.run", "sadetr.models.sa_detr.model")
SCRIPT = "from sadetr.provenance import code_fingerprint; print(code_fingerprint(*{roots!r}))"


@pytest.fixture
def checkout(tmp_path):
    shutil.copytree(PACKAGE, tmp_path / "sadetr", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def fingerprint_of(checkout: Path, roots: tuple[str, ...] = TRAINING) -> str:
    command = [sys.executable, "-c", SCRIPT.format(roots=roots)]
    return subprocess.run(command, cwd=checkout, capture_output=True, text=True, check=True).stdout.strip()


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def test_comments_docstrings_and_layout_do_not_count(checkout):
    before = fingerprint_of(checkout)
    assert before == code_fingerprint(*TRAINING)
    path = checkout / "sadetr/losses/quality.py"
    edit(path, "import torch\n", "# a comment\n\n\nimport torch\n")
    edit(path, '"""', '"""Another sentence. ')
    edit(checkout / "sadetr/models/interface.py", '"""(B, L)."""', '"""(B, L) bool."""')
    assert fingerprint_of(checkout) == before


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("losses/quality.py", "1 + (matched_weight - 1)", "2 + (matched_weight - 1)"),
        ("nn/positions.py", "10000 **", "20000 **"),
        ("data/labels.py", 'stream("windows")', 'stream("window")'),
        ("training/schedule.py", "1 - progress", "1 - progress / 2"),
    ],
)
def test_whatever_can_change_a_result_counts(checkout, file, old, new):
    before = fingerprint_of(checkout)
    edit(checkout / "sadetr" / file, old, new)
    assert fingerprint_of(checkout) != before


def test_rendering_does_not_touch_training(checkout):
    before = fingerprint_of(checkout), fingerprint_of(checkout, ("sadetr.reporting.command",))
    path = checkout / "sadetr/reporting/tables.py"
    path.write_text(path.read_text() + "\nEXTRA = 1\n")
    after = fingerprint_of(checkout), fingerprint_of(checkout, ("sadetr.reporting.command",))
    assert after[0] == before[0]
    assert after[1] != before[1]


def test_looking_into_a_network_does_not_touch_training(checkout):
    before = fingerprint_of(checkout)
    for file in ("models/inspection.py", "nn/recording.py"):
        path = checkout / "sadetr" / file
        path.write_text(path.read_text() + "\nEXTRA = 1\n")
    assert fingerprint_of(checkout) == before


def test_the_authors_names_do_not_touch_training(checkout):
    roots = ("sadetr.training.run", "sadetr.models.qd_detr.model")
    before = fingerprint_of(checkout, roots)
    for file in ("models/qd_detr/official.py", "models/detr/official.py", "models/official.py", "parity/methods.py"):
        path = checkout / "sadetr" / file
        path.write_text(path.read_text() + "\nEXTRA = 1\n")
    assert fingerprint_of(checkout, roots) == before
    edit(checkout / "sadetr/models/detr/objective.py", "weights.l1 * l1", "2 * weights.l1 * l1")
    assert fingerprint_of(checkout, roots) != before


def test_what_a_workflow_keeps_of_sources_changes_no_fingerprint(checkout):
    before = fingerprint_of(checkout)
    (checkout / ".snakemake").mkdir()
    # Found and kept, then taken from there.
    assert fingerprint_of(checkout) == fingerprint_of(checkout) == before
    kept = sorted((checkout / ".snakemake/sadetr/sources").iterdir())
    assert "sadetr.losses.quality.json" in [file.name for file in kept]
    for file in kept[::2]:
        file.write_bytes(file.read_bytes()[:-9])
    path = checkout / "sadetr/losses/quality.py"
    edit(path, "import torch\n", "import torch  # a comment\n")
    assert fingerprint_of(checkout) == before
    edit(path, "1 + (matched_weight - 1)", "2 + (matched_weight - 1)")
    changed = fingerprint_of(checkout)
    shutil.rmtree(checkout / ".snakemake")
    assert fingerprint_of(checkout) == changed != before


def test_commit_is_a_hash_or_unknown():
    assert commit() == "unknown" or len(commit().removesuffix("-dirty")) == 40
