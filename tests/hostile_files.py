"""Hostile files: each is small, and asks for code, another file, a connection, memory or time."""

import io
import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

from media import make_frames, write_video
from PIL import Image


class Payload:
    """Unpickling one makes a folder."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Callable[[str], object], tuple[str]]:
        return os.mkdir, (str(self.mark),)


# What a video may be instead


def concat_script(target: object) -> str:
    """Return a script of ffmpeg's concat demuxer."""
    return f"ffconcat version 1.0\nfile '{target}'\n"


def hls_playlist(target: object) -> str:
    """Return a playlist of HTTP live streaming."""
    return f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{target}\n#EXT-X-ENDLIST\n"


def dash_manifest(target: object) -> str:
    """Return a manifest of MPEG-DASH."""
    return (
        '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" '
        'mediaPresentationDuration="PT1S"><Period><AdaptationSet mimeType="video/mp4">'
        f'<Representation id="1" bandwidth="1"><BaseURL>{target}</BaseURL></Representation>'
        "</AdaptationSet></Period></MPD>"
    )


def session_description(port: str) -> str:
    """Return a description of a stream from the network."""
    return f"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nm=video {port} RTP/AVP 96\n"


def external_track(path: Path, target: Path) -> Path:
    """Write a QuickTime file whose only track lies in another file, named by an alias."""
    write_video(path, make_frames(3))
    content = path.read_bytes()
    start = content.index(b"dref") - 4
    size = int.from_bytes(content[start : start + 4])
    entry = _alias(target)
    table = struct.pack(">I4sII", 16 + len(entry), b"dref", 0, 1) + entry
    growth = len(table) - size
    grown = bytearray(content[:start] + table + content[start + size :])
    for box in (b"moov", b"trak", b"mdia", b"minf", b"dinf"):
        place = content.index(box) - 4
        (old,) = struct.unpack_from(">I", content, place)
        struct.pack_into(">I", grown, place, old + growth)
    path.write_bytes(grown)
    return path


def _alias(target: Path) -> bytes:
    """Return a data reference as QuickTime wrote it on a Macintosh; tag 2 is the whole path."""
    path = os.fsencode(target)
    path += b"\0" * (len(path) % 2)
    data = bytes(4 + 150) + struct.pack(">hH", 2, len(path)) + path + struct.pack(">hH", -1, 0)
    return struct.pack(">I4s", 8 + len(data), b"alis") + data


# Pictures that ask for more than they give


def png(width: int, height: int, *chunks: tuple[bytes, bytes], pixels: bytes = b"") -> bytes:
    """Return an RGB PNG of any size, with further chunks before its pixels."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    every = ((b"IHDR", header), *chunks, (b"IDAT", zlib.compress(pixels)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in every
    )


def png_with_bomb(kind: bytes) -> bytes:
    """Return a PNG of one pixel and a profile or text that unpacks to 8 MiB."""
    bomb = b"x\0\0" + zlib.compress(bytes(8 << 20))
    return png(1, 1, (kind, bomb), pixels=bytes(4))


def gif(screen: tuple[int, int], frame: tuple[int, int], frames: int = 1) -> bytes:
    """Return a GIF whose frames may be larger than its screen."""
    delay = b"!\xf9\x04\0\x0a\0\0\0"  # 0.1 s; without one, pictures are laid over one another
    picture = delay + b"," + struct.pack("<HHHHB", 0, 0, *frame, 0) + b"\x02\x02\x4c\x01\x00"
    head = b"GIF89a" + struct.pack("<HHBBB", *screen, 0x80, 0, 0) + b"\0\0\0\xff\xff\xff"
    return head + picture * frames + b";"


def jpeg_of_scans(count: int, side: int = 2500) -> bytes:
    """Return a progressive JPEG whose last scan, which changes nothing, comes again and again."""
    file = io.BytesIO()
    Image.new("L", (side, side), 128).save(file, "JPEG", progressive=True)
    data = file.getvalue()
    last = data[data.rindex(b"\xff\xda") : -2]
    return data[:-2] + last * count + b"\xff\xd9"


def bmp_of_gaps(width: int, height: int) -> bytes:
    """Return a run-length coded BMP that skips 255 rows at a time."""
    body = b"\0\2\xff\xff" * 4
    info = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, 1, len(body), 0, 0, 256, 0)
    start = 14 + len(info) + 1024
    head = b"BM" + struct.pack("<IHHI", start + len(body), 0, 0, start)
    return head + info + bytes(1024) + body


def tiff(width: int, height: int, *tags: tuple[int, int, int, int]) -> bytes:
    """Return a TIFF without pixels; further tags are (number, type, count, value)."""
    own = [(256, 4, 1, width), (257, 4, 1, height), (258, 3, 1, 8), (262, 3, 1, 1), (273, 4, 1, 8)]
    own += [(277, 3, 1, 1), (278, 4, 1, height), (279, 4, 1, width * height & 0xFFFFFFFF), *tags]
    entries = b"".join(struct.pack("<HHII", *entry) for entry in sorted(own))
    return b"II*\0" + struct.pack("<IH", 8, len(own)) + entries + bytes(4)


def webp(width: int, height: int) -> bytes:
    """Return the header of an animated WebP of any size, and one frame that is empty."""
    sizes = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    canvas = struct.pack("<4sII", b"VP8X", 10, 2) + sizes
    loop = struct.pack("<4sIIH", b"ANIM", 6, 0, 0)
    body = b"WEBP" + canvas + loop + struct.pack("<4sI", b"ANMF", 24) + bytes(24)
    return struct.pack("<4sI", b"RIFF", len(body)) + body


def jpeg_with_exif(block: bytes) -> bytes:
    """Return a small JPEG with an EXIF block of any content."""
    file = io.BytesIO()
    Image.new("RGB", (8, 8)).save(file, "JPEG", exif=b"Exif\0\0" + block)
    return file.getvalue()


# What a tar may claim


def member(name: str | bytes, content: bytes = b"", kind: bytes = b"0", size: int = -1) -> bytes:
    """Return a member of a tar as USTAR has it, whatever it claims its size to be."""
    block = bytearray(512)
    raw = os.fsencode(name)[:100]
    block[: len(raw)] = raw
    block[100:124] = b"0000644\0" + b"0000000\0" * 2
    claimed = len(content) if size < 0 else size
    block[124:136] = (
        b"%011o\0" % claimed if claimed < 1 << 33 else struct.pack(">BxxxQ", 128, claimed)
    )
    block[136:148] = b"%011o\0" % 0
    block[156:157] = kind
    block[157:257] = b"../../outside/secret.txt".ljust(100, b"\0")
    block[257:265] = b"ustar\x0000"
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block) + content + bytes(-len(content) % 512)
