"""One file from a URL into the cache: continued where it stopped, and checked before it counts."""

import hashlib
import os
from collections.abc import Iterator
from io import FileIO
from pathlib import Path

from shards.errors import InputError
from shards.stream.remote.cache import CachedDataset, writing
from shards.stream.remote.folder import RemoteFolder

CHUNK = 1 << 24  # bytes of a request


def download(
    remote: RemoteFolder,
    into: CachedDataset,
    name: str,
    *,
    size: int,
    sha256: str | None,
    wait: bool,
) -> Path:
    """Fetch a file, unless it is there, and return its place in the cache.

    A file that comes out wrong is fetched once more from its first byte.

    Args:
        size, sha256: what the file has to be; the latter if it is known.
        wait: for another process that is fetching it.

    Raises:
        InputError: what comes is not the file that dataset.json describes.
        EnvironmentFault: the server does not answer, or the cache cannot be written.
        NoRoom, Busy: as `CachedDataset.claim`.
    """
    path = into.folder / name
    with into.claim(name, size, wait=wait) as descriptor:
        if descriptor is None:
            return path
        with os.fdopen(os.dup(descriptor), "r+b", buffering=0) as file:
            found = ((_fill(file, remote, path, size), file.tell()) for _ in range(2))
            if not any(n == size and sha256 in (None, digest) for digest, n in found):
                raise InputError(
                    f"{remote.url}/{name}: is not the file that dataset.json describes: "
                    "it was changed, or is damaged on its way"
                )
    return path


def _fill(file: FileIO, remote: RemoteFolder, path: Path, size: int) -> str:
    """Fetch what a file lacks, or all of it if it lacks nothing, and return its sha256."""
    digest, done = _digest(file)
    if done >= size or not remote.gives_parts:
        file.seek(0)
        file.truncate()
        digest, done = hashlib.sha256(), 0
    for piece in _pieces(remote, path.name, done, size):
        digest.update(piece)
        with writing(path.parents[1]):
            _write(file, piece)
    return digest.hexdigest()


def _digest(file: FileIO) -> "tuple[hashlib._Hash, int]":
    file.seek(0)
    digest = hashlib.file_digest(file, "sha256")
    return digest, file.tell()


def _write(file: FileIO, piece: bytes) -> None:
    rest = memoryview(piece)
    while rest:
        rest = rest[file.write(rest) :]


def _pieces(remote: RemoteFolder, name: str, start: int, size: int) -> Iterator[bytes]:
    if not remote.gives_parts:
        yield from remote.read_pieces(name, CHUNK, limit=size)
        return
    for place in range(start, size, CHUNK):
        yield from remote.read_ranges(name, [(place, min(place + CHUNK, size))])
