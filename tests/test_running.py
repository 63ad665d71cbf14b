"""Locks of dead Snakemake processes go, those of living ones stay."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from sadetr import running

ROOT = Path(__file__).parents[1]
HOLD = "import sys; from pathlib import Path; from sadetr import running; running.register(Path(sys.argv[1]))"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(running, "_held", {})
    yield tmp_path / ".snakemake"
    for descriptor in running._held.values():
        os.close(descriptor)


def locks(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "locks").glob("*"))


def lock(folder: Path) -> None:
    """Lock a folder as Snakemake does it."""
    (folder / "locks").mkdir(parents=True, exist_ok=True)
    for kind in ("input", "output"):
        (folder / "locks" / f"0.{kind}.lock").write_text("results/mini/metrics.parquet\n")


@pytest.fixture
def other(folder):
    """Another process that registered, locked its files, and goes on."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", f"{HOLD}; print('registered', flush=True); sys.stdin.read()", str(folder)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, env=environment, **pipes) as process:
        assert process.stdout.readline() == "registered\n"
        lock(folder)
        yield process
        process.kill()


def test_locks_of_a_killed_process_are_removed(folder, other, capsys):
    os.kill(other.pid, signal.SIGKILL)
    other.wait()
    running.register(folder)
    assert locks(folder) == []
    assert "removed the locks of a Snakemake that was killed" in capsys.readouterr().err


def test_locks_of_a_living_process_stay(folder, other, capsys):
    running.register(folder)
    assert locks(folder) == ["0.input.lock", "0.output.lock"]
    assert capsys.readouterr().err == ""


def test_a_process_that_joins_a_living_one_protects_its_own_locks(folder, other):
    """The first ends, the second goes on: a third is not alone."""
    running.register(folder)
    other.kill()
    other.wait()
    command = [sys.executable, "-c", HOLD, str(folder)]
    subprocess.run(command, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=True)
    assert locks(folder) == ["0.input.lock", "0.output.lock"]


def test_locks_that_may_be_another_machines_stay(folder, monkeypatch):
    lock(folder)
    (folder / "running").write_text("another-machine\n")
    running.register(folder)
    assert locks(folder) == ["0.input.lock", "0.output.lock"]
    # Nor are those removed of which nothing is known.
    monkeypatch.setattr(running, "_held", {})
    (folder / "running").unlink()
    running.register(folder)
    assert len(locks(folder)) == 2


def test_machines_are_forgotten_once_nothing_is_locked(folder, monkeypatch):
    folder.mkdir()
    (folder / "running").write_text("another-machine\n")
    running.register(folder)
    assert (folder / "running").read_text() == running.platform.node() + "\n"


def test_a_folder_that_cannot_be_written_changes_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(running, "_held", {})
    (tmp_path / "file").touch()
    running.register(tmp_path / "file" / ".snakemake")
    assert running._held == {}
