"""A strict walk through a plain USTAR file.

`tarfile` stops at the first damaged header, or at a cut between two members, as if the archive
ended there; a check has to tell those from an end.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass

BLOCK = 512

_CHUNK = 1 << 16
_PLAIN = (b"0", b"\0")
_NAME, _SIZE, _CHECKSUM, _TYPE = slice(0, 100), slice(124, 136), slice(148, 156), slice(156, 157)
_PREFIX = slice(345, 500)


@dataclass(frozen=True)
class Member:
    """A plain file in a tar: its name, and where its content lies."""

    name: str
    offset: int
    size: int


class TarDamage(Exception):
    """The tar cannot be walked any further.

    Args:
        kind: truncated or header.
        detail: what is wrong, and at which byte.
    """

    def __init__(self, kind: str, detail: str) -> None:
        super().__init__(detail)
        self.kind = kind


def walk(descriptor: int) -> Iterator[Member]:
    """Yield the members of a tar file in their order.

    Raises:
        TarDamage: a header is damaged or not a plain file's, the file ends before the two blocks
            of zeros that mark the end of an archive, or anything but zeros follows them.
    """
    total = os.fstat(descriptor).st_size
    offset = 0
    while True:
        block = os.pread(descriptor, BLOCK, offset)
        if len(block) < BLOCK:
            raise TarDamage("truncated", f"ends at byte {total}, without the mark of its end")
        if not any(block):
            _check_end(descriptor, offset, total)
            return
        member = _parse(block, offset)
        if member.offset + member.size > total:
            raise TarDamage("truncated", f"ends at byte {total}, within {member.name}")
        yield member
        offset = member.offset + member.size + -member.size % BLOCK


def _check_end(descriptor: int, offset: int, total: int) -> None:
    if total - offset < 2 * BLOCK:
        raise TarDamage("truncated", f"ends at byte {total}, within the mark of its end")
    place = offset
    while chunk := os.pread(descriptor, _CHUNK, place):
        if chunk.strip(b"\0"):
            raise TarDamage("header", f"byte {offset}: a block of zeros in the middle")
        place += len(chunk)


def _parse(block: bytes, offset: int) -> Member:
    checksum = sum(block) - sum(block[_CHECKSUM]) + 8 * ord(" ")
    if block[_CHECKSUM] != b"%06o\0 " % checksum:
        raise TarDamage("header", f"byte {offset}: the header's checksum does not fit")
    try:
        size = int(block[_SIZE].rstrip(b"\0 "), 8)
    except ValueError:
        raise TarDamage("header", f"byte {offset}: the header has no size") from None
    if block[_TYPE] not in _PLAIN or size < 0:
        raise TarDamage("header", f"byte {offset}: a member that is not a plain file")
    prefix, name = (_text(block[part]) for part in (_PREFIX, _NAME))
    return Member(f"{prefix}/{name}" if prefix else name, offset + BLOCK, size)


def _text(field: bytes) -> str:
    return field.split(b"\0")[0].decode("utf-8", "backslashreplace")
