"""``python -m sadetr serve`` as a process: its address, its end, and what a killed one leaves."""

import os
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from sadetr.cli import serving as subcommand
from sadetr.cli.options import app
from sadetr.errors import ResultsError, SettingsError
from sadetr.serving.folder import upload_folder
from tests.locating.conftest import RUN, Studio
from tests.serving.conftest import Served, until

pytest.importorskip("uvicorn", reason="uvicorn is not installed (extra 'demo')")
pytestmark = [pytest.mark.long, pytest.mark.usefixtures("usual_signals")]


def words(studio: Studio, *others: object) -> list[str]:
    options = ["--run", RUN, "--clip-weights", studio.weights / "clip.pt", "--bpe", studio.weights / "words.txt.gz"]
    options += ["--other-weights", "--device", "cpu", "--scale", studio.scale, "--results", studio.results]
    return ["serve", *map(str, [*options, *others])]


@pytest.fixture
def start(clip_studio, tmp_path) -> Iterator[Callable[[], tuple[subprocess.Popen, Served]]]:
    """Starts the command, with ``tmp_path`` for temporary files, and returns it once it serves."""
    running = []

    def start() -> tuple[subprocess.Popen, Served]:
        before = set(tmp_path.iterdir())
        command = [sys.executable, "-m", "sadetr", *words(clip_studio, "--port", 0)]
        environment = {**os.environ, "TMPDIR": str(tmp_path), "OMP_NUM_THREADS": "1"}
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
        running.append(process)
        name, address = process.stdout.readline(), process.stdout.readline()
        assert name.startswith(str(RUN)), process.stderr.read()
        assert address.startswith("http://127.0.0.1:")
        (folder,) = set(tmp_path.glob("sadetr-serve-*")) - before
        return process, Served(int(address.split()[0].rpartition(":")[2].strip("/")), folder, None)

    yield start
    for process in running:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_uploads_are_deleted_when_it_is_told_to_end(start, videos, number):
    process, served = start()
    assert served.folder.stat().st_mode & 0o077 == 0
    video = served.send(videos / "shapes.webm")
    assert served.settled(video)["state"] == "ready"
    assert served.sentence(video, "the red thing")[0] == 200
    assert len(list(served.folder.iterdir())) == 1
    process.send_signal(number)
    _, errors = process.communicate(timeout=30)
    assert not served.folder.exists()
    assert process.returncode == (0 if number == signal.SIGINT else 128 + signal.SIGTERM)
    assert errors == ""


def test_it_ends_while_a_video_is_read(start, videos):
    process, served = start()
    served.send(videos / "shapes.webm")
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=30)
    assert not served.folder.exists()


def test_what_a_killed_one_leaves_the_next_one_removes(start, videos):
    process, served = start()
    served.send(videos / "shapes.webm")
    process.kill()
    process.wait()
    assert len(list(served.folder.iterdir())) == 1
    _, other = start()
    assert not served.folder.exists()
    assert other.folder.exists()
    # Those of a server that runs stay.
    start()
    assert other.folder.exists()
    other.send(videos / "shapes.webm")


def test_it_listens_on_this_machine_alone(start):
    _, served = start()
    with urllib.request.urlopen(f"http://{served.host}/") as page:
        assert b"Moments of a video" in page.read()
    listening = Path("/proc/net/tcp").read_text().splitlines()
    port = f":{served.port:04X} "
    assert [line.split()[1] for line in listening if port in line and " 0A " in line] == [f"0100007F:{served.port:04X}"]


def invoke(*arguments: str):
    # The handlers of signals stay those of the tests.
    kept = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        return CliRunner().invoke(app, list(arguments))
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)


def test_what_is_refused(clip_studio, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        found = invoke(*words(clip_studio, "--port", port)).exception
    assert isinstance(found, SettingsError)
    assert f"127.0.0.1, port {port}: cannot be listened on (Address already in use)" in str(found)
    found = invoke(*words(clip_studio, "--host", "name.invalid")).exception
    assert isinstance(found, SettingsError)
    assert "name.invalid, port 8000: cannot be listened on" in str(found)
    assert "say which network answers" in str(invoke("serve").exception)
    assert "--setting does nothing here" in str(invoke(*words(clip_studio, "--setting", "tacos")).exception)
    monkeypatch.setattr(subcommand, "find_spec", lambda name: None)
    assert "of the optional extra 'demo'" in str(invoke(*words(clip_studio)).exception)


def test_a_folder_of_somebody_else_is_no_leftover(tmp_path, monkeypatch):
    other = tmp_path / f"sadetr-serve-{os.getuid()}-other"
    other.mkdir()
    (tmp_path / f"sadetr-serve-{os.getuid()}-link").symlink_to(tmp_path)
    stat = Path.stat

    def of_other(path, **options):
        found = stat(path, **options)
        return os.stat_result((*found[:4], found.st_uid + 1, *found[5:])) if path == other else found

    monkeypatch.setattr(Path, "stat", of_other)
    with upload_folder(tmp_path) as folder:
        assert folder.is_dir()
        assert other.is_dir()
    monkeypatch.undo()
    assert other.is_dir()
    assert not folder.exists()
    with upload_folder(tmp_path):
        assert not other.exists()
    assert tmp_path.is_dir()


def test_no_folder_for_uploads_is_one_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ResultsError, match="name another one with TMPDIR"), upload_folder(tmp_path / "file"):
        pass


def test_ends_of_a_forced_kind_delete_too(start, videos):
    process, served = start()
    served.send(videos / "shapes.webm")
    for _ in range(2):
        process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    until(lambda: not served.folder.exists(), 5)
