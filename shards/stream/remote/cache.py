"""A bounded folder of downloaded files that all processes of a machine share.

    CACHE/lock                       held while room is made
    CACHE/0123456789abcdef/          a dataset, named by the sha256 of its dataset.json
        use                          locked (shared) by every process that has the dataset open
        ucf101-train-000000.tar      a file that was checked against dataset.json
        ucf101-train-000001.tar.104857600.part    one on its way, locked by who fetches it

All locks are the kernel's (`flock`): they end with their process, however that ends, and hold on
one machine. A file is complete as soon as it has its name. The number in the name of an unfinished
one is the room in bytes that is set aside for it.
"""

import fcntl
import os
import re
import shutil
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from shards.errors import EnvironmentFault
from shards.files import sync_folder
from shards.stream.records import Descriptor

SPARE = 0.02  # of the disk: left free, whatever the limit

_DATASET = re.compile(r"[0-9a-f]{16}")
_PART = re.compile(r"\.([0-9]+)\.part$")


class NoRoom(Exception):
    """A file does not fit into the cache beside what is in use."""


class Busy(Exception):
    """Another process is fetching the file."""


@dataclass(frozen=True)
class _File:
    path: Path
    kept: int  # bytes on the disk
    room: int  # bytes that count
    used: tuple[int, int]  # when its dataset was opened last, when it was written


@dataclass(frozen=True)
class Cache:
    """The cache in `folder`, which holds at most `limit` bytes.

    Raises:
        EnvironmentFault: (by every method) the folder cannot be made or written.
    """

    folder: Path
    limit: int

    def open(self, digest: str) -> "CachedDataset":
        """Open the dataset whose dataset.json has this sha256."""
        return CachedDataset(self, self.folder / digest[:16])

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes from counting or removing files."""
        with writing(self.folder), (self.folder / "lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def make_room(self, part: Path, size: int) -> bool:
        """Make an empty `part` that stands for `size` bytes, and return whether that fits.

        What no process has open makes way: first of the dataset that was opened longest ago.
        """
        with self.locked():
            if part.exists():
                return True
            files = list(self._files())
            excess = self._excess(files, size)
            with _idle({file.path.parent for file in files} if excess > 0 else ()) as idle:
                free = sorted((f for f in files if f.path.parent in idle), key=lambda f: f.used)
                if sum(file.room for file in free) < excess:
                    return False
                for file in free:
                    if excess > 0:
                        file.path.unlink(missing_ok=True)
                        excess -= file.room
            part.touch()
            return True

    def _excess(self, files: Iterable[_File], size: int) -> int:
        """Return how many bytes are too many when `size` more come, in the cache or on the disk."""
        room, kept = sum(file.room for file in files), sum(file.kept for file in files)
        disk = shutil.disk_usage(self.folder)
        free = disk.free - int(SPARE * disk.total)
        return size + max(room - self.limit, room - kept - free)

    def _files(self) -> Iterator[_File]:
        for folder in self.folder.iterdir():
            if _DATASET.fullmatch(folder.name):
                opened = (folder / "use").stat().st_mtime_ns
                for path in folder.iterdir():
                    with suppress(FileNotFoundError):  # a user may clear the cache at any time
                        yield _measure(path, opened)


def _measure(path: Path, opened: int) -> _File:
    about, part = path.stat(), _PART.search(path.name)
    room = int(part[1]) if part else about.st_size
    return _File(path, about.st_size, room, (opened, about.st_mtime_ns))


@contextmanager
def _idle(datasets: Iterable[Path]) -> Iterator[set[Path]]:
    """Find the datasets that no process has open, and keep it so."""
    idle = set()
    with ExitStack() as stack:
        for folder in datasets:
            file = stack.enter_context((folder / "use").open("r"))
            with suppress(BlockingIOError):
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                idle.add(folder)
        yield idle


class CachedDataset:
    """A dataset's files in the cache; none is removed while this object lives."""

    def __init__(self, cache: Cache, folder: Path) -> None:
        self.cache = cache
        self.folder = folder
        with writing(cache.folder):
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "use").touch()
            self._use = Descriptor(folder / "use")
            fcntl.flock(self._use.number, fcntl.LOCK_SH)

    @contextmanager
    def claim(self, name: str, size: int, *, wait: bool) -> Iterator[int | None]:
        """Lock a file for fetching, and yield a descriptor of what there is of it.

        It yields None when the file is there already. The file gets its name at the end, unless an
        exception ends the block: then what was written stays for the next attempt.

        Args:
            wait: for a process that is fetching the file already.

        Raises:
            NoRoom: it does not fit.
            Busy: another process is fetching it, and `wait` is false.
        """
        part = self.folder / f"{name}.{size}.part"
        descriptor = self._lock(part, name, size, wait)
        if descriptor is None:
            yield None
            return
        try:
            yield descriptor
            with self.cache.locked():
                os.fsync(descriptor)
                part.rename(self.folder / name)
                sync_folder(self.folder)
        finally:
            os.close(descriptor)

    def _lock(self, part: Path, name: str, size: int, wait: bool) -> int | None:
        while not (self.folder / name).exists():
            if not part.exists() and not self.cache.make_room(part, size):
                raise NoRoom
            with suppress(FileNotFoundError):  # another process has finished it meanwhile
                if (descriptor := _lock_file(part, wait)) is not None:
                    return descriptor
        return None


def _lock_file(path: Path, wait: bool) -> int | None:
    """Open and lock a file; return None if it is no longer at its path once it is locked."""
    descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        if os.path.samestat(os.fstat(descriptor), path.stat()):
            return descriptor
    except BlockingIOError:
        os.close(descriptor)
        raise Busy from None
    except FileNotFoundError:
        pass
    os.close(descriptor)
    return None


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Tell that the cache cannot be written, in one line that names its folder.

    Raises:
        EnvironmentFault: for any OSError within.
    """
    try:
        yield
    except OSError as error:
        raise EnvironmentFault(
            f"the cache {folder} cannot be written: {error.strerror or error}",
            hint="loader.cache.dir or IVVIT_CACHE=DIR names another folder",
        ) from None
