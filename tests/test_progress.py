"""The file that says how far a training is."""

import subprocess
import sys
from dataclasses import replace

import filelock
import pytest

from sadetr import progress
from sadetr.progress import Progress, duration

REACHED = Progress(
    epoch=4, epochs=10, seconds=80.0, metric="val mAP", best=12.5, device="cpu", machine="here", time=1000.0
)


def test_what_is_written_is_read(tmp_path):
    progress.write(tmp_path / "run", REACHED)
    assert progress.read(tmp_path / "run") == REACHED
    assert [path.name for path in (tmp_path / "run").iterdir()] == [progress.FILE]
    progress.remove(tmp_path / "run")
    progress.remove(tmp_path / "run")
    assert progress.read(tmp_path / "run") is None


@pytest.mark.parametrize("text", ["", "{", "[]", "3", '{"epoch": 1}', '{"of_another_version": 1}'])
def test_a_file_that_says_nothing_is_no_progress(tmp_path, text):
    (tmp_path / progress.FILE).write_text(text)
    assert progress.read(tmp_path) is None


def test_time_left_follows_from_the_finished_epochs():
    # Six epochs of 20 s.
    assert REACHED.left(now=1000.0) == 120.0
    assert REACHED.left(now=1005.0) == 115.0
    # A clock of another machine that is behind.
    assert REACHED.left(now=900.0) == 120.0
    # The fifth epoch takes long, or nobody trains any more.
    assert REACHED.left(now=5000.0) == 100.0
    assert replace(REACHED, epoch=10).left(now=5000.0) == 0.0
    assert replace(REACHED, epoch=0, seconds=0.0).left() is None


def test_a_training_is_alive_as_long_as_it_holds_its_lock(tmp_path):
    assert not progress.is_alive(tmp_path)
    with filelock.FileLock(tmp_path / progress.LOCK):
        assert progress.is_alive(tmp_path)
        # Looking does not take it away.
        assert progress.is_alive(tmp_path)
    assert not progress.is_alive(tmp_path)
    code = "import filelock, sys; lock = filelock.FileLock(sys.argv[1]); lock.acquire(); print('held', flush=True)"
    code += "; sys.stdin.read()"
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path / progress.LOCK)], **pipes) as process:
        assert process.stdout.readline() == "held\n"
        assert progress.is_alive(tmp_path)
        process.kill()
    assert not progress.is_alive(tmp_path)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (89.4, "89 s"),
        (90, "2 min"),
        (3569, "59 min"),
        (3590, "1 h 00 min"),
        (3900, "1 h 05 min"),
        (47 * 3600, "47 h 00 min"),
        (51 * 3600, "2 d 03 h"),
    ],
)
def test_durations_read_well(seconds, text):
    assert duration(seconds) == text
