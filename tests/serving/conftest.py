"""A server of the page in a thread, with a small network of random weights or a stand-in, and videos to send."""

import http.client
import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np
import pytest

from sadetr.locating import Located, Window
from sadetr.locating.cache import VideoFeatures
from sadetr.serving.limits import Limits
from tests.locating.conftest import Studio, libraries, make_studio, one_thread, weights  # noqa: F401
from tests.locating.corpus import Event, write_events

EVENTS = (Event("red", 4, 10), Event("blue", 14, 20))
SECONDS = 24


@pytest.fixture(scope="session")
def clip_studio(tmp_path_factory, weights) -> Studio:  # noqa: F811
    """A network on CLIP's stream alone: SlowFast takes its time. Not to be changed."""
    return make_studio(tmp_path_factory.mktemp("clip_studio"), weights, 16, others="")


@pytest.fixture(scope="session")
def videos(tmp_path_factory) -> Path:
    """``shapes.webm``, which browsers play, and ``shapes.avi``, which they do not; not to be changed."""
    folder = tmp_path_factory.mktemp("videos")
    for name, codec in (("shapes.webm", "libvpx"), ("shapes.avi", "mpeg4")):
        write_events(folder / name, EVENTS, np.random.default_rng(4), SECONDS, codec)
    return folder


def write_large(path: Path) -> Path:
    """Two black frames of 33 MiB each, of which a codec keeps several."""
    av = pytest.importorskip("av", reason="PyAV is not installed (extra 'extract')")
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=30)
        stream.width = stream.height = 4800
        frame = av.VideoFrame(4800, 4800, "yuv420p")
        for plane in frame.planes:
            plane.update(bytes([128]) * plane.buffer_size)
        for number in range(2):
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


@dataclass
class StandIn:
    """In place of a predictor: decodes, answers at once and remembers what it was asked."""

    name: str = "a stand-in"
    label: str = ""
    streams: tuple[str, ...] = ("clip",)
    gate: threading.Event = field(default_factory=threading.Event)
    """Features are ready once it is set, as it is from the beginning."""
    pictures: int = 0

    def __post_init__(self) -> None:
        self.gate.set()

    def features(self, path: Path, decoder: Any) -> VideoFeatures:
        video = decoder.probe(path)
        for _ in decoder.pictures(video, video.frame_rate, None):
            self.pictures += 1
        self.gate.wait(30)
        return VideoFeatures({"clip": np.zeros((4, 2), np.float16)}, video.duration)

    def answer(self, video: str, features: VideoFeatures, sentences: list[str]) -> list[Located]:
        windows = (Window(2.0, 4.0, 0.75), Window(0.0, 4.0, 0.5))
        return [Located(video, each, 8.0, windows, np.array([1.0, 3.0, 0.0, 0.0]), 2.0) for each in sentences]


@dataclass
class Served:
    """A running server, and requests to it as they stand here."""

    port: int
    folder: Path
    """Of uploads."""
    predictor: Any

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    def request(
        self, method: str, path: str, body: Any = None, **headers: str
    ) -> tuple[http.client.HTTPResponse, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        try:
            connection.request(method, path, body, named)
            response = connection.getresponse()
            return response, response.read()
        finally:
            connection.close()

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
        """Status and JSON."""
        response, content = self.request(method, path, body, **headers)
        return response.status, json.loads(content) if content else None

    def send(self, file: Path, name: str = "") -> str:
        """Upload; returns the id."""
        status, told = self.ask("POST", f"/videos?name={name or file.name}", file.read_bytes())
        assert status == 201, told
        return told["id"]

    def sentence(self, video: str, sentence: Any) -> tuple[int, Any]:
        body = json.dumps({"sentence": sentence})
        return self.ask("POST", f"/videos/{video}/sentences", body, Content_Type="application/json")

    def told(self, video: str) -> dict[str, Any]:
        status, content = self.ask("GET", f"/videos/{video}")
        assert status == 200, content
        return content

    def settled(self, video: str) -> dict[str, Any]:
        """What is told once a video is read, or cannot be."""
        return until(lambda: (told := self.told(video))["state"] in ("ready", "failed") and told)


def until(condition: Callable[[], Any], seconds: float = 60) -> Any:
    """The condition's value once it is true."""
    end = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.02)
    return value


class Server:
    """Runs the page in a thread."""

    def __init__(self, predictor: Any, folder: Path, limits: Limits, hosts: tuple[str, ...] = ()):
        pytest.importorskip("starlette", reason="starlette is not installed (extra 'demo')")
        uvicorn = pytest.importorskip("uvicorn", reason="uvicorn is not installed (extra 'demo')")
        from sadetr.serving.application import make_application
        from sadetr.serving.command import configuration, listen

        self._socket = listen("127.0.0.1", 0)
        self._server = uvicorn.Server(configuration(make_application(predictor, limits, folder, hosts)))
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [self._socket]})
        self.served = Served(self._socket.getsockname()[1], folder, predictor)

    def __enter__(self) -> Self:
        self._thread.start()
        until(lambda: self._server.started)
        return self

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = True
        self._thread.join(30)
        assert not self._thread.is_alive()


@pytest.fixture
def serving(tmp_path) -> Iterator[Callable[..., Served]]:
    """Starts servers with a stand-in: ``serving(upload=1000)``."""
    running: list[Server] = []

    def start(predictor: Any = None, hosts: tuple[str, ...] = (), **limits: Any) -> Served:
        folder = tmp_path / f"uploads{len(running)}"
        folder.mkdir()
        server = Server(predictor or StandIn(), folder, Limits(**limits), hosts)
        running.append(server.__enter__())
        return server.served

    yield start
    for server in running:
        server.served.predictor.gate.set()
        server.__exit__()
