"""What a preloaded process runs is as if it had a Python of its own; whatever could make a difference is refused."""

import os
import signal
import socket
import subprocess
import sys

import pytest

from sadetr.preloading import client
from sadetr.preloading.launch import PYTHON

from .place import PROBE, WAITING, await_until, is_running

pytestmark = [pytest.mark.long, pytest.mark.usefixtures("usual_signals")]
THREAD = "import threading, time\nthreading.Thread(target=time.sleep, args=[2], daemon=True).start()\n"


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


def test_ctrl_c_while_modules_are_imported_starts_no_job(place):
    place.server.stdin.close()
    place.server.wait(20)
    (place.folder / "probe.py").write_text(f"{PROBE}open('importing', 'w').close(); import time; time.sleep(60)\n")
    place.server = place.serve()
    job = place.start("print('ran')")
    await_until(lambda: (place.folder / "importing").exists() and (place.folder / "out").exists())
    for pid in (job.pid, place.server.pid):
        os.kill(pid, signal.SIGINT)
    assert job.wait(20) == -signal.SIGINT
    assert not place.has_begun
    assert place.server.wait(20) == -signal.SIGINT


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


@pytest.mark.parametrize("address", ["nothing", "probe.py", ".", "x" * 200])
def test_where_nobody_listens_a_job_starts_the_usual_way(place, address):
    place.variables[client.VARIABLE] = address
    assert place.run("print('ran'); sys.exit(5)") == (5, "ran\n")
    assert not place.forked


def test_a_socket_in_a_folder_of_others_is_none(place):
    # Who may do everything gives that up, or no folder would be closed to it.
    less = [f"--{kind}=-dac_override,-dac_read_search" for kind in ("bounding-set", "inh-caps")]
    lowered = ["setpriv", *less] if os.getuid() == 0 else []
    if lowered and subprocess.run([*lowered, "true"], capture_output=True, check=False).returncode:
        pytest.skip("setpriv cannot take these rights away here")
    assert place.run("pass", [*lowered, *PYTHON]) == (0, "")
    assert place.forked
    place.socket.parent.chmod(0)
    try:
        assert place.run("sys.exit(5)", [*lowered, *PYTHON])[0] == 5
    finally:
        place.socket.parent.chmod(0o700)
    assert not place.forked


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
