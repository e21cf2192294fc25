"""A folder at a URL, through fsspec: whole files, byte ranges, and faults in one line."""

import time
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property, partial
from typing import Any, TypeVar

from shards.errors import EnvironmentFault, InputError, IvvitError, UsageError
from shards.manifest import DATASET_FILE

Result = TypeVar("Result")

PAUSES = (0.5, 2.0, 8.0, 30.0)  # seconds before a failed request is made again

_DENIED = (401, 403)
_PASSING = (408, 429)  # of the statuses below 500; those above may pass, too


class RemoteFolder:
    """The files of a folder at a URL; safe to use from many threads.

    Requests that fail for a reason that may pass are made again, after longer and longer pauses.

    Args:
        url: the folder, of any protocol that fsspec and its plugins know.

    Raises:
        UsageError: there is no such protocol.
        EnvironmentFault: the package for it is missing; or (by every method) the server does not
            answer, or denies access.
        InputError: (by every method) there is no such file.
    """

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        self._system, root = _open_system(self.url)
        self._root = root.rstrip("/")

    def __str__(self) -> str:
        return self.url

    def read(self, name: str) -> bytes:
        """Return the whole of a file, which somebody waits for: it is asked for twice at most."""
        request = partial(self._system.cat_file, self._path(name))
        return bytes(self._tried(name, request, PAUSES[:1]))

    @cached_property
    def gives_parts(self) -> bool:
        """Whether the server gives byte ranges; plain HTTP servers may not."""
        part = self._tried(
            DATASET_FILE, lambda: self._system.cat_file(self._path(DATASET_FILE), start=0, end=1)
        )
        return len(part) == 1

    def size(self, name: str) -> int | None:
        """Return a file's size in bytes, if the server tells it."""
        return self._tried(name, lambda: self._size(self._path(name)))

    def _size(self, path: str) -> int | None:
        try:
            size: int | None = self._system.size(path)
        except FileNotFoundError:  # over HTTP that is any fault; a byte of it tells which
            self._system.cat_file(path, start=0, end=1)
            return None
        return size

    def find(self, name: str) -> list[str]:
        """Return this folder's URL if it holds a file, else those of the folders in it that do.

        Raises:
            InputError: there is no such folder.
        """
        if self._holds(name):
            return [self.url]
        entries = self._tried("", lambda: self._system.ls(self._root, detail=True))
        inner = (entry["name"] for entry in entries if entry["type"] == "directory")
        folders = sorted(path.rstrip("/").rpartition("/")[2] for path in inner)
        return [f"{self.url}/{each}" for each in folders if self._holds(f"{each}/{name}")]

    def _holds(self, name: str) -> bool:
        return bool(self._tried(name, lambda: self._system.exists(self._path(name))))

    def read_ranges(self, name: str, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        """Return the bytes from start to end of each range of a file, all at the same time.

        Raises:
            InputError: the file ends before a range does.
        """
        starts, ends = map(list, zip(*ranges, strict=True))
        paths = [self._path(name)] * len(ranges)
        blocks = self._tried(
            name, lambda: self._system.cat_ranges(paths, starts, ends, on_error="raise")
        )
        for (start, end), block in zip(ranges, blocks, strict=True):
            if len(block) != end - start:
                raise InputError(f"{self._place(name)}: has no bytes {start} to {end}")
        return list(blocks)

    def read_pieces(self, name: str, size: int, *, limit: int) -> Iterator[bytes]:
        """Yield a file in pieces of at most `size` bytes from one request, up to `limit` bytes."""
        try:
            with self._system.open(self._path(name), "rb", block_size=0) as file:
                while limit > 0 and (piece := file.read(min(size, limit))):
                    limit -= len(piece)
                    yield piece
        except Exception as error:
            raise self._fault(name, error) from None

    def _tried(
        self, name: str, request: Callable[[], Result], pauses: Sequence[float] | None = None
    ) -> Result:
        for pause in PAUSES if pauses is None else pauses:
            try:
                return request()
            except Exception as error:
                if not _may_pass(error):
                    raise self._fault(name, error) from None
            time.sleep(pause)
        try:
            return request()
        except Exception as error:
            raise self._fault(name, error) from None

    def _fault(self, name: str, error: Exception) -> IvvitError:
        place, status = self._place(name), getattr(error, "status", None)
        if isinstance(error, FileNotFoundError) or status == 404:
            return InputError(f"{place}: no such file")
        if isinstance(error, PermissionError) or status in _DENIED:
            return EnvironmentFault(
                f"{place}: access denied",
                hint="does this machine have the credentials that fsspec looks for?",
            )
        words = (word for word in str(error).split() if not word.startswith("ssl:"))
        reason = " ".join(words) or type(error).__name__
        return EnvironmentFault(f"{place}: cannot be read: {reason}")

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}"

    def _place(self, name: str) -> str:
        return f"{self.url}/{name}"


def _open_system(url: str) -> tuple[Any, str]:
    import fsspec

    protocol = url.partition("://")[0]
    try:
        system, root = fsspec.core.url_to_fs(url)
    except ImportError as error:
        raise EnvironmentFault(
            f"{url}: a package that opens {protocol}:// is not installed", hint=f"{error}"
        ) from None
    except ValueError as error:
        raise UsageError(f"{url}: cannot be opened: {error}") from None
    return system, str(root)


def _may_pass(error: Exception) -> bool:
    if isinstance(error, FileNotFoundError | PermissionError | NotImplementedError):
        return False
    status = getattr(error, "status", None)
    return not isinstance(status, int) or status >= 500 or status in _PASSING
