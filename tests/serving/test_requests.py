"""Requests as browsers and others send them: what is taken, told, refused and deleted."""

import contextlib
import json
import re
import socket
import time
from pathlib import Path

import numpy as np
import pytest

from sadetr.serving.containers import media_type
from sadetr.serving.limits import AWAY, MIB
from tests.extraction.videos import write_video
from tests.serving.conftest import SECONDS, Served, StandIn, until, write_large

GONE = "this video is not here any more"


@pytest.fixture
def uploads():
    return pytest.importorskip("sadetr.serving.uploads", reason="starlette is not installed (extra 'demo')")


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> Path:
    return write_video(tmp_path_factory.mktemp("small") / "small.mp4", 30)


def held(served: Served) -> list[Path]:
    return list(served.folder.iterdir())


def sizes(served: Served) -> list[int]:
    """Bytes of what is held; of each file as it is found, since it may go meanwhile."""
    found = []
    for path in held(served):
        with contextlib.suppress(FileNotFoundError):
            found.append(path.stat().st_size)
    return found


def raw(served: Served, head: str, *bodies: bytes, wait: float = 0.0) -> tuple[int, str]:
    """Status and text of the answer to a request that is written by hand."""
    with socket.create_connection(("127.0.0.1", served.port), timeout=30) as connection:
        connection.sendall(head.replace("\n", "\r\n").encode())
        for body in bodies:
            try:
                connection.sendall(body)
            except OSError:
                break
            time.sleep(wait)
        answer = b""
        # A server that answers before it has read everything resets the connection after its answer.
        with contextlib.suppress(ConnectionResetError):
            while part := connection.recv(1 << 16):
                answer += part
    return int(answer.split()[1]), answer.decode("utf-8", "replace")


def head(served: Served, path: str, *others: str) -> str:
    return "\n".join([f"POST {path} HTTP/1.1", f"Host: {served.host}", "Connection: close", *others, "", ""])


def chunked(content: bytes) -> bytes:
    return f"{len(content):x}\r\n".encode() + content + b"\r\n"


class TestAVideo:
    def test_is_read_asked_shown_and_removed(self, serving, clip_studio, videos):
        predictor = clip_studio.load()
        served = serving(Ungated(predictor))
        video = served.send(videos / "shapes.webm")
        told = served.settled(video)
        assert (told["state"], told["name"], told["type"]) == ("ready", "shapes.webm", "video/webm")
        assert told["duration"] == pytest.approx(SECONDS)
        # Answers are those of the Python interface, which decodes in its own process.
        (expected,) = predictor.locate(videos / "shapes.webm", "the red thing")
        status, found = served.sentence(video, " the red thing\n")
        assert status == 200
        for window in found["windows"]:
            assert window.pop("saliency") is not None
        assert found.pop("edges") == expected.edges.tolist()
        assert found == {**expected.as_json(), "video": "shapes.webm"}
        assert served.ask("DELETE", f"/videos/{video}")[0] == 204
        assert held(served) == []
        for method, path in (("GET", ""), ("GET", "/file"), ("POST", "/leaving")):
            status, told = served.ask(method, f"/videos/{video}{path}")
            assert status == 404
            assert GONE in told["error"]
        assert served.sentence(video, "the")[0] == 404

    def test_is_sent_whole_and_in_parts(self, serving, small):
        served = serving()
        video = served.send(small)
        content = small.read_bytes()
        response, body = served.request("GET", f"/videos/{video}/file")
        assert (response.status, body) == (200, content)
        assert response.headers["accept-ranges"] == "bytes"
        assert response.headers["content-type"] == "video/mp4"
        response, body = served.request("GET", f"/videos/{video}/file", Range="bytes=100-299")
        assert (response.status, body) == (206, content[100:300])
        assert response.headers["content-range"] == f"bytes 100-299/{len(content)}"
        assert served.request("GET", f"/videos/{video}/file", Range=f"bytes={len(content)}-")[0].status == 416

    def test_is_decoded_once_for_many_sentences(self, serving, small):
        served = serving()
        video = served.send(small)
        served.settled(video)
        assert served.predictor.pictures == 30
        for sentence in ("one", "two", "one"):
            assert served.sentence(video, sentence)[1]["sentence"] == sentence
        assert served.predictor.pictures == 30

    def test_lies_under_a_name_that_nobody_chose(self, serving, small):
        served = serving()
        names = ["../../etc/passwd", "a/b\x00c.mp4", "x" * 5000, "%E2%80%AE<script>.mp4", ""]
        found = [served.ask("POST", "/videos?name=" + quoted(name), small.read_bytes()) for name in names]
        assert {status for status, _ in found} == {201}
        assert len({told["id"] for _, told in found}) == len(held(served)) == len(names)
        assert all(re.fullmatch(r"[\w-]{20,}", told["id"]) for _, told in found)
        assert all(path.parent == served.folder and re.fullmatch(r"[\w-]{20,}", path.name) for path in held(served))
        assert [told["name"] for _, told in found][1:] == ["a/bc.mp4", "x" * 120, "%E2%80%AE<script>.mp4", "video"]
        # Addresses lead to videos alone.
        for path in ("/videos/../../etc/passwd", "/videos/%2e%2e/file", "/serve.js/../../x"):
            assert served.request("GET", path)[0].status == 404


def quoted(name: str) -> str:
    from urllib.parse import quote

    return quote(name, safe="")


class Ungated:
    """A predictor as it is, with what the fixture expects of stand-ins."""

    def __init__(self, predictor):
        self._predictor = predictor
        self.gate = StandIn().gate

    def __getattr__(self, name):
        return getattr(self._predictor, name)


class TestRefusedUploads:
    def test_announced_too_large(self, serving):
        served = serving(upload=100_000)
        status, told = served.ask("POST", "/videos?name=a.mp4", b"\0" * 100_001)
        assert (status, told["error"]) == (413, "a.mp4: is larger than 100.0 kB; cut it, or encode it smaller")
        assert held(served) == []

    def test_larger_than_allowed_without_a_length(self, serving, small):
        content = small.read_bytes()[:5000]
        served = serving(upload=20_000)
        sent = [chunked(content), *[chunked(b"\0" * 5000)] * 5, b"0\r\n\r\n"]
        status, text = raw(served, head(served, "/videos?name=a.mp4", "Transfer-Encoding: chunked"), *sent)
        assert (status, "larger than" in text) == (413, True)

    def test_larger_than_announced(self, serving, small):
        content = small.read_bytes()[:5000]
        served = serving(upload=20_000)
        status, _ = raw(served, head(served, "/videos?name=a.mp4", "Content-Length: 5000"), content, b"\0" * 100_000)
        # What comes after the announced length is of no upload. As a request it is none, which may be told while the
        # upload is still being written; then that ends in the announced bytes or in nothing.
        assert status in (201, 400)
        until(lambda: sizes(served) in ([], [5000]))

    @pytest.mark.parametrize(
        "wrong", ["Content-Length: -1", "Content-Length: 1e9", "Content-Length: 5\nContent-Length: 6"]
    )
    def test_a_length_that_is_none(self, serving, wrong):
        served = serving()
        assert raw(served, head(served, "/videos?name=a.mp4", wrong), b"abcde")[0] == 400
        assert held(served) == []

    def test_a_broken_off_upload_leaves_nothing(self, serving, small):
        served = serving(videos=1)
        for _ in range(2):
            with socket.create_connection(("127.0.0.1", served.port)) as connection:
                text = head(served, "/videos?name=a.mp4", "Content-Length: 900000").replace("\n", "\r\n")
                connection.sendall(text.encode() + small.read_bytes())
                until(lambda: held(served))
            until(lambda: not held(served))
        assert served.send(small)

    def test_nothing_comes(self, serving, uploads, monkeypatch):
        monkeypatch.setattr(uploads, "UPLOAD_PAUSE", 0.3)
        served = serving()
        status, text = raw(served, head(served, "/videos?name=a.mp4", "Content-Length: 900"), b"\0\0\0 ftyp", wait=0.1)
        assert (status, "nothing came for 0.3 seconds" in text) == (408, True)
        assert held(served) == []

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (b"Dear diary, " * 1000, "is a text that begins with 'Dear diary,"),
            (b"", "is empty"),
            (b"\x89PNG\r\n\x1a\n" + b"\1" * 9000, "is an image"),
            (b"PK\x03\x04" + b"\1" * 9000, "is a zip archive"),
            (b"#EXTM3U\n\x01#EXTINF:1,\nhttp://127.0.0.1/a.ts\n" + b"\n" * 5000, "is no video"),
            (b"ffconcat version 1.0\n\x01file /etc/passwd\n", "is no video"),
            (b"\0" * 9000, "begins with zero bytes"),
        ],
        ids=["text", "empty", "image", "zip", "playlist", "list", "zeros"],
    )
    def test_what_is_no_video_by_its_content(self, serving, content, message):
        served = serving()
        status, told = served.ask("POST", "/videos?name=a.mp4", content, Content_Type="video/mp4")
        assert status == 415
        assert told["error"].startswith(f"a.mp4: {message}")
        assert "choose a file in one of the formats MP4, " in told["error"]
        assert held(served) == []

    def test_its_type_is_judged_before_it_is_whole(self, serving):
        served = serving()
        text = head(served, "/videos?name=a.mp4", "Content-Length: 400000000").replace("\n", "\r\n")
        with socket.create_connection(("127.0.0.1", served.port), timeout=30) as connection:
            connection.sendall(text.encode() + b"Dear diary, " * 1000)
            until(lambda: not held(served))
            connection.shutdown(socket.SHUT_WR)
            connection.recv(100)

    def test_what_only_begins_like_a_video(self, serving, small):
        served = serving()
        for content in (small.read_bytes()[:200], b"\0\0\0 ftypisom" + bytes(range(256)) * 40):
            status, told = served.ask("POST", "/videos?name=a.mp4", content)
            assert status == 201
            told = served.settled(told["id"])
            assert told["state"] == "failed"
            assert told["error"].startswith("a.mp4: cannot be opened as a video")
            assert str(served.folder) not in told["error"]

    def test_too_many(self, serving, small):
        served = serving(videos=2)
        first, _ = served.send(small), served.send(small)
        status, told = served.ask("POST", "/videos?name=c.mp4", small.read_bytes())
        assert (status, "c.mp4: this server holds 2 videos already" in told["error"]) == (503, True)
        served.ask("DELETE", f"/videos/{first}")
        assert served.send(small)

    def test_a_full_disk(self, serving, small, uploads, monkeypatch):
        served = serving()

        async def full(*_):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(uploads, "run_in_threadpool", full)
        status, told = served.ask("POST", "/videos?name=a.mp4", small.read_bytes())
        assert (status, told["error"].split(";")[0]) == (507, "a.mp4: the server's disk is full")
        assert held(served) == []


class TestReading:
    def test_videos_wait_for_their_turn_and_others_are_served(self, serving, small):
        served = serving()
        ready = served.send(small)
        served.settled(ready)
        served.predictor.gate.clear()
        first, second, third = (served.send(small) for _ in range(3))
        until(lambda: served.told(first)["state"] == "reading")
        assert [served.told(each).get("before") for each in (second, third)] == [1, 2]
        assert served.sentence(ready, "the")[0] == 200
        status, told = served.sentence(second, "the")
        assert (status, "is not read yet" in told["error"]) == (409, True)
        served.ask("DELETE", f"/videos/{second}")
        until(lambda: served.told(third).get("before") == 1)
        served.predictor.gate.set()
        assert [served.settled(each)["state"] for each in (first, third)] == ["ready", "ready"]

    def test_a_removed_video_is_decoded_no_further(self, serving, tmp_path):
        class Slow(StandIn):
            def features(self, path, decoder):
                video = decoder.probe(path)
                for _ in decoder.pictures(video, video.frame_rate, None):
                    self.pictures += 1
                    time.sleep(0.05)

        served = serving(Slow())
        video = served.send(write_video(tmp_path / "a.mp4", 900))
        until(lambda: served.predictor.pictures > 2)
        part = served.told(video)["part"]
        assert 0 <= part < 0.5
        served.ask("DELETE", f"/videos/{video}")
        time.sleep(0.2)
        seen = served.predictor.pictures
        time.sleep(0.3)
        assert served.predictor.pictures == seen < 900
        assert held(served) == []

    def test_limits_reach_the_visitor(self, serving, tmp_path):
        served = serving(duration=0.5)
        told = served.settled(served.send(write_video(tmp_path / "long.mp4", 30)))
        assert told["error"] == "long.mp4: is longer than 0.5 seconds, the most that is taken here; cut it"

    def test_the_next_video_is_read_after_one_that_needs_too_much(self, serving, tmp_path, small):
        served = serving(memory=400 * MIB)
        large = served.send(write_large(tmp_path / "large.mkv"))
        after = served.send(small)
        assert "more than 400 MiB of memory" in served.settled(large)["error"]
        assert served.settled(after)["state"] == "ready"

    def test_a_defect_is_told_without_its_details(self, serving, small, caplog):
        class Broken(StandIn):
            def features(self, path, decoder):
                raise KeyError("a secret")

        served = serving(Broken())
        told = served.settled(served.send(small))
        assert told["error"].startswith("small.mp4: cannot be read: this is a fault of the server")
        assert "a secret" in caplog.text


class TestSentences:
    @pytest.mark.parametrize(
        ("body", "status"),
        [
            (b'{"sentence": "  "}', 422),
            (json.dumps({"sentence": "a" * 501}).encode(), 422),
            (b'{"sentence": 5}', 422),
            (b"{}", 422),
            (b"[", 422),
            (b"[" * 10_000, 422),
            (b"\xff\xfe", 422),
            (b'{"sentence": "' + b"a" * 100_000 + b'"}', 413),
        ],
    )
    def test_what_is_none(self, serving, small, body, status):
        served = serving()
        video = served.send(small)
        found, told = served.ask("POST", f"/videos/{video}/sentences", body, Content_Type="application/json")
        assert (found, bool(told["error"])) == (status, True)

    def test_a_form_of_another_page_is_none(self, serving, small):
        served = serving()
        video = served.send(small)
        body = b'{"sentence": "the"}'
        assert served.ask("POST", f"/videos/{video}/sentences", body, Content_Type="text/plain")[0] == 415

    def test_windows_have_the_saliency_inside_them(self, serving, small):
        served = serving()
        video = served.send(small)
        served.settled(video)
        _, found = served.sentence(video, "the")
        assert found["edges"] == [0, 2, 4, 6, 8]
        assert found["windows"] == [
            {"start": 2.0, "end": 4.0, "score": 0.75, "saliency": 3.0},
            {"start": 0.0, "end": 4.0, "score": 0.5, "saliency": 2.0},
        ]


class TestDeletion:
    def test_a_page_that_is_not_heard_of(self, serving, small):
        served = serving(keep=1.0)
        video = served.send(small)
        for _ in range(6):
            time.sleep(0.3)
            served.told(video)
        until(lambda: not held(served), 10)
        assert served.ask("GET", f"/videos/{video}")[0] == 404

    def test_a_page_that_was_left(self, serving, small, uploads, monkeypatch):
        monkeypatch.setattr(uploads, "AWAY", 0.4)
        served = serving(keep=4.0)
        left, reloaded = served.send(small), served.send(small)
        for video in (left, reloaded):
            assert served.ask("POST", f"/videos/{video}/leaving")[0] == 204
        served.told(reloaded)
        until(lambda: len(held(served)) == 1, 5)
        assert served.told(reloaded)["id"] == reloaded
        assert AWAY > 5

    def test_the_end_of_the_server(self, serving, small, tmp_path):
        from sadetr.serving.limits import Limits
        from tests.serving.conftest import Server

        folder = tmp_path / "own"
        folder.mkdir()
        with Server(StandIn(), folder, Limits()) as server:
            server.served.send(small)
            assert len(held(server.served)) == 1
        assert list(folder.iterdir()) == []


class TestProtection:
    def test_names_of_others_are_refused(self, serving):
        served = serving(hosts=("Demo.Example",))
        for host, status in (
            (served.host, 200),
            (f"localhost:{served.port}", 200),
            (f"[::1]:{served.port}", 200),
            ("192.168.1.5", 200),
            ("demo.example:80", 200),
            ("evil.example", 403),
            (f"evil.example:{served.port}", 403),
            ("127.0.0.1.evil.example", 403),
            ("localhost@evil.example", 403),
            ("[::1", 403),
            ("", 403),
        ):
            response, content = served.request("GET", "/", Host=host)
            assert response.status == status, host
            if status == 403:
                assert "--allow-host" in json.loads(content)["error"]

    @pytest.mark.parametrize(
        "headers",
        [
            {"Origin": "https://evil.example"},
            {"Origin": "null"},
            {"Origin": "http://127.0.0.1:1"},
            {"Sec-Fetch-Site": "cross-site"},
            {"Sec-Fetch-Site": "same-site"},
        ],
        ids=str,
    )
    def test_pages_of_others_change_nothing(self, serving, small, headers):
        served = serving()
        video = served.send(small)
        for method, path in (("POST", "/videos"), ("DELETE", f"/videos/{video}"), ("POST", f"/videos/{video}/leaving")):
            status, told = served.ask(method, path, small.read_bytes(), **headers)
            assert (status, "another site" in told["error"]) == (403, True)
        assert len(held(served)) == 1
        own = {"Origin": f"http://{served.host}", "Sec-Fetch-Site": "same-origin"}
        assert served.ask("DELETE", f"/videos/{video}", **own)[0] == 204

    @pytest.mark.parametrize("path", ["/", "/serve.js", "/serve.css", "/nothing", "/videos/x"])
    def test_browsers_are_told_to_load_nothing_from_elsewhere(self, serving, path):
        response, _ = serving().request("GET", path)
        policy = dict(rule.split(" ", 1) for rule in response.headers["content-security-policy"].split("; "))
        assert policy.pop("default-src") == "'none'"
        assert set(" ".join(policy.values()).split()) == {"'self'", "'none'", "data:"}
        assert response.headers["x-content-type-options"] == "nosniff"
        assert response.headers["cross-origin-resource-policy"] == "same-origin"
        assert response.headers["cache-control"] == "no-store"
        assert "server" not in response.headers

    def test_the_page_names_no_other_address(self, serving):
        served = serving()
        for path in ("/", "/serve.js", "/serve.css"):
            _, content = served.request("GET", path)
            assert re.findall(rb"https?://[^\s\"']+", content) in ([], [b"http://www.w3.org/2000/svg"])

    def test_names_are_escaped(self, serving):
        predictor = StandIn(name="<script>alert(1)</script>", label="<b>&")
        _, content = serving(predictor).request("GET", "/")
        assert b"<script>alert" not in content
        assert b"&lt;b&gt;&amp;" in content


@pytest.mark.parametrize(
    ("name", "codec", "kind"),
    [
        ("a.mp4", "mpeg4", "video/mp4"),
        ("a.mov", "mpeg4", "video/quicktime"),
        ("a.webm", "libvpx", "video/webm"),
        ("a.mkv", "mpeg4", "video/x-matroska"),
        ("a.avi", "mpeg4", "video/x-msvideo"),
        ("a.ts", "mpeg2video", "video/mp2t"),
        ("a.mpg", "mpeg2video", "video/mpeg"),
        ("a.wmv", "wmv2", "video/x-ms-wmv"),
        ("a.flv", "flv", "video/x-flv"),
        ("a.ogv", "libvpx", "video/ogg"),
        ("a.3gp", "mpeg4", "video/mp4"),
    ],
)
def test_formats_are_known_by_their_first_bytes(tmp_path, name, codec, kind):
    assert media_type(write_video(tmp_path / name, 5, codec=codec).read_bytes()[:4096]) == kind


def test_random_bytes_are_no_video():
    rng = np.random.default_rng(0)
    assert not any(media_type(rng.bytes(size)) for size in range(0, 2000, 7))
