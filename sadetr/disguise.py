"""What a file really is where it is not what its name says: a pointer, a web page, another format, a part of itself.

Readers ask once they have failed, so a sound file costs nothing. The answer comes from the file's place, its first
bytes and its size; the content is never parsed further. Free of torch.
"""

import ast
import json
import os
import re
import stat
from pathlib import Path
from typing import NamedTuple

HEAD = 4096
"""Bytes that tell formats apart."""
_ZIP_END = b"PK\x05\x06"
_ZIP_END_REACH = 22 + 0xFFFF
"""A zip's last record and the longest comment behind it."""
_LEGACY_TORCH = bytes.fromhex("8a0a6cfc9c46f9206aa850192e")
"""The number that torch files older than 1.6 begin with, as a pickle writes it."""

COMPANIONS = {"__macosx", "thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r", "$recycle.bin"}
"""Lower-cased names that operating systems leave beside other files."""


class Disguise(NamedTuple):
    """What a file is instead, as the end of a sentence about it, and what to do."""

    fault: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.fault}; {self.remedy}"


class Wanted(NamedTuple):
    """What a reader takes."""

    noun: str
    formats: frozenset[str]
    """Names from :data:`NOUNS`, or ``text``: what no format claims."""


NPZ = Wanted("the .npz archive", frozenset({"npz", "zip"}))
NPY = Wanted("the .npy array", frozenset({"npy"}))
SAFETENSORS = Wanted("the safetensors file", frozenset({"safetensors"}))
TORCH = Wanted("the checkpoint", frozenset({"torch"}))
ARCHIVE = Wanted("the archive", frozenset({"zip", "npz", "torch", "tar", "gzip", "bzip2", "xz"}))
VIDEO = Wanted("the video", frozenset({"video"}))
PARQUET = Wanted("the Parquet file", frozenset({"parquet"}))
TEXT = Wanted("the text file", frozenset({"text"}))
JSON_LINES = Wanted("the JSON Lines file", frozenset({"text"}))
YAML = Wanted("the YAML file", frozenset({"text"}))
CSV = Wanted("the CSV file", frozenset({"text"}))

AGAIN = "download or copy it again"
_UNPACK = "unpack it, and put the file from inside here"
NOUNS: dict[str, tuple[str, str]] = {
    "lfs": ("a Git LFS pointer", "run `git lfs pull` in the repository that it comes from, or copy the real file here"),
    "annex": ("a git-annex pointer", "run `git annex get` on it in its data set, or copy the real file here"),
    "xet": ("a Xet pointer", "fetch the real file with its hub's own client"),
    "resource fork": (
        "a macOS resource fork (AppleDouble), which holds no data",
        "delete it and copy the file itself again: macOS puts such '._' files beside the real ones",
    ),
    "folder view": ("a macOS folder view (.DS_Store), which holds no data", f"delete it and {AGAIN}"),
    "html": (
        "an HTML page",
        "look at it in a browser and download again from there: hosts such as Google Drive send a page (a virus scan "
        "warning, a login, a quota) instead of the file",
    ),
    "xml": ("an XML text, as servers send for an error", AGAIN),
    "npy": ("an .npy array", "save it again in the format that its name says, or correct the name and the setting"),
    "npz": ("an .npz archive", "save it again in the format that its name says, or correct the name and the setting"),
    "safetensors": ("a safetensors file", "give it the suffix .safetensors"),
    "torch": ("a file that torch saved", "give it the suffix .pt, or export its tensors to safetensors"),
    "pickle": ("a Python pickle, which is never read here", "save its content in the format that the name says"),
    "hdf5": ("an HDF5 file", "write its arrays to files of the expected format"),
    "matlab": ("a MATLAB file", "write its arrays to files of the expected format"),
    "parquet": ("a Parquet file", AGAIN),
    "sqlite": ("an SQLite database", AGAIN),
    "zip": ("a zip archive", _UNPACK),
    "tar": ("a tar archive", _UNPACK),
    "gzip": ("gzip-compressed", "decompress it with gunzip first"),
    "bzip2": ("bzip2-compressed", "decompress it with bunzip2 first"),
    "xz": ("xz-compressed", "decompress it with unxz first"),
    "zstd": ("zstd-compressed", "decompress it with unzstd first"),
    "7z": ("a 7z archive", _UNPACK),
    "rar": ("a RAR archive", _UNPACK),
    "pdf": ("a PDF document", AGAIN),
    "image": ("an image", AGAIN),
    "video": ("a video", AGAIN),
    "utf-16": ("UTF-16 text", "save it as UTF-8"),
}
"""Format -> what a file of it is called, and what to do where another one was wanted."""
SUBSTITUTES = {"lfs", "annex", "xet", "resource fork", "folder view", "html", "xml"}
"""Formats that stand in place of a file whatever it was to be."""
ANYTHING = Wanted("the file", frozenset(NOUNS) - SUBSTITUTES | {"text"})

_BEGINNINGS: tuple[tuple[bytes, str], ...] = (
    (b"version https://git-lfs.", "lfs"),
    (b"version https://hawser.", "lfs"),
    (b"/annex/objects/", "annex"),
    (b"# xet version", "xet"),
    (b"\x00\x05\x16\x07", "resource fork"),
    (b"\x00\x05\x16\x00", "resource fork"),
    (b"\x00\x00\x00\x01Bud1", "folder view"),
    (b"\x93NUMPY", "npy"),
    (b"\x89HDF\r\n", "hdf5"),
    (b"MATLAB 5.0", "matlab"),
    (b"PAR1", "parquet"),
    (b"SQLite format 3", "sqlite"),
    (b"\x1f\x8b", "gzip"),
    (b"BZh", "bzip2"),
    (b"\xfd7zXZ\x00", "xz"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"7z\xbc\xaf\x27\x1c", "7z"),
    (b"Rar!\x1a\x07", "rar"),
    (b"%PDF-", "pdf"),
    (b"\x89PNG", "image"),
    (b"\xff\xd8\xff", "image"),
    (b"GIF8", "image"),
    (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
)


def is_companion(name: str) -> bool:
    """Whether a file or folder of this name only keeps others company: hidden, or left by an operating system."""
    return name.startswith(".") or name.lower() in COMPANIONS


def disguise(file: Path, wanted: Wanted) -> Disguise | None:
    """What ``file`` is instead of ``wanted``, or how much of it is there; None where nothing speaks against it.

    A missing or unreadable file is for the caller to explain.
    """
    try:
        status = file.stat()
    except OSError:
        return _dangling(file, wanted)
    if stat.S_ISDIR(status.st_mode):
        return Disguise(f"is a folder, not {wanted.noun}", "put the file itself there")
    if not stat.S_ISREG(status.st_mode):
        return Disguise(f"is a pipe or a device, not {wanted.noun}", "put a regular file there")
    try:
        with open(file, "rb") as content:
            head = content.read(HEAD)
    except OSError:
        return None
    return of_content(head, wanted) or _cut_off(file, head, status.st_size)


def of_content(head: bytes, wanted: Wanted) -> Disguise | None:
    """What a file is that begins with ``head``, its first :data:`HEAD` bytes (or all of them)."""
    if not head:
        return Disguise(f"is empty (0 bytes), not {wanted.noun}", AGAIN)
    if not head.strip(b"\0"):
        return Disguise(f"begins with zero bytes, not as {wanted.noun}: its content was never written", AGAIN)
    found = _format(head)
    if found in wanted.formats:
        return None
    if found is not None:
        noun, remedy = NOUNS[found]
        return Disguise(f"is {noun}{_title(head) if found == 'html' else ''}, not {wanted.noun}", remedy)
    if "text" not in wanted.formats and (line := _first_line(head)):
        return Disguise(f"is a text that begins with {line!r}, not {wanted.noun}", AGAIN)
    return None


def _dangling(file: Path, wanted: Wanted) -> Disguise | None:
    """A link whose target is not there; git-annex keeps such links for content that was not fetched."""
    try:
        target = os.readlink(file)
    except OSError:
        return None
    if "annex/objects" in target.replace("\\", "/"):
        return Disguise(f"is a git-annex link whose content is not here, not {wanted.noun}", NOUNS["annex"][1])
    return Disguise(f"is a link to {target}, which is not there", "correct the link, or copy the real file here")


def _format(head: bytes) -> str | None:
    """Name of the format that ``head`` is the beginning of; None for plain text and everything unknown."""
    for beginning, name in _BEGINNINGS:
        if head.startswith(beginning):
            return name
    if head.startswith((b"PK\x03\x04", _ZIP_END)):
        return _zip_format(head)
    # Where links are not possible, git-annex keeps them as text.
    if b".git/annex/objects/" in head[:512] and head.startswith((b".", b"/")):
        return "annex"
    if head[257:262] == b"ustar":
        return "tar"
    if head[4:8] == b"ftyp":
        return "video"
    if head[:1] == b"\x80" and head[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"):
        return "torch" if _LEGACY_TORCH in head[:32] else "pickle"
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") < 1 << 32:
        return "safetensors"
    return _markup(head)


def _zip_format(head: bytes) -> str:
    """A zip by the name of its first member: what numpy and torch save are zips too."""
    name = head[30 : 30 + int.from_bytes(head[26:28], "little")]
    if name.endswith(b".npy"):
        return "npz"
    return "torch" if name.endswith((b"/data.pkl", b"/version", b"/byteorder", b"/.format_version")) else "zip"


def _markup(head: bytes) -> str | None:
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip()[:512].lower()
    if start.startswith((b"<!doctype html", b"<html", b"<head", b"<body", b"<script", b"<meta")):
        return "html"
    if start.startswith(b"<?xml") or re.match(rb"<error\b", start):
        return "html" if b"<html" in start else "xml"
    return None


def _title(head: bytes) -> str:
    """The title of an HTML page, in brackets behind a blank; '' where there is none."""
    found = re.search(rb"<title[^>]*>\s*(.{1,80}?)\s*</title", head, re.IGNORECASE | re.DOTALL)
    return f" ({' '.join(found[1].decode('utf-8', 'replace').split())!r})" if found else ""


def _first_line(head: bytes) -> str:
    """Beginning of the first line, where all of ``head`` is printable text; otherwise ''."""
    start = head[:256]
    try:
        text = start.decode("utf-8")
    except UnicodeDecodeError as error:
        # The last character may be cut.
        text = start[: error.start].decode("utf-8") if error.start > len(start) - 4 else "\0"
    lines = [line.strip() for line in text.split("\n") if line.strip()]
    return lines[0][:60] if lines and all(line.replace("\t", " ").isprintable() for line in lines) else ""


def _cut_off(file: Path, head: bytes, size: int) -> Disguise | None:
    """How much of a file of a known format is there, where it is not all."""
    found = _format(head)
    checks = {"npy": _npy_cut, "safetensors": _safetensors_cut, "npz": _zip_cut, "torch": _zip_cut, "zip": _zip_cut}
    try:
        missing = checks[found](file, head, size) if found in checks else ""
    # What describes the content is damaged itself, or cannot be read: nothing to say about lengths.
    except (OSError, ValueError, SyntaxError, LookupError, TypeError, AttributeError, MemoryError, RecursionError):
        return None
    return Disguise(missing, AGAIN) if missing else None


def _npy_cut(file: Path, head: bytes, size: int) -> str:
    import numpy as np

    short = head[6] == 1
    start = 10 if short else 12
    end = start + int.from_bytes(head[8:start], "little")
    if end > size:
        return "holds only a part of its header: cut off"
    header = ast.literal_eval(head[start:end].decode("latin-1").strip())
    rows, *others = header["shape"] or (1,)
    row = np.dtype(header["descr"]).itemsize
    for length in others:
        row *= length
    if end + rows * row <= size:
        return ""
    return f"holds {(size - end) // row:,} of {rows:,} rows: cut off"


def _safetensors_cut(file: Path, head: bytes, size: int) -> str:
    start = 8 + int.from_bytes(head[:8], "little")
    if start > size:
        return "holds only a part of its header: cut off"
    with open(file, "rb") as content:
        header = json.loads(content.read(start)[8:])
    ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
    whole = start + max(ends, default=0)
    return f"holds {size:,} of {whole:,} bytes: cut off" if size < whole else ""


def _zip_cut(file: Path, head: bytes, size: int) -> str:
    # Torch files of old are no zips.
    if not head.startswith(b"PK"):
        return ""
    with open(file, "rb") as content:
        content.seek(max(0, size - _ZIP_END_REACH))
        tail = content.read()
    if _ZIP_END in tail:
        return ""
    zeros = ", and its last bytes are zeros" if size > HEAD and not tail[-512:].strip(b"\0") else ""
    return f"has {size:,} bytes without the directory that ends a zip archive{zeros}: cut off"
