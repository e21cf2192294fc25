"""A strict walk through a plain tar file, headers only.

`tarfile` stops at the first damaged header, or at a cut between two members, as if the archive
ended there; a check has to tell those from an end. USTAR is walked as well as GNU's long names and
numbers and the extended headers of POSIX (pax), which webdataset's writer uses for times.
"""

import os
import re
from collections.abc import Iterator
from typing import NamedTuple

BLOCK = 512
FILE, FOLDER = "a file", "a folder"

_CHUNK = 1 << 16
_MAX_EXTENSION = 1 << 20  # bytes of an extended header or of a long name
_NAME, _SIZE, _CHECKSUM, _TYPE = slice(0, 100), slice(124, 136), slice(148, 156), slice(156, 157)
_MAGIC, _PREFIX = slice(257, 263), slice(345, 500)
_USTAR = b"ustar\0"  # GNU's magic ends in a space, and has times where USTAR has the prefix
_SUMS = (b"%06o\0 ", b"%06o \0", b"%07o\0", b"%07o ")  # as the common writers put it
_KINDS = {
    **dict.fromkeys((b"0", b"\0", b"7"), FILE),
    b"1": "a hard link",
    b"2": "a symbolic link",
    b"3": "a device",
    b"4": "a device",
    b"5": FOLDER,
    b"6": "a pipe",
}
_EXTENDED, _GLOBAL, _LONG_NAME, _LONG_LINK, _LABEL = (b"x", b"X"), b"g", b"L", b"K", b"V"
_COMPRESSED = {
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ\0": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
}
_RECORD = re.compile(rb"(\d{1,7}) ([^=\n]+)=")


class Member(NamedTuple):
    """A member of a tar: its name, where its content lies, and what it is if not a plain file."""

    name: str
    offset: int
    size: int
    kind: str = FILE


class TarDamage(Exception):
    """The tar cannot be walked any further.

    Args:
        kind: truncated or header.
        detail: what is wrong, and at which byte.
    """

    def __init__(self, kind: str, detail: str) -> None:
        super().__init__(detail)
        self.kind = kind


class _Header(NamedTuple):
    type: bytes
    name: str
    size: int


def walk(descriptor: int) -> Iterator[Member]:
    """Yield the members of a tar file in their order.

    Raises:
        TarDamage: the file is compressed, a header is damaged or of no known kind, the file ends
            before the two blocks of zeros that mark the end of an archive, or anything but zeros
            follows them.
    """
    total = os.fstat(descriptor).st_size
    _check_start(descriptor)
    offset = 0
    named: dict[str, str] = {}  # what extended headers say of the next member
    last = "nothing"
    while any(block := _read_block(descriptor, offset, total)):
        header = _parse(block, offset)
        data = offset + BLOCK
        size = _size(named, header, offset)
        kind = _KINDS.get(header.type)
        if kind not in (None, FILE):
            size = 0  # whatever the header says, no content follows
        offset_after = data + size + -size % BLOCK
        if data + size > total:
            where = f"after {last}" if kind is None else f"within {header.name}"
            raise TarDamage("truncated", f"ends at byte {total}, {where}")
        if kind is None:
            named |= _extension(descriptor, header, offset)
        else:
            last = named.get("path", header.name)
            yield Member(last, data, size, kind)
            named = {}
        offset = offset_after
    _check_end(descriptor, offset, total)


def _check_start(descriptor: int) -> None:
    start = os.pread(descriptor, 6, 0)
    if not start:
        raise TarDamage("truncated", "has no byte")
    for mark, name in _COMPRESSED.items():
        if start.startswith(mark):
            raise TarDamage("header", f"is compressed by {name}, and has to be decompressed")


def _read_block(descriptor: int, offset: int, total: int) -> bytes:
    block = os.pread(descriptor, BLOCK, offset)
    if len(block) < BLOCK:
        raise TarDamage("truncated", f"ends at byte {total}, without the mark of its end")
    return block


def _check_end(descriptor: int, offset: int, total: int) -> None:
    if total - offset < 2 * BLOCK:
        raise TarDamage("truncated", f"ends at byte {total}, within the mark of its end")
    place = offset
    while chunk := os.pread(descriptor, _CHUNK, place):
        if chunk.strip(b"\0"):
            raise TarDamage("header", f"byte {offset}: a block of zeros in the middle")
        place += len(chunk)


def _parse(block: bytes, offset: int) -> _Header:
    field = block[_CHECKSUM]
    checksum = sum(block) - sum(field) + 8 * ord(" ")
    if field not in [form % checksum for form in _SUMS]:
        raise TarDamage("header", f"byte {offset}: the header's checksum does not fit")
    size = _number(block[_SIZE])
    if size is None:
        raise TarDamage("header", f"byte {offset}: the header has no size")
    name = _text(block[_NAME])
    if block[_MAGIC] == _USTAR and block[_PREFIX][0]:
        name = f"{_text(block[_PREFIX])}/{name}"
    return _Header(block[_TYPE], name, size)


def _number(field: bytes) -> int | None:
    """Return an octal number, or one of GNU's binary ones, which start with 0x80."""
    if field[0] == 0x80:
        return int.from_bytes(field[1:])
    try:
        number = int(field.rstrip(b"\0 ") or b"0", 8)
    except ValueError:
        return None
    return number if number >= 0 else None


def _text(field: bytes) -> str:
    return field.split(b"\0", 1)[0].decode("utf-8", "backslashreplace")


def _size(named: dict[str, str], header: _Header, offset: int) -> int:
    if header.type in _KINDS and "size" in named:
        if not re.fullmatch("[0-9]{1,18}", named["size"]):
            raise TarDamage("header", f"byte {offset}: an extended header has no size")
        return int(named["size"])
    return header.size


def _extension(descriptor: int, header: _Header, offset: int) -> dict[str, str]:
    """Return what a member that only describes the next one says of it."""
    if header.type in (_GLOBAL, _LONG_LINK, _LABEL):
        return {}
    if header.type not in (*_EXTENDED, _LONG_NAME):
        raise TarDamage("header", f"byte {offset}: a member of no known kind, {header.type!r}")
    if header.size > _MAX_EXTENSION:
        raise TarDamage("header", f"byte {offset}: an extended header of {header.size} bytes")
    data = os.pread(descriptor, header.size, offset + BLOCK)
    if header.type == _LONG_NAME:
        return {"path": _text(data)}
    return _records(data, offset)


def _records(data: bytes, offset: int) -> dict[str, str]:
    """Return the path and size in the records `LENGTH KEY=VALUE` and newline of a pax header."""
    found: dict[str, str] = {}
    place = 0
    while place < len(data):
        record = _RECORD.match(data, place)
        end = place + int(record[1]) if record else 0
        if record is None or not record.end() < end <= len(data) or data[end - 1] != ord("\n"):
            raise TarDamage("header", f"byte {offset}: an extended header is damaged")
        key = record[2]
        if key.startswith(b"GNU.sparse"):
            raise TarDamage("header", f"byte {offset}: a file with holes, stored in pieces")
        if key in (b"path", b"size"):
            value = data[record.end() : end - 1]
            found[key.decode()] = value.decode("utf-8", "backslashreplace")
        place = end
    return found
