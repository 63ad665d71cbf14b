"""Downloads end with exactly the right file or with none, whatever the server does; archives stay in their target."""

import gzip
import hashlib
import http.server
import io
import os
import tarfile
import threading
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sadetr.data.download.archives import unpack
from sadetr.data.download.command import download_annotations, download_features, unpack_archive
from sadetr.data.download.transfer import Transfer
from sadetr.data.sources import AnnotationSource, Archive, Sources
from sadetr.errors import DownloadError
from sadetr.layering import load_yaml
from sadetr.settings import DatasetSettings

CONTENT = bytes(range(256)) * 12_000
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Server(http.server.ThreadingHTTPServer):
    """Serves one file on every path; its attributes say how badly."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.content = CONTENT
        self.ranges = True
        self.version: str | None = '"v1"'
        self.break_after: list[int | None] = []
        """Bytes after which the next responses end early; None lets one pass."""
        self.statuses: list[int] = []
        """Status codes of the next responses, before the real ones."""
        self.requests: list[str | None] = []
        """Range header of every request."""

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that leaves early is part of the tests."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/file.bin"


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        server = self.server
        server.requests.append(self.headers.get("Range"))
        if self.path.endswith("missing"):
            self.send_error(404)
        elif server.statuses:
            self.send_error(server.statuses.pop(0))
        else:
            self._send()

    def _send(self) -> None:
        server, start = self.server, 0
        asked = self.headers.get("Range")
        if asked and server.ranges and self.headers.get("If-Range") in (None, server.version):
            start = int(asked.removeprefix("bytes=").rstrip("-"))
        if start >= len(server.content):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(server.content)}")
            self.end_headers()
            return
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(server.content) - 1}/{len(server.content)}")
        if server.version:
            self.send_header("ETag", server.version)
        self.send_header("Content-Length", str(len(server.content) - start))
        self.end_headers()
        limit = server.break_after.pop(0) if server.break_after else None
        self.wfile.write(server.content[start:] if limit is None else server.content[start : start + limit])

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    instance = Server()
    thread = threading.Thread(target=instance.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield instance
    instance.shutdown()
    thread.join()
    instance.server_close()


def transfer(folder: Path, sha256: str | None = SHA256, size: int | None = None) -> Transfer:
    return Transfer(folder / "file.bin", sha256, size, pause=0.001)


def test_a_file_arrives_complete_and_alone(server: Server, tmp_path: Path) -> None:
    transfer(tmp_path).fetch([server.url])
    assert (tmp_path / "file.bin").read_bytes() == CONTENT
    assert os.listdir(tmp_path) == ["file.bin"]


def test_a_broken_connection_is_continued(server: Server, tmp_path: Path) -> None:
    server.break_after = [1_500_000, 700_000]
    transfer(tmp_path).fetch([server.url])
    assert (tmp_path / "file.bin").read_bytes() == CONTENT
    assert server.requests == [None, "bytes=1500000-", "bytes=2200000-"]


def test_a_later_run_continues_what_an_earlier_one_left(server: Server, tmp_path: Path) -> None:
    server.break_after = [1_500_000, *[0] * 9]
    with pytest.raises(DownloadError, match=r"1,500,000 bytes are kept.*again to continue"):
        transfer(tmp_path).fetch([server.url])
    assert not (tmp_path / "file.bin").exists()
    server.break_after, server.requests = [], []
    transfer(tmp_path).fetch([server.url])
    assert (tmp_path / "file.bin").read_bytes() == CONTENT
    assert server.requests == ["bytes=1500000-"]


@pytest.mark.parametrize("sha256", [SHA256, None], ids=["known", "unknown"])
def test_a_file_that_changed_meanwhile_is_fetched_from_the_start(
    sha256: str | None, server: Server, tmp_path: Path
) -> None:
    server.content, server.version = b"old" * len(CONTENT), '"v0"'
    server.break_after = [100_000, *[0] * 9]
    with pytest.raises(DownloadError, match="gave up"):
        transfer(tmp_path, sha256).fetch([server.url])
    server.content, server.version, server.break_after = CONTENT, '"v1"', []
    transfer(tmp_path, sha256).fetch([server.url])
    assert (tmp_path / "file.bin").read_bytes() == CONTENT


def test_without_range_support_it_starts_again(server: Server, tmp_path: Path) -> None:
    server.ranges = False
    server.break_after = [1_500_000]
    transfer(tmp_path).fetch([server.url])
    assert (tmp_path / "file.bin").read_bytes() == CONTENT


def test_without_version_and_checksum_nothing_is_continued(server: Server, tmp_path: Path) -> None:
    server.version = None
    server.break_after = [1_500_000]
    transfer(tmp_path, None).fetch([server.url])
    assert (tmp_path / "file.bin").read_bytes() == CONTENT
    assert server.requests == [None, None]


def test_killed_before_the_last_step_it_only_finishes(server: Server, tmp_path: Path) -> None:
    server.break_after = [0, 0, 0, 0, 0]
    with pytest.raises(DownloadError):
        transfer(tmp_path).fetch([server.url])
    (tmp_path / ".file.bin.part").write_bytes(CONTENT)
    transfer(tmp_path).fetch([server.url])
    assert os.listdir(tmp_path) == ["file.bin"]


def test_a_wrong_checksum_leaves_nothing_and_names_both(server: Server, tmp_path: Path) -> None:
    server.content = b"x" + CONTENT[1:]
    found = hashlib.sha256(server.content).hexdigest()
    with pytest.raises(DownloadError, match=rf"{found}.*{SHA256}"):
        transfer(tmp_path).fetch([server.url])
    assert os.listdir(tmp_path) == []


def test_a_wrong_size_is_refused_before_it_is_fetched(server: Server, tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match=r"3,072,000 bytes, the official file has 5"):
        transfer(tmp_path, size=5).fetch([server.url])
    assert not (tmp_path / "file.bin").exists()


def test_a_missing_file_is_an_error_at_once(server: Server, tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match="404"):
        transfer(tmp_path).fetch([f"{server.url}/missing"])
    assert len(server.requests) == 1
    assert os.listdir(tmp_path) == []


def test_a_busy_server_is_asked_again(server: Server, tmp_path: Path) -> None:
    server.statuses = [503, 429]
    transfer(tmp_path).fetch([server.url])
    assert (tmp_path / "file.bin").read_bytes() == CONTENT


def test_the_next_address_is_tried(server: Server, tmp_path: Path) -> None:
    transfer(tmp_path).fetch([f"{server.url}/missing", server.url])
    assert (tmp_path / "file.bin").read_bytes() == CONTENT


def test_an_unreachable_server_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match="gave up after 5 attempts"):
        transfer(tmp_path).fetch(["http://127.0.0.1:9/file.bin"])


def test_a_full_disk_is_said_before_fetching(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = type("Usage", (), {"free": 1000})
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage)
    with pytest.raises(DownloadError, match=r"needs 3,072,000 bytes more, the disk has 1,000"):
        transfer(tmp_path).fetch([server.url])


PROVIDES = {"clip_features": "clip_features", "vgg_features/rgb_features": "vgg/rgb", "words.txt": "words.txt"}
MEMBERS = {
    "some/folder/clip_features/a.npz": b"a",
    "some/folder/clip_features/sub/b.npz": b"b",
    "some/vgg_features/rgb_features/c.npy": b"c",
    "words.txt": b"word 1 2",
    "some/other_features/d.npz": b"d",
    "__MACOSX/some/folder/clip_features/._a.npz": b"junk",
}


def tar_of(path: Path, members: dict[str, bytes], *extra: tarfile.TarInfo) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
        for info in extra:
            archive.addfile(info, io.BytesIO(b"evil"[: info.size]))
    return path


def zip_of(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


@pytest.mark.parametrize("make", [tar_of, zip_of])
def test_folders_are_found_at_any_depth(make: Callable, tmp_path: Path) -> None:
    archive = make(tmp_path / "archive", MEMBERS)
    counts = unpack(archive, PROVIDES, tmp_path / "features")
    assert counts == {"clip_features": 2, "vgg/rgb": 1, "words.txt": 1}
    found = {str(p.relative_to(tmp_path / "features")): p.read_bytes() for p in tmp_path.glob("features/**/*.*")}
    assert found == {"clip_features/a.npz": b"a", "clip_features/sub/b.npz": b"b", "vgg/rgb/c.npy": b"c"} | {
        "words.txt": b"word 1 2"
    }


def test_what_is_there_already_is_kept(tmp_path: Path) -> None:
    (tmp_path / "features/clip_features").mkdir(parents=True)
    counts = unpack(tar_of(tmp_path / "archive", MEMBERS), PROVIDES, tmp_path / "features")
    assert "clip_features" not in counts
    assert not any((tmp_path / "features/clip_features").iterdir())


def special(kind: bytes, name: str = "x/clip_features/evil", link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


def regular(name: str) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.size = 4
    return info


EVIL_TARS = {
    "parent": regular("clip_features/../../evil"),
    "absolute": regular("/clip_features/evil"),
    "drive": regular("C:/clip_features/evil"),
    "backslash": regular("clip_features\\..\\evil"),
    "symbolic link outside": special(tarfile.SYMTYPE, link="/etc/passwd"),
    "symbolic link inside": special(tarfile.SYMTYPE, link="a.npz"),
    "hard link outside": special(tarfile.LNKTYPE, link="../../etc/passwd"),
    "device": special(tarfile.CHRTYPE),
    "pipe": special(tarfile.FIFOTYPE),
    "file twice": regular("some/folder/clip_features/a.npz"),
}


@pytest.mark.parametrize("evil", EVIL_TARS)
def test_an_evil_tar_is_refused_and_leaves_nothing(evil: str, tmp_path: Path) -> None:
    archive = tar_of(tmp_path / "evil.tar.gz", MEMBERS, EVIL_TARS[evil])
    with pytest.raises(DownloadError, match=r"is refused"):
        unpack(archive, PROVIDES, tmp_path / "deep/features")
    assert list((tmp_path / "deep").rglob("*")) == [tmp_path / "deep/features"]
    assert sorted(os.listdir(tmp_path)) == ["deep", "evil.tar.gz"]


EVIL_ZIPS = {"parent": "clip_features/../../evil", "absolute": "/clip_features/evil", "link": "clip_features/link"}


@pytest.mark.parametrize("evil", EVIL_ZIPS)
def test_an_evil_zip_is_refused_and_leaves_nothing(evil: str, tmp_path: Path) -> None:
    archive = zip_of(tmp_path / "evil.zip", MEMBERS)
    with zipfile.ZipFile(archive, "a") as opened:
        info = zipfile.ZipInfo(EVIL_ZIPS[evil])
        info.external_attr = 0o120777 << 16 if evil == "link" else 0
        opened.writestr(info, "/etc/passwd")
    with pytest.raises(DownloadError, match="is refused"):
        unpack(archive, PROVIDES, tmp_path / "features")
    assert os.listdir(tmp_path / "features") == []


def cut_between_members(mode: str, kept: int) -> Callable[[Path], bytes]:
    """A tar that ends behind a whole file, or behind ``kept`` bytes of the next one's header."""

    def make(path: Path) -> bytes:
        with tarfile.open(tar_of(path, MEMBERS)) as archive:
            end = archive.getmembers()[2].offset + kept
            whole = gzip.decompress(path.read_bytes())
        return gzip.compress(whole[:end]) if mode == "w:gz" else whole[:end]

    return make


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (lambda path: tar_of(path, MEMBERS).read_bytes()[:-60], "damaged archive"),
        (lambda path: zip_of(path, MEMBERS).read_bytes().replace(b"word 1", b"ward 1"), "damaged archive"),
        (lambda path: b"<html>sign in</html>", "is an HTML page, not the archive"),
        (lambda path: b"\7sign in", "neither a zip nor a tar"),
        (lambda path: gzip.compress(b"no tar"), "neither a zip nor a tar archive: it is gzip-compressed"),
        (lambda path: zip_of(path, MEMBERS).read_bytes()[:512], "has 512 bytes without the directory"),
        *((cut_between_members(mode, kept), "missing: cut off") for mode in ("w", "w:gz") for kept in (0, 200)),
        (lambda path: bytes(10240), "begins with zero bytes"),
        (lambda path: tar_of(path, {"a/b.npz": b""}).read_bytes(), "holds none of clip_features"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_useless_archive_is_an_error_and_leaves_nothing(content: Callable, message: str, tmp_path: Path) -> None:
    archive = tmp_path / "archive"
    archive.write_bytes(content(tmp_path / "made"))
    with pytest.raises(DownloadError, match=message):
        unpack(archive, PROVIDES, tmp_path / "features")
    assert os.listdir(tmp_path / "features") == []


@pytest.fixture
def known(server: Server, dataset: DatasetSettings) -> Sources:
    """All annotation files are the server's; one archive is direct, the other needs a browser."""
    entry = AnnotationSource(bytes=len(CONTENT), sha256=SHA256, urls=[server.url])
    direct = Archive(file="direct.zip", size="1 MB", url=server.url, provides={"clip_features": "clip_features"})
    by_hand = Archive(
        file="by_hand.tar.gz",
        size="8 GB",
        pages=["https://example.org/view"],
        md5="0" * 32,
        provides={"slowfast_features": "slowfast_features"},
    )
    return Sources(annotations=dict.fromkeys(dataset.annotations.values(), entry), archives=[direct, by_hand])


def test_annotations_are_fetched_once(dataset: DatasetSettings, known: Sources, server: Server, tmp_path: Path) -> None:
    said: list[str] = []
    download_annotations(dataset, known, tmp_path, True, said.append)
    assert not server.requests, "a dry run fetched something"
    for _ in range(2):
        download_annotations(dataset, known, tmp_path, False, said.append)
    assert len(server.requests) == 3
    assert (tmp_path / "annotations/small/val.jsonl").read_bytes() == CONTENT


def test_another_file_in_the_place_is_not_overwritten(dataset: DatasetSettings, known: Sources, tmp_path: Path) -> None:
    mine = tmp_path / "annotations/small/val.jsonl"
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")
    with pytest.raises(DownloadError, match=rf"another file lies here.*{SHA256}"):
        download_annotations(dataset, known, tmp_path, False, print)
    assert mine.read_text() == "mine"
    assert (tmp_path / "annotations/small/test.jsonl").exists(), "one fault stopped the others"


def test_direct_archives_are_unpacked_and_others_explained(
    dataset: DatasetSettings, known: Sources, server: Server, tmp_path: Path
) -> None:
    server.content = zip_of(tmp_path / "served.zip", MEMBERS).read_bytes()
    said: list[str] = []
    download_features(dataset, known, tmp_path, False, said.append)
    assert (tmp_path / "features/small/clip_features/a.npz").read_bytes() == b"a"
    text = "\n".join(said)
    archive = tmp_path / "downloads/by_hand.tar.gz"
    for part in ("https://example.org/view", "8 GB", f"--from-archive {archive}", "features/small/slowfast_features"):
        assert part in text
    tar_of(archive, {"slowfast_features/a.npz": b"s"})
    unpack_archive(dataset, known, archive, tmp_path, said.append)
    assert (tmp_path / "features/small/slowfast_features/a.npz").read_bytes() == b"s"
    said.clear()
    download_features(dataset, known, tmp_path, False, said.append)
    assert all("already unpacked" in line for line in said)


def test_an_archive_with_another_checksum_is_refused(dataset: DatasetSettings, known: Sources, tmp_path: Path) -> None:
    pinned = known.archives[0].model_copy(update={"sha256": SHA256})
    archive = zip_of(tmp_path / "direct.zip", MEMBERS)
    with pytest.raises(DownloadError, match=rf"wrong content.*{SHA256}"):
        unpack_archive(dataset, known.model_copy(update={"archives": [pinned]}), archive, tmp_path, print)
    assert not (tmp_path / "features").exists()


def test_addresses_of_annotations_are_pinned_by_commit() -> None:
    folder = Path(__file__).parents[2] / "config/sources"
    addresses = [
        url
        for path in folder.glob("*.yaml")
        for entry in load_yaml(path).get("annotations", {}).values()
        for url in entry["urls"]
    ]
    assert addresses
    for address in addresses:
        assert any(len(part) == 40 and set(part) <= set("0123456789abcdef") for part in address.split("/")), address


def test_what_only_keeps_files_company_is_not_unpacked(tmp_path: Path) -> None:
    names = ("._a.npz", ".DS_Store", "Thumbs.db", "sub/desktop.ini", "sub/._b.npz", "__MACOSX/x.npz", ".git/config")
    company = {f"some/folder/clip_features/{name}": b"x" for name in names}
    unpack(tar_of(tmp_path / "archive", MEMBERS | company | {"._words.txt": b"x"}), PROVIDES, tmp_path / "features")
    found = sorted(str(path.relative_to(tmp_path / "features")) for path in tmp_path.glob("features/**/*.*"))
    assert found == ["clip_features/a.npz", "clip_features/sub/b.npz", "vgg/rgb/c.npy", "words.txt"]


@pytest.mark.parametrize("sha256", [SHA256, None], ids=["known", "unknown"])
@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"<!doctype html><title>Google Drive - Virus scan warning</title>", r"is an HTML page .*Virus scan warning"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n", "is a Git LFS pointer"),
    ],
    ids=["page", "pointer"],
)
def test_what_a_server_sends_instead_of_the_file_is_not_kept(
    server: Server, tmp_path: Path, sha256: str | None, content: bytes, what: str
) -> None:
    server.content = content
    with pytest.raises(DownloadError, match=f"{what}.*Nothing was kept"):
        transfer(tmp_path, sha256).fetch([server.url])
    assert os.listdir(tmp_path) == []


def test_text_may_be_fetched_without_a_known_checksum(server: Server, tmp_path: Path) -> None:
    server.content = b'{"qid": 1}\n'
    transfer(tmp_path, None).fetch([server.url])
    assert (tmp_path / "file.bin").read_bytes() == server.content


@pytest.mark.parametrize(
    "put", [Path.mkdir, lambda path: path.write_bytes(b"version https://git-lfs.github.com/spec/v1")]
)
def test_what_lies_in_the_place_of_annotations_is_named(
    dataset: DatasetSettings, known: Sources, tmp_path: Path, put: Callable
) -> None:
    place = tmp_path / "annotations/small/val.jsonl"
    place.parent.mkdir(parents=True)
    put(place)
    with pytest.raises(DownloadError, match=rf"val.jsonl: another file lies here.*{SHA256}; it is a (folder|Git LFS)"):
        download_annotations(dataset, known, tmp_path, False, print)
