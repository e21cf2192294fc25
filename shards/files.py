"""Files as the shards need them: read only if they are plain, written whole or not at all."""

import hashlib
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any


def open_plain(path: Path) -> IO[bytes]:
    """Open a plain file for reading; a pipe or a device in its place, which could block, is none.

    Raises:
        OSError: the file cannot be opened.
        ValueError: it is something else than a plain file.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise ValueError("not a plain file")
    return os.fdopen(descriptor, "rb")


def temporary_path(path: Path) -> Path:
    """Return a hidden name beside `path` that no other process has, on whatever machine it is."""
    return path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")


@contextmanager
def atomic_file(path: Path) -> Iterator[IO[bytes]]:
    """Open a file for writing that takes the place of `path` when it is complete and on the disk.

    Raises:
        OSError: it cannot be written; what was at `path` is still there.
    """
    temporary = temporary_path(path)
    try:
        with temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def write_atomically(path: Path, *chunks: Any) -> None:
    """Write buffers to `path` so that it is either absent, old, or complete and on the disk."""
    with atomic_file(path) as file:
        for chunk in chunks:
            file.write(chunk)


class HashingFile:
    """A file for writing that knows the size and sha256 of what went through."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.size = 0
        self.sha256 = hashlib.sha256()

    def write(self, data: Any) -> int:
        """Write a buffer and return its bytes."""
        self.sha256.update(data)
        self.size += len(data)
        return self._file.write(data)


def sync_folder(folder: Path) -> None:
    """Flush a folder's entries, so that a rename in it survives a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
