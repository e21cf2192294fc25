"""A member of a tar: its bytes, or a file of its own for a program that seeks in it."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO

from shards.convert.errors import BadMedia
from shards.convert.image import MAX_BYTES
from shards.errors import EnvironmentFault
from shards.files import open_plain

MAX_VIDEO = 8 << 30  # bytes of a member that is copied
_CHUNK = 1 << 24


def read_member(path: Path, start: int, size: int) -> bytes:
    """Return `size` bytes of a tar from byte `start` on.

    Raises:
        InputError: the tar cannot be read or ends before, or they are more than 512 MiB.
    """
    if size > MAX_BYTES:
        raise BadMedia(path, f"has more than {MAX_BYTES >> 20} MiB")
    return b"".join(_pieces(path, start, size))


@contextmanager
def member_file(path: Path, start: int, size: int) -> Iterator[Path]:
    """Copy a member to a file without a name, and give a path that opens it while this lasts.

    It lies in the folder for temporary files ($TMPDIR), and is gone with this process at the
    latest, however that ends.

    Raises:
        InputError: the tar cannot be read or ends before, or the member has more than 8 GiB.
        EnvironmentFault: the copy cannot be written.
    """
    if size > MAX_VIDEO:
        raise BadMedia(path, f"has more than {MAX_VIDEO >> 30} GiB")
    with ExitStack() as stack:
        with _faults_of_the_machine():
            copy = stack.enter_context(tempfile.TemporaryFile(buffering=0))
        for piece in _pieces(path, start, size):
            with _faults_of_the_machine():
                _write(copy, piece)
        yield Path(f"/proc/{os.getpid()}/fd/{copy.fileno()}")


def _pieces(path: Path, start: int, size: int) -> Iterator[bytes]:
    end = start + size
    try:
        with open_plain(path) as file:
            while start < end:
                piece = os.pread(file.fileno(), min(_CHUNK, end - start), start)
                if not piece:
                    raise BadMedia(path, "is cut off: its tar ends before it does")
                yield piece
                start += len(piece)
    except (OSError, ValueError) as error:
        raise BadMedia(path, f"its tar cannot be read: {error}") from None


def _write(copy: IO[bytes], piece: bytes) -> None:
    rest = memoryview(piece)
    while rest:
        rest = rest[copy.write(rest) :]


@contextmanager
def _faults_of_the_machine() -> Iterator[None]:
    """Keep a lack of room for the copy from being taken for a fault of the video."""
    try:
        yield
    except OSError as error:
        folder = os.environ.get("TMPDIR", "/tmp")
        raise EnvironmentFault(
            f"{folder}: a video cannot be copied there: {error.strerror}",
            hint="TMPDIR=FOLDER names one with more room",
        ) from None
