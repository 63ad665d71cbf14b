"""Which kind of video a file is, by its first bytes: names and announced types are the visitor's word only."""

from sadetr.disguise import HEAD, VIDEO, of_content

MP4, QUICKTIME, MATROSKA, WEBM = "video/mp4", "video/quicktime", "video/x-matroska", "video/webm"
_ATOMS = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip")
_EBML = b"\x1aE\xdf\xa3"
_BEGINNINGS = {
    b"FLV\x01": "video/x-flv",
    b"0&\xb2u\x8ef\xcf\x11": "video/x-ms-wmv",
    b"OggS": "video/ogg",
    b"\x00\x00\x01\xba": "video/mpeg",
    b"\x00\x00\x01\xb3": "video/mpeg",
}
_PACKET = 188
"""Bytes of a packet of an MPEG transport stream, each of which begins with G."""
KNOWN = "MP4, MOV, WebM, MKV, AVI, MPEG, WMV, FLV or Ogg"


def media_type(head: bytes) -> str | None:
    """The media type of a video that begins with ``head``, its first :data:`~sadetr.disguise.HEAD` bytes; None for all
    else."""
    if head[4:8] in _ATOMS:
        return QUICKTIME if head[8:12] == b"qt  " or head[4:8] != b"ftyp" else MP4
    if head.startswith(_EBML):
        return WEBM if b"webm" in head[:64] else MATROSKA
    if head.startswith(b"RIFF") and head[8:12] == b"AVI ":
        return "video/x-msvideo"
    if head[:1] == b"G" and head[_PACKET : _PACKET + 1] == b"G" and head[2 * _PACKET : 2 * _PACKET + 1] == b"G":
        return "video/mp2t"
    return next((kind for beginning, kind in _BEGINNINGS.items() if head.startswith(beginning)), None)


def complaint(head: bytes) -> str:
    """What a file is that begins with ``head`` and is no video."""
    found = of_content(head[:HEAD], VIDEO)
    fault = found.fault if found else "is no video"
    return f"{fault}; choose a file in one of the formats {KNOWN}"
