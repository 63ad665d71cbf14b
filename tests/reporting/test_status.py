"""How far the runs of a scale are, from what their folders hold."""

import io
import json
import platform
import re
import time
from dataclasses import replace

import filelock
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rich.console import Console
from typer.testing import CliRunner

from sadetr import progress
from sadetr.cli import app
from sadetr.configuration import load_scale
from sadetr.experiments import RunId
from sadetr.layout import Layout
from sadetr.progress import Progress
from sadetr.reporting.status import print_status, runs_of, status_of, time_left, total

RUN = RunId("qvhighlights", "sa_detr", "full", 2018)
OWN = RunId("charades_sta_vgg", "sa_detr", "full", 77)


@pytest.fixture
def layout(tmp_path) -> Layout:
    return Layout(load_scale("mini"), tmp_path / "results")


def reach(layout: Layout, run: RunId = RUN, **changes) -> Progress:
    values = {"epoch": 3, "epochs": 7, "seconds": 30.0, "metric": "val mAP", "best": 12.345, "device": "cpu (x86_64)"}
    reached = Progress(**values | {"machine": platform.node(), "time": time.time()} | changes)
    progress.write(layout.run(run).path, reached)
    return reached


def finish(
    layout: Layout, run: RunId, metrics: dict[str, list[float | None]], best: int, seconds: float = 70.0
) -> None:
    folder = layout.run(run)
    folder.path.mkdir(parents=True)
    epochs = len(next(iter(metrics.values())))
    pq.write_table(pa.table({"epoch": list(range(1, epochs + 1))} | metrics), folder.history)
    record = {"epochs": {"best": best, "last": epochs}, "train_seconds": seconds, "device": "cpu"}
    folder.provenance.write_text(json.dumps(record))


def log(layout: Layout, text: str, run: RunId = RUN):
    path = layout.folder / "logs/train" / f"{run.folder}.log"
    path.parent.mkdir(parents=True)
    path.write_text(text)
    return path


def test_all_runs_wait_in_an_empty_folder_and_others_are_added(layout):
    runs = runs_of(layout)
    assert len(runs) == 72
    assert {status_of(run, layout).state for run in runs} == {"waiting"}
    reach(layout, OWN)
    (layout.run(OWN).path.parent / "seed77.old").mkdir()
    assert runs_of(layout) == [*runs, OWN]


def test_a_finished_run_shows_the_best_value_of_its_rule(layout):
    finish(layout, RUN, {"val/mAP": [None, 30.0, 28.0]}, best=2)
    # The mean of two metrics on the split that the field selects on.
    finish(layout, OWN, {"test/R1@0.5": [50.0, 40.0], "test/R1@0.7": [30.0, 20.0]}, best=1)
    done, own = status_of(RUN, layout), status_of(OWN, layout)
    assert (done.state, done.epoch, done.epochs, done.metric, done.best) == ("done", 3, 3, "val mAP", 30.0)
    assert (own.metric, own.best, own.left) == ("test R1@0.5 & R1@0.7", 40.0, 0.0)
    layout.run(RUN).history.unlink()
    assert status_of(RUN, layout).best is None


def test_who_holds_the_lock_is_running_and_who_does_not_was_interrupted(layout):
    reached = reach(layout)
    interrupted = status_of(RUN, layout)
    assert (interrupted.state, interrupted.epoch, interrupted.best) == ("interrupted", 3, 12.345)
    # It comes no nearer to its end.
    assert interrupted.left == reached.left(reached.time) == 40.0
    lock = filelock.FileLock(layout.run(RUN).path / progress.LOCK)
    with lock:
        running = status_of(RUN, layout)
    assert (running.state, running.epoch, running.epochs) == ("running", 3, 7)
    assert running.left <= 40.0
    progress.remove(layout.run(RUN).path)
    layout.run(RUN).state.touch()
    assert (status_of(RUN, layout).state, status_of(RUN, layout).epoch) == ("interrupted", None)


def test_a_training_on_another_machine_runs_as_long_as_it_gives_signs_of_life(layout):
    reach(layout, machine="node7")
    assert (status_of(RUN, layout).state, status_of(RUN, layout).device) == ("running", "cpu (x86_64) on node7")
    reach(layout, machine="node7", time=time.time() - 3000)
    assert status_of(RUN, layout).state == "interrupted"
    reach(layout, machine="node7", time=time.time() - 3000, seconds=3 * 2000.0)
    assert status_of(RUN, layout).state == "running"


@pytest.mark.parametrize(
    ("text", "state"),
    [
        ("epoch 1/7\nerror: training diverged in epoch 2: moment is not finite.\n", "failed"),
        ("Traceback (most recent call last):\n  File x\nMemoryError\n", "failed"),
        ("epoch 1/7\nTraceback (most recent call last):\n  File x\nKeyboardInterrupt\n", "interrupted"),
        ("epoch 1/7\nepoch 2/7\n", "interrupted"),
        ("", "interrupted"),
    ],
)
def test_the_end_of_the_log_says_whether_it_failed(layout, text, state):
    path = log(layout, text)
    reach(layout)
    found = status_of(RUN, layout)
    assert (found.state, found.log) == (state, path if state == "failed" else None)


def test_time_left_is_of_the_own_kind_and_shared_by_those_that_run(layout):
    reach(layout)
    known = replace(status_of(RUN, layout), state="running", left=40.0)
    waiting = status_of(RunId("qvhighlights", "sa_detr", "full", 0), layout)
    other = status_of(OWN, layout)
    assert time_left([waiting, other]) is None
    assert "not known yet" in total([waiting])
    # Seven epochs of 10 s, eight of another kind of which nothing is known.
    assert time_left([known, waiting]) == 110.0
    assert time_left([known, replace(known, left=20.0), waiting, other]) == (40 + 20 + 70 + 80) / 2
    assert total([known, waiting]) == "2 runs: 1 running, 1 waiting; about 2 min of training left, 1 at a time"


def shown(layout: Layout, **console) -> list[str]:
    out = io.StringIO()
    print_status([status_of(run, layout) for run in runs_of(layout)], layout, Console(file=out, **console))
    return out.getvalue().splitlines()


def test_it_fits_a_narrow_terminal_and_is_plain_in_a_pipe(layout):
    finish(layout, RUN, {"val/mAP": [None, 30.0, 28.0]}, best=2)
    reach(layout, OWN, device="NVIDIA A100-SXM4-80GB MIG 1g.10gb", machine="a-node-with-a-long-name")
    narrow = shown(layout, width=80, force_terminal=True, color_system=None)
    assert max(map(len, narrow)) <= 80
    assert any(line.startswith("sa_detr/full/seed77 ") and "running" in line for line in narrow)
    piped = shown(layout)
    assert not any("\x1b" in line or "\r" in line for line in piped)
    assert any("30.00" in line and "done" in line for line in piped)
    assert piped[-1].startswith("73 runs: 1 done, 1 running, 71 waiting; about ")


def test_programs_read_json(layout, tmp_path):
    reach(layout)
    out = tmp_path / "status.json"
    done = CliRunner().invoke(app, ["status", "--results", str(layout.results), "--json", str(out)])
    assert done.exit_code == 0
    assert "interrupted" in done.output
    (found,) = (entry for entry in json.loads(out.read_text()) if entry["run"] == str(RUN))
    assert (found["state"], found["epoch"], found["epochs"], found["log"]) == ("interrupted", 3, 7, None)


def test_a_scale_with_real_data_needs_no_data_root(tmp_path):
    done = CliRunner().invoke(app, ["status", "--scale", "paper", "--results", str(tmp_path)])
    assert done.exit_code == 0
    assert re.search(r"(\d+) runs: \1 waiting; how long the rest takes is not known yet", done.output)
