"""What a preloaded process runs is as if it had a Python of its own; whatever could make a difference is refused."""

import os
import shlex
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sadetr.preloading import client
from sadetr.preloading.launch import PYTHON, listening

ROOT = Path(__file__).parents[2]
SERVE = """
import sys
from sadetr.preloading.server import serve
serve(int(sys.argv[1]), ["probe"])
"""
# What a job does, and where it says who ran it: the process that has imported `probe` has its number there.
JOB = """
import atexit, os, signal, subprocess, sys, time
import probe
from pathlib import Path
Path(sys.argv[1]).write_text(f"{os.getpid()} {os.getpid() != probe.IMPORTED_BY}")
exec(sys.argv[2])
"""
PROBE = "import os\nIMPORTED_BY = os.getpid()\n"
THREAD = "import threading, time\nthreading.Thread(target=time.sleep, args=[2], daemon=True).start()\n"
WAITING = "print('started', flush=True); time.sleep(60)"


class Place:
    """A folder with a server, where jobs are started as Snakemake starts them: by a shell."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        (folder / "probe.py").write_text(PROBE)
        (folder / "job.py").write_text(JOB)
        (folder / "serving.py").write_text(SERVE)
        self.socket = folder.parent / "place" / "jobs"
        self.variables = {**os.environ, "PYTHONPATH": str(ROOT), client.VARIABLE: str(self.socket), "HUE": "red"}
        self.server = self.serve()
        self._started: list[subprocess.Popen] = []

    def serve(self, stderr=None) -> subprocess.Popen:
        """Start a server with standard error ``stderr``, by default its log; it hears at once."""
        self.socket.parent.mkdir()
        with open(self.folder / "server.log", "w") as log, listening(self.socket) as listener:
            return subprocess.Popen(
                [sys.executable, "-m", "serving", str(listener.fileno())],
                cwd=self.folder,
                env=self.variables,
                stdin=subprocess.PIPE,
                stderr=stderr or log,
                pass_fds=[listener.fileno()],
                text=True,
            )

    def start(self, code: str, python: list[str] = PYTHON, shell: str = "{} > out 2>&1", **options) -> subprocess.Popen:
        """Start a job that executes ``code``."""
        command = ["bash", "-c", shell.replace("{}", "exec " + shlex.join([*python, "-m", "job", "who", code]))]
        process = subprocess.Popen(command, **{"cwd": self.folder, "env": self.variables, **options})
        self._started.append(process)
        return process

    def run(self, code: str, python: list[str] = PYTHON, **options) -> tuple[int, str]:
        """Exit code and output of a job."""
        (self.folder / "who").unlink(missing_ok=True)
        status = self.start(code, python, **options).wait(30)
        return status, (self.folder / "out").read_text()

    @property
    def forked(self) -> bool:
        """Whether the last job was run by the server."""
        return (self.folder / "who").read_text().split()[1] == "True"

    @property
    def job(self) -> int:
        """The process that runs the last job."""
        await_until(lambda: len((self.folder / "who").read_text().split()) == 2 if self.has_begun else False)
        return int((self.folder / "who").read_text().split()[0])

    @property
    def has_begun(self) -> bool:
        return (self.folder / "who").exists()

    def close(self) -> None:
        for process in [*self._started, self.server]:
            if process.poll() is None:
                process.kill()
            process.wait()


def await_until(condition, seconds: float = 20) -> None:
    limit = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < limit
        time.sleep(0.02)


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.fixture
def place(tmp_path):
    created = Place(tmp_path / "with blanks")
    yield created
    created.close()


def test_a_job_is_forked_and_starts_as_any_other(place):
    said = (
        "print(sys.argv, __name__, os.getcwd(), sys.path[0], "
        "sorted(item for item in os.environ.items() if item[0] != '_'), "
        "oct(os.umask(0)), sys.stdout.line_buffering, sys.stdin.read(), "
        "[str(signal.getsignal(number)) for number in (2, 15, 17)], os.listdir('/proc/self/task').__len__()); "
        "sys.stderr.write('error output'); atexit.register(print, 'at exit')"
    )
    shell = "umask 027; export TMPDIR=/var/tmp; echo input | {} > out 2>&1"
    assert place.run(said, [sys.executable], shell=shell)[0] == 0
    assert not place.forked
    usual = (place.folder / "out").read_text()
    assert place.run(said, shell=shell) == (0, usual)
    assert place.forked
    assert "at exit" in usual
    assert oct(0o027) in usual


@pytest.mark.parametrize(
    "code",
    [
        "sys.exit(0)",
        "sys.exit(3)",
        "sys.exit('a message')",
        "1 / 0",
        "os._exit(7)",
        "os.kill(os.getpid(), 15)",
        "os.kill(os.getpid(), 9)",
    ],
)
def test_a_job_ends_as_any_other(place, code):
    status, said = place.run(code)
    assert place.forked
    usual, words = place.run(code, [sys.executable])
    assert (status, said.splitlines()[-1:]) == (usual, words.splitlines()[-1:])


def test_jobs_run_side_by_side(place):
    jobs = []
    for number in range(8):
        code = f"time.sleep(0.5); Path('done{number}').touch(); sys.exit({number})"
        jobs.append(place.start(code, shell=f"{{}} > out{number} 2>&1"))
    assert [job.wait(30) for job in jobs] == list(range(8))
    assert all((place.folder / f"done{number}").exists() for number in range(8))


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_reaches_the_job(place, signum):
    code = f"signal.signal({int(signum)}, lambda *_: sys.exit(40)); {WAITING}"
    process = place.start(code)
    await_until(lambda: place.has_begun and "started" in (place.folder / "out").read_text())
    process.send_signal(signum)
    assert process.wait(20) == 40


def test_ctrl_c_interrupts_a_job_once(place):
    code = (
        "import itertools; counted = itertools.count(1); "
        "signal.signal(2, lambda *_: print('interrupt', next(counted), flush=True)); print('started', flush=True); "
        "time.sleep(0.5); time.sleep(1)"
    )
    job = place.start(code)
    await_until(lambda: place.has_begun and "started" in (place.folder / "out").read_text())
    # To all of the group at once, as a terminal does it; not to the group of the tests.
    for pid in (place.server.pid, job.pid, place.job):
        os.kill(pid, signal.SIGINT)
    assert job.wait(20) == 0
    assert (place.folder / "out").read_text().count("interrupt") == 1


def test_a_killed_client_takes_its_job_along(place):
    process = place.start(WAITING)
    job = place.job
    assert place.forked
    process.kill()
    await_until(lambda: not is_running(job))
    assert place.run("sys.exit(5)")[0] == 5
    assert place.forked


def test_a_killed_job_ends_its_client(place):
    process = place.start(WAITING)
    os.kill(place.job, signal.SIGKILL)
    assert process.wait(20) == -signal.SIGKILL


def test_a_killed_server_takes_its_jobs_along_and_later_ones_start_the_usual_way(place):
    process = place.start(WAITING)
    job = place.job
    place.server.kill()
    assert process.wait(20) == -signal.SIGKILL
    await_until(lambda: not is_running(job))
    assert "start the same command again" in (place.folder / "out").read_text()
    assert place.run("sys.exit(5)")[0] == 5
    assert not place.forked


def test_the_server_ends_with_whoever_started_it_and_its_jobs_go_on(place):
    process = place.start("time.sleep(1); print('finished')")
    assert place.job
    place.server.stdin.close()
    assert process.wait(20) == 0
    assert "finished" in (place.folder / "out").read_text()
    assert place.server.wait(20) == 0
    assert not place.socket.parent.exists()
    assert place.run("sys.exit(5)")[0] == 5
    assert not place.forked


def test_an_edited_module_is_imported_again(place):
    probe = place.folder / "probe.py"
    assert place.run("pass")[0] == 0
    assert place.forked
    status = probe.stat()
    probe.write_text(PROBE.replace("pid", "pid "))
    os.utime(probe, ns=(status.st_atime_ns, status.st_mtime_ns))
    place.run("pass")
    assert not place.forked
    assert "was changed" in (place.folder / "server.log").read_text()


@pytest.mark.parametrize(
    ("shell", "options"),
    [
        ("export HUE=blue; {} > out 2>&1", {}),
        ("unset HUE; {} > out 2>&1", {}),
        ("export OMP_NUM_THREADS=7; {} > out 2>&1", {}),
        ("ulimit -n 100; {} > out 2>&1", {}),
        ("trap '' HUP; {} > out 2>&1", {}),
        ("{} > out 2>&1 <&-", {}),
        ("{} > out 2>&1", {"start_new_session": True}),
        ("mkdir below; cp *.py below; cd below; ({} > ../out 2>&1); cp who ..", {}),
    ],
    ids=["variable", "unset", "threads", "limit", "ignored", "closed", "session", "folder"],
)
def test_other_surroundings_are_refused(place, shell, options):
    place.run("print('ran')", shell=shell, **options)
    assert not place.forked
    assert "ran" in (place.folder / "out").read_text()


def test_another_priority_is_refused(place):
    if os.getpriority(os.PRIO_PROCESS, 0) >= 19:
        pytest.skip("runs at the lowest priority already")
    place.run("pass", preexec_fn=lambda: os.nice(1))
    assert not place.forked


def test_what_is_no_request_harms_nobody(place):
    for content in (b"", b"\0" * 8, b"nonsense that is longer than a length"):
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as link:
            link.connect(str(place.socket))
            link.send(content)
    assert place.run("sys.exit(5)")[0] == 5
    assert place.forked


def test_a_server_with_threads_serves_nobody(place):
    place.server.stdin.close()
    place.server.wait(20)
    (place.folder / "probe.py").write_text(PROBE + THREAD)
    place.server = place.serve(subprocess.PIPE)
    assert "1 threads" in place.server.stderr.read()
    assert place.run("pass")[0] == 0
    assert not place.forked
