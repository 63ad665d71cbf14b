"""Decoding in a process of its own: the same pictures, within limits, whatever the file and the process do."""

import os
import signal
import subprocess
import sys
import time
from fractions import Fraction

import numpy as np
import pytest

from sadetr.errors import DataError
from sadetr.extraction.decoding import SIZE, pictures, probe
from sadetr.serving import isolation
from sadetr.serving.isolation import IsolatedDecoding, Stopped
from sadetr.serving.limits import MIB, Limits
from sadetr.serving.wire import FACTS, FAULT, HEADER, PICTURE, receive
from tests.extraction.videos import write_sound, write_video
from tests.serving.conftest import write_large


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    return write_video(tmp_path_factory.mktemp("video") / "numbers.mp4", 60)


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def stand_in(monkeypatch, script: str) -> None:
    """Run ``script`` in place of the process that decodes."""
    start = subprocess.Popen

    def popen(command, **others):
        return start([sys.executable, "-c", script], **others)

    monkeypatch.setattr(isolation.subprocess, "Popen", popen)


def test_pictures_and_facts_are_those_of_decoding_here(video):
    here = probe(video)
    parts = []
    with IsolatedDecoding(video, Limits(), lambda number, part: parts.append((number, part))) as decoding:
        there = decoding.decoder.probe(video)
        assert there == here
        for rate in (Fraction(30), Fraction(1, 2)):
            expected = list(pictures(here, rate, 1.0))
            found = list(decoding.decoder.pictures(there, rate, 1.0))
            assert np.array_equal(found, expected)
            assert there == here
            assert there.duration == 2.0
        pid = decoding._process.pid
    assert gone(pid)
    assert parts[0] == (1, None)
    first = [part for number, part in parts[1:] if number == 1]
    assert first == sorted(first)
    assert first[-1] == parts[-1][1] == 1.0


def test_errors_are_those_of_decoding_here(tmp_path):
    text = tmp_path / "text.mp4"
    text.write_text("Dear diary, " * 100)
    cut = write_video(tmp_path / "cut.avi", 60)
    whole = cut.read_bytes()
    cut.write_bytes(whole[: len(whole) // 4])
    for path in (text, write_sound(tmp_path / "sound.mp4"), cut, tmp_path / "nothing.mp4"):
        with pytest.raises(DataError) as here:
            list(pictures(probe(path), Fraction(30)))
        with IsolatedDecoding(path, Limits()) as decoding, pytest.raises(DataError) as there:
            list(decoding.decoder.pictures(decoding.decoder.probe(path), Fraction(30), None))
        assert str(there.value) == str(here.value)


def test_too_much_memory_is_an_error_of_its_own(tmp_path):
    large = write_large(tmp_path / "large.mkv")
    limits = Limits(memory=400 * MIB)
    with IsolatedDecoding(large, limits) as decoding, pytest.raises(DataError, match="more than 400 MiB of memory"):
        list(decoding.decoder.pictures(decoding.decoder.probe(large), Fraction(30), None))


@pytest.mark.parametrize("script", ["while True: pass", "import time; time.sleep(600)"], ids=["busy", "idle"])
def test_a_decoder_that_never_ends_is_killed(video, monkeypatch, script):
    stand_in(monkeypatch, script)
    begin = time.monotonic()
    with IsolatedDecoding(video, Limits(time=1)) as decoding:
        with pytest.raises(DataError, match=r"numbers\.mp4: decoding takes longer than 1 second"):
            decoding.decoder.probe(video)
        pid = decoding._process.pid
    assert gone(pid)
    assert time.monotonic() - begin < 20


def test_processor_time_is_limited_by_the_system(video, monkeypatch):
    script = "import resource; resource.setrlimit(resource.RLIMIT_CPU, (1, 2))\nwhile True: pass"
    stand_in(monkeypatch, script)
    with IsolatedDecoding(video, Limits(time=60)) as decoding, pytest.raises(DataError, match="takes longer than"):
        decoding.decoder.probe(video)


def test_time_that_the_networks_take_does_not_count(video):
    with IsolatedDecoding(video, Limits(time=5)) as decoding:
        found = decoding.decoder.pictures(decoding.decoder.probe(video), Fraction(30), None)
        next(found)
        left = decoding._left
        time.sleep(1.5)
        next(found)
        assert left - decoding._left < 1


def test_the_whole_group_is_killed(video, monkeypatch, tmp_path):
    child = "import subprocess, sys, pathlib, time; other = subprocess.Popen(["
    child += "sys.executable, '-c', 'import time; time.sleep(600)']); "
    stand_in(
        monkeypatch, child + f"pathlib.Path({str(tmp_path / 'pid')!r}).write_text(str(other.pid)); time.sleep(600)"
    )
    with IsolatedDecoding(video, Limits(time=3)) as decoding, pytest.raises(DataError):
        decoding.decoder.probe(video)
    pid = int((tmp_path / "pid").read_text())
    end = time.monotonic() + 10
    while time.monotonic() < end and os.path.exists(f"/proc/{pid}") and not zombie(pid):
        time.sleep(0.05)
    assert not os.path.exists(f"/proc/{pid}") or zombie(pid)


def zombie(pid: int) -> bool:
    """Whether a process is dead and only waits for its parent to notice."""
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


FAR = "import sys, struct; out = sys.stdout.buffer; "


@pytest.mark.parametrize(
    "script",
    [
        "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)",
        "pass",
        FAR + "out.write(struct.pack('>cI', b'P', 1 << 31)); out.flush(); sys.stdin.read()",
        FAR + "out.write(struct.pack('>cI', b'X', 2) + b'{}'); out.flush(); sys.stdin.read()",
        FAR + "out.write(struct.pack('>cI', b'F', 2) + b'{}'); out.flush(); sys.stdin.read()",
        FAR + "out.write(struct.pack('>cI', b'F', 4) + b'\\x80\\x04N.'); out.flush(); sys.stdin.read()",
    ],
    ids=["crash", "nothing", "huge", "unknown", "no facts", "pickle"],
)
def test_what_is_no_message_is_a_crash(video, monkeypatch, script):
    stand_in(monkeypatch, script)
    with IsolatedDecoding(video, Limits(time=30)) as decoding, pytest.raises(DataError, match="the decoder crashed"):
        decoding.decoder.probe(video)


def test_messages_are_checked():
    def read_from(content: bytes):
        place = iter([content[: HEADER.size], content[HEADER.size :]])
        return lambda size: next(place)

    assert receive(read_from(HEADER.pack(PICTURE, SIZE * SIZE * 3) + b"\0" * SIZE * SIZE * 3))[0] == PICTURE
    for kind, content in ((PICTURE, b"\0"), (FACTS, b"[]"), (FAULT, b'{"kind": "other", "message": ""}')):
        with pytest.raises(ValueError, match=r".+"):
            receive(read_from(HEADER.pack(kind, len(content)) + content))


def test_a_longer_video_than_is_taken_is_refused(tmp_path, video):
    with IsolatedDecoding(video, Limits(duration=1.5)) as decoding, pytest.raises(DataError, match=r"longer than 1\.5"):
        decoding.decoder.probe(video)
    # Where nothing is announced, its pictures are counted.
    silent = write_video(tmp_path / "a.mkv", 60, live="1")
    assert probe(silent).announced is None
    with IsolatedDecoding(silent, Limits(duration=1.0)) as decoding:
        found = decoding.decoder.pictures(decoding.decoder.probe(silent), Fraction(30), None)
        with pytest.raises(DataError, match="longer than 1 second"):
            list(found)


def test_whoever_waits_is_told_that_it_was_stopped(video):
    with IsolatedDecoding(video, Limits()) as decoding:
        found = decoding.decoder.pictures(decoding.decoder.probe(video), Fraction(30), None)
        next(found)
        decoding.stop()
        with pytest.raises(Stopped):
            list(found)


def test_it_ends_with_its_parent(video):
    script = f"""
import os, sys
from pathlib import Path
from sadetr.serving.isolation import IsolatedDecoding
from sadetr.serving.limits import Limits
decoding = IsolatedDecoding(Path({str(video)!r}), Limits())
decoding.decoder.probe(Path({str(video)!r}))
print(decoding._process.pid, flush=True)
sys.stdin.read()
"""
    parent = subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    pid = int(parent.stdout.readline())
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    end = time.monotonic() + 10
    while time.monotonic() < end and not (gone(pid) or zombie(pid)):
        time.sleep(0.05)
    assert gone(pid) or zombie(pid)
    parent.stdin.close()
    parent.stdout.close()


def test_the_process_knows_little_and_may_write_nothing(video, monkeypatch, tmp_path):
    monkeypatch.setenv("SECRET_TOKEN", "hidden")
    with IsolatedDecoding(video, Limits(memory=1024 * MIB)) as decoding:
        decoding.decoder.probe(video)
        process = f"/proc/{decoding._process.pid}"
        with open(f"{process}/environ") as environ, open(f"{process}/limits") as limits:
            assert "SECRET_TOKEN" not in environ.read()
            kept = {line[:26].strip(): line[26:47].strip() for line in limits}
    assert kept["Max file size"] == kept["Max core file size"] == "0"
    assert kept["Max address space"] == str(1024 * MIB)
    assert kept["Max cpu time"] == "900"
