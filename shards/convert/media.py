"""What a file is, judged by its first bytes and never by its name."""

import re
from pathlib import Path

from shards.convert.errors import BadMedia
from shards.convert.gif import MAGIC, is_animated
from shards.manifest import Kind

_HEAD = 512
_STILL = re.compile(
    rb"\xff\xd8\xff|\x89PNG\r\n\x1a\n|BM|II\*\x00|MM\x00\*|RIFF....WEBP|P[1-6]\s", re.DOTALL
)
_MOVING = re.compile(
    rb"\x1a\x45\xdf\xa3"  # Matroska, WebM
    rb"|RIFF....AVI |FLV\x01|OggS|\x30\x26\xb2\x75\x8e\x66\xcf\x11"  # AVI, FLV, Ogg, ASF
    rb"|\x00\x00\x01[\xba\xb3]"  # MPEG programme and video streams
    rb"|....(?:ftyp|moov|mdat|wide|free|skip|pnot)"  # MP4, QuickTime
    rb"|\x47.{187}\x47|.{4}\x47.{191}\x47",  # MPEG transport streams
    re.DOTALL,
)
_STILL_BRANDS = (b"avif", b"heic", b"heix", b"mif1")  # pictures in an MP4 container


def sniff_kind(path: Path) -> Kind:
    """Return "image" or "video"; a GIF of several frames is a video.

    Raises:
        InputError: the file is missing, or neither.
    """
    if not path.is_file():
        raise BadMedia(path, "no such file")
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD)
    except OSError as error:
        raise BadMedia(path, f"cannot be read: {error.strerror}") from None
    if head.startswith(MAGIC):
        return "video" if is_animated(path) else "image"
    if _STILL.match(head):
        return "image"
    if _MOVING.match(head) and head[8:12] not in _STILL_BRANDS:
        return "video"
    raise BadMedia(path, "is neither an image nor a video of an allowed format")
