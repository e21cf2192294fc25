"""The header of an encoded frame: its size, and whether our reader takes what follows.

Both wings judge frames of others by their headers, the reading one those that it decodes, too.
"""

import os
import re
import struct
from collections.abc import Callable

import simplejpeg

MAX_PIXELS = 40_000_000
MAX_SCANS = 100  # of a JPEG: encoders write about ten, and each is a pass over all pixels

Read = Callable[[int, int], bytes]  # (first byte, how many) -> as many as there are, at most

_PPM = re.compile(rb"P6(?:\s+|#[^\n]*\n)+(\d+)(?:\s+|#[^\n]*\n)+(\d+)(?:\s+|#[^\n]*\n)+255\s")
_PPM_HEAD = 256
_JPEG_HEAD = 4096  # bytes read at first; profiles and thumbnails can make a header longer
_JPEG_HEADS = 1 << 24
_PNG = struct.Struct(">8sI4sIIBB")
_PNG_MARK = b"\x89PNG\r\n\x1a\n"
_HARMLESS = 1 << 34  # bytes times pixels; a scan has at least 8 and takes 0.5 ns a pixel
_GREY = 0  # colour type of PNG
_SCAN, _END, _BARE = 0xDA, 0xD9, (0x01, 0xD8)  # JPEG markers; the last have no length
_MARKER = re.compile(rb"\xff+([^\x00\xff\xd0-\xd7])")  # not a stuffed byte, not a restart


def reader_of(descriptor: int) -> Read:
    """Return a function that reads an open file."""
    return lambda start, size: os.pread(descriptor, size, start)


def frame_size(read: Read, size: int, codec: str) -> tuple[int, int]:
    """Return (width, height) in pixels of a frame of `size` bytes, from its header alone.

    Args:
        read: gives the bytes of the frame.
        size: bytes of the frame.
        codec: one of `shards.index.CODECS`; the content is never sniffed.

    Raises:
        ValueError: there is no such header, or one of a picture that our reader refuses: CMYK, grey
            of 16 bits, of more than 40 megapixels, or a PPM of other than `size` bytes.
    """
    return _SIZES[codec](read, size)


def check_size(width: int, height: int) -> None:
    """Refuse a picture of more than 40 megapixels, or of none, with a ValueError."""
    if width * height > MAX_PIXELS:
        raise ValueError(f"{width}x{height} pixels are more than {MAX_PIXELS}")
    if width * height < 1:
        raise ValueError("has no pixel")


def check_colours(colours: str) -> None:
    """Refuse a JPEG whose colours, in simplejpeg's words, are for print, with a ValueError."""
    if colours in ("CMYK", "YCCK"):
        raise ValueError(f"its colours are {colours}")


def check_scans(data: bytes, width: int, height: int) -> None:
    """Refuse a JPEG of more than 100 scans with a ValueError.

    A scan may be a few bytes that say "nothing changes", yet costs a pass over all pixels. What
    decodes in a second however many it has, such as a frame of a video, is not looked at.
    """
    if len(data) * width * height < _HARMLESS:
        return
    if data.count(b"\xff\xda") > MAX_SCANS and _scans(data) > MAX_SCANS:
        raise ValueError(f"has more than {MAX_SCANS} scans")


def ppm_header(data: bytes) -> re.Match[bytes]:
    """Return the header of a binary PPM; its groups are width and height.

    Raises:
        ValueError: there is none.
    """
    header = _PPM.match(data[:_PPM_HEAD])
    if header is None:
        raise ValueError("no header of an 8-bit colour PPM")
    return header


def _scans(data: bytes) -> int:
    """Count the scans of a JPEG's first picture; a thumbnail lies within a segment."""
    scans = place = 0
    while marker := _MARKER.search(data, place):
        place, code = marker.end(), marker[1][0]
        if code == _END:
            break
        scans += code == _SCAN
        if code not in _BARE:
            place += int.from_bytes(data[place : place + 2])
    return scans


def _jpeg_size(read: Read, size: int) -> tuple[int, int]:
    length = _JPEG_HEAD
    while True:
        try:
            height, width, colours, _ = simplejpeg.decode_jpeg_header(read(0, length))
        except ValueError:  # cut within the header, perhaps
            if length >= min(size, _JPEG_HEADS):
                raise
            length *= 16
            continue
        check_size(width, height)
        check_colours(colours)
        return width, height


def _png_size(read: Read, size: int) -> tuple[int, int]:
    try:
        mark, _, chunk, width, height, depth, colour = _PNG.unpack(read(0, _PNG.size))
    except struct.error:
        raise ValueError("is cut within its header") from None
    if (mark, chunk) != (_PNG_MARK, b"IHDR"):
        raise ValueError("no header of a PNG")
    if (depth, colour) == (16, _GREY):
        raise ValueError("is grey of 16 bits")
    check_size(width, height)
    return width, height


def _ppm_size(read: Read, size: int) -> tuple[int, int]:
    header = ppm_header(read(0, _PPM_HEAD))
    width, height = int(header[1]), int(header[2])
    check_size(width, height)
    if size != header.end() + 3 * width * height:
        raise ValueError(f"has {size} bytes, which do not fit {width}x{height} pixels")
    return width, height


_SIZES: dict[str, Callable[[Read, int], tuple[int, int]]] = {
    "jpg": _jpeg_size,
    "png": _png_size,
    "ppm": _ppm_size,
}
