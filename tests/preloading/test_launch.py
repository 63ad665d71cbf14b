"""Preloading starts where it can, and nothing fails where it cannot; it ends with its starter, however that ends."""

import errno
import os
import socket
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from sadetr.preloading import client, launch

from .place import ROOT, await_until, is_running

# Starts a server that imports `probe` alone and a job, as Snakemake does, and says where the server is.
STARTER = """
import os, subprocess, sys, time
from pathlib import Path
from sadetr.preloading import client, launch
start = subprocess.Popen
subprocess.Popen = lambda words, **options: start([*words[:2], "serving", *words[3:]], **options)
server = launch.launch(Path("snakemake"))
job = ["bash", "-c", 'exec "$@" > out 2>&1', "bash", *launch.PYTHON, "-m", "job", "who", sys.argv[1]]
start(job, env=os.environ | launch.SETTLED)
print(server.pid, os.environ[client.VARIABLE], flush=True)
time.sleep(60)
"""

REMEMBERED = """
import sys
from sadetr.preloading.imports import Imports, needed
Imports(needed())
for name, module in list(sys.modules.items()):
    for value in vars(module).values() if name.partition(".")[0] == "sadetr" else ():
        if hasattr(value, "cache_info") and value.cache_info().currsize:
            print(value.__name__)
"""


@pytest.fixture
def variables(monkeypatch):
    """The variables of this process, which launching changes."""
    changed = {name: value for name, value in os.environ.items() if name != client.VARIABLE}
    monkeypatch.setattr(os, "environ", changed)
    return changed


@pytest.fixture
def servers(monkeypatch):
    """Everything that was launched; instead of a server, a process that writes its number to the log."""
    started, start = [], subprocess.Popen

    def stand_in(words, **options):
        started.append(start(["sh", "-c", "echo $$ >&2; cat"], **options))
        return started[-1]

    monkeypatch.setattr(subprocess, "Popen", stand_in)
    yield started
    for process in started:
        process.stdin.close()
        process.wait()


def no_room(**_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def no_process(*_, **__):
    raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))


@pytest.mark.parametrize(
    ("target", "attribute", "value", "message"),
    [
        (tempfile, "mkdtemp", no_room, "No space left"),
        (tempfile, "tempdir", None, "too long"),
        (subprocess, "Popen", no_process, "temporarily unavailable"),
    ],
    ids=["full", "long", "processes"],
)
def test_where_nothing_can_be_preloaded_the_log_says_why(
    tmp_path, monkeypatch, variables, target, attribute, value, message
):
    long = tmp_path / ("x" * 100)
    long.mkdir()
    monkeypatch.setattr(target, attribute, value or str(long))
    assert launch.launch(tmp_path / "snakemake") is None
    assert message in (tmp_path / "snakemake" / launch.LOG).read_text()
    # A job asks nobody, or finds nobody.
    with socket.socket(socket.AF_UNIX) as link:
        assert link.connect_ex(variables.get(client.VARIABLE, str(tmp_path / "nothing")))


def test_the_socket_is_in_a_folder_for_its_owner_alone(tmp_path, variables, servers):
    launch.launch(tmp_path)
    folder = Path(variables[client.VARIABLE]).parent
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert folder.stat().st_uid == os.getuid()


def test_of_two_in_one_folder_neither_takes_the_others_socket_or_log(tmp_path, variables, servers):
    log = tmp_path / launch.LOG
    log.write_text("of yesterday\n")
    addresses = []
    for _ in range(2):
        launch.launch(tmp_path)
        addresses.append(variables[client.VARIABLE])
    assert len(set(addresses)) == 2
    first, second = (str(process.pid) for process in servers)
    await_until(lambda: set(log.read_text().split()) == {first, second})
    for process in servers:
        process.stdin.close()
        process.wait()
    launch.launch(tmp_path)
    await_until(lambda: log.read_text().split() == [str(servers[-1].pid)])


def test_a_killed_starter_ends_its_server_and_no_job(place):
    code = "print('started', flush=True); time.sleep(1); print('finished')"
    command = [sys.executable, "-c", STARTER, code]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, cwd=place.folder, env=environment, stdout=subprocess.PIPE, text=True) as starter:
        server, address = starter.stdout.readline().split()
        assert place.job
        assert place.forked
        starter.kill()
    await_until(lambda: not is_running(int(server)))
    assert "finished" in (place.folder / "out").read_text()
    assert not Path(address).parent.exists()


def test_no_file_but_sources_is_remembered_when_jobs_begin():
    """Settings that are edited between two jobs are read again."""
    done = subprocess.run(
        [sys.executable, "-c", REMEMBERED],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    # Sources by their text, and where modules lie.
    assert set(done.stdout.split()) == {"_analysed", "_candidates", "_parent_folder"}
