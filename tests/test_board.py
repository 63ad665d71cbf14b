"""What the logger plugin counts and says, without Snakemake."""

import io
from pathlib import Path
from types import SimpleNamespace

import pytest

from sadetr import progress
from sadetr.progress import Progress
from snakemake_logger_plugin_sadetr import board as board_module
from snakemake_logger_plugin_sadetr.board import SHOWN_LINES, Board, Job, last_lines, read_verdict, status
from snakemake_logger_plugin_sadetr.display import SILENCE, Lines, make_display


@pytest.fixture
def clock(monkeypatch) -> SimpleNamespace:
    """A clock that stands still until it is set; the files' own one with it."""
    now = SimpleNamespace(value=1000.0)
    fake = SimpleNamespace(monotonic=lambda: now.value, time=lambda: now.value)
    monkeypatch.setattr(board_module, "time", fake)
    monkeypatch.setattr(progress, "time", fake)
    return now


def job(number: int, rule: str = "train", subject: str = "a", folder: Path = Path("nowhere"), log: str = "") -> Job:
    record = SimpleNamespace(
        jobid=number,
        rule_name=rule,
        wildcards={"run": subject},
        output=[str(folder / "provenance.json")],
        log=[log] if log else [],
        shellcmd="python",
    )
    return Job.of(record)


def reach(folder: Path, epoch: int, seconds: float, best: float | None = None) -> None:
    progress.write(folder, Progress(epoch, 10, seconds, "val mAP", best, "cpu", "here", progress.time.time()))


def test_time_left_follows_from_what_runs_then_from_what_is_done(tmp_path, clock):
    board = Board()
    board.planned({"train": 5, "table": 1, "total": 6})
    board.started(job(1, folder=tmp_path))
    assert board.left() is None
    reach(tmp_path, 2, 20.0)
    clock.value += 20
    # Eight epochs of 10 s of this one, of which the third is over by its length, and four others of the same length.
    own = 80 - 10
    assert board.left() == own + 4 * (20 + own)
    board.started(job(2, subject="b"))
    # Two at a time; nothing is known of the second.
    assert board.left() == (own + 4 * (20 + own)) / 2
    clock.value += 40
    board.finished(1)
    # One took 60 s: one runs, three wait.
    assert board.left() == (1 + 3) * 60 / 2
    board.failed(2, job(2, subject="b"), with_log=False)
    assert board.left() == 3 * 60 / 2


def test_lines_count_steps_and_trainings(clock):
    board = Board()
    assert board.planned({"train": 2, "total": 10}) == "10 steps to do, 2 trainings among them"
    assert board.planned({"table": 1, "total": 1}) == "1 step to do"
    board.planned({"train": 2, "total": 10})
    board.started(job(4, "table", "table4"))
    assert board.finished(4) == "[ 1/10] table table4: done in 0 s"
    board.started(job(5))
    clock.value += 200
    assert board.finished(5) == "[ 2/10] train a: done in 3 min; 1 of 2 trainings, about 3 min of training left"
    assert board.finished(77) is None
    # A preparation found out that less is to be done.
    board.counted(3, 4)
    board.started(job(6, subject="b"))
    assert board.finished(6) == "[4/4] train b: done in 0 s; 2 of 2 trainings"


def test_a_job_says_how_far_it_is(tmp_path, clock):
    started = job(1, folder=tmp_path)
    clock.value += 30
    assert status(started) == ("", "30 s so far", "")
    reach(tmp_path, 0, 0.0)
    assert status(started) == ("epoch 1/10", "", "")
    reach(tmp_path, 9, 9 * 70.0, best=12.3)
    assert status(started) == ("epoch 10/10", "70 s left", "val mAP 12.30")
    reach(tmp_path, 10, 700.0, best=12.3)
    assert status(started) == ("10 epochs", "predicting", "val mAP 12.30")
    # Of another rule such a file says nothing.
    assert status(job(2, "evaluate", folder=tmp_path))[0] == ""


def test_a_failure_is_told_once_with_its_log_and_then_in_short(tmp_path):
    board, log = Board(), tmp_path / "a.log"
    log.write_text("".join(f"line {number}\n" for number in range(100)))
    failed = job(3, log=str(log))
    board.started(failed)
    lines = board.failed(3, failed, with_log=True)
    assert lines[:2] == ["Error in rule train: a", f"    log: {log}"]
    assert len(lines) == 2 + SHOWN_LINES
    assert lines[-1] == "    | line 99"
    assert board.failed(3, failed, with_log=True) == [f"failed: train a: {log}"]
    # Started once more, and failed again.
    board.started(failed)
    assert board.broken == {}
    assert board.failed(3, failed, with_log=False) == lines[:2]


def test_a_log_that_is_not_there_or_empty_says_so(tmp_path):
    assert last_lines(tmp_path / "none.log") == ["(No such file or directory)"]
    (tmp_path / "empty.log").touch()
    assert last_lines(tmp_path / "empty.log") == ["(empty)"]
    (tmp_path / "bytes.log").write_bytes(b"\xff\xfe\n")
    assert len(last_lines(tmp_path / "bytes.log")) == 1


@pytest.mark.parametrize("text", [None, "", "experiment,row\ntable4,a\n", "experiment,verdict\n"])
def test_without_verdicts_nothing_is_said(tmp_path, text):
    path = tmp_path / "comparison.csv"
    if text is not None:
        path.write_text(text)
    assert read_verdict(path) is None


def test_the_last_verdict_is_found_by_the_logs_of_what_runs(tmp_path):
    (tmp_path / "comparison.csv").write_text("row,verdict\na,below\nb,missing\nc,below\n")
    board = Board()
    assert board.verdict() is None
    board.started(job(1, log=str(tmp_path / "logs/train/x/y.log")))
    assert board.verdict() == "3 cells: 2 below, 1 missing"


def test_a_log_tells_of_a_job_when_it_is_in_another_epoch_or_after_a_long_silence(tmp_path, clock, monkeypatch):
    monkeypatch.setattr("snakemake_logger_plugin_sadetr.display.time.monotonic", lambda: clock.value)
    out = io.StringIO()
    lines, started = Lines(Board(), out, with_logs=True), job(1, folder=tmp_path)

    def told() -> list[str]:
        lines._tell(started)
        text, _, _ = out.getvalue(), out.seek(0), out.truncate()
        return [line.partition(" ")[2] for line in text.splitlines()]

    assert told() == []
    reach(tmp_path, 1, 50.0)
    assert told() == ["train a: epoch 2/10, 8 min left"]
    assert told() == []
    reach(tmp_path, 2, 100.0, best=7.0)
    assert told() == ["train a: epoch 3/10, 7 min left, val mAP 7.00"]
    clock.value += SILENCE
    assert told() == ["train a: epoch 3/10, 6 min left, val mAP 7.00"]
    lines.close()


def test_a_log_is_no_terminal_whatever_variables_say(monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    out = io.StringIO()
    display = make_display(Board(), out, False, True)
    display.planned({"train": 1, "total": 2})
    display.close()
    assert out.getvalue()[8:] == " 2 steps to do, 1 training among them\n"
