"""How many pictures a GIF holds, and whether it is whole: Pillow and ffmpeg take what there is."""

import mmap
from collections.abc import Iterator
from pathlib import Path

MAGIC = b"GIF8"

_HEADER = 13  # bytes: signature, screen
_PICTURE, _EXTENSION, _TRAILER, _PADDING = 0x2C, 0x21, 0x3B, 0x00
_TABLE = 0x80  # flag: a table of 3 * 2^(n + 1) bytes follows, n in the lowest three bits
_CUT = "is cut short or damaged"


def is_animated(path: Path) -> bool:
    """Return whether a GIF holds a second picture, as far as it can be read."""
    try:
        return sum(1 for _, _ in zip(range(2), pictures(path), strict=False)) > 1
    except ValueError:
        return False


def check_whole(path: Path) -> None:
    """Walk through a GIF; any other file passes.

    Raises:
        ValueError: it ends before its last picture does, or its blocks make no sense.
    """
    with path.open("rb") as file:
        is_gif = file.read(len(MAGIC)) == MAGIC
    if is_gif:
        for _ in pictures(path):
            pass


def pictures(path: Path) -> Iterator[int]:
    """Yield the offset of each picture of a GIF.

    Raises:
        ValueError: the file ends before the trailer, or holds a block of no known kind.
    """
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        place = _after_table(data, _HEADER, 10)
        while (block := _byte(data, place)) != _TRAILER:
            if block == _PICTURE:
                yield place
                place = _after_blocks(data, _after_table(data, place + 10, place + 9) + 1)
            elif block == _EXTENSION:
                place = _after_blocks(data, place + 2)
            elif block == _PADDING:
                place += 1
            else:
                raise ValueError(_CUT)


def _after_table(data: mmap.mmap, place: int, flags: int) -> int:
    packed = _byte(data, flags)
    return place + 3 * 2 ** ((packed & 7) + 1) if packed & _TABLE else place


def _after_blocks(data: mmap.mmap, place: int) -> int:
    while size := _byte(data, place):
        place += 1 + size
    return place + 1


def _byte(data: mmap.mmap, place: int) -> int:
    if place >= len(data):
        raise ValueError(_CUT)
    return data[place]
