"""A stream of JPEG files one after another, as ffmpeg's image2pipe writes it."""

from collections.abc import Iterable, Iterator

_START = b"\xff\xd8"
_END = b"\xff\xd9"


def split_jpegs(stream: bytes) -> list[bytes]:
    """Return the JPEG files in `stream`.

    Within a picture's data every FF byte is stuffed with a zero, and ffmpeg writes no thumbnail,
    so an end marker followed by a start marker only occurs between two files.

    Raises:
        ValueError: the stream does not start and end with a whole file.
    """
    if not stream:
        return []
    if not (stream.startswith(_START) and stream.endswith(_END)):
        raise ValueError("the stream of JPEG frames is cut off")
    frames = []
    begin = 0
    while (end := stream.find(_END + _START, begin)) >= 0:
        frames.append(stream[begin : end + 2])
        begin = end + 2
    frames.append(stream[begin:])
    return frames


def split_chunks(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the JPEG files of a stream that comes in pieces, each when the next begins.

    Raises:
        ValueError: the stream does not start and end with a whole file.
    """
    waiting = bytearray()
    for chunk in chunks:
        begin = max(0, len(waiting) - 3)  # where the four bytes between two files can begin
        waiting += chunk
        while (end := waiting.find(_END + _START, begin)) >= 0:
            yield bytes(waiting[: end + 2])
            del waiting[: end + 2]
            begin = 0
    yield from split_jpegs(bytes(waiting))
