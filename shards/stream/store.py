"""Where a dataset's files are: in a folder, or at a URL with a cache before it."""

import hashlib
from pathlib import Path
from typing import Protocol

from shards.errors import InputError
from shards.index import FRAME, SAMPLE
from shards.manifest import (
    DATASET_FILE,
    DatasetInfo,
    SplitInfo,
    parse_dataset_info,
    read_dataset_info,
)
from shards.stream.files import ShardFiles
from shards.stream.remote.cache import Cache, NoRoom
from shards.stream.remote.download import download
from shards.stream.remote.folder import RemoteFolder
from shards.stream.remote.shards import RemoteShards, no_room
from shards.urls import is_url

_HEADER = 1 << 20  # bytes: more than any header of an index


class Store(Protocol):
    """A dataset's files; `info` is its manifest."""

    info: DatasetInfo

    def index(self, split: SplitInfo) -> Path:
        """Return the place of a split's index on this machine."""

    def shards(self, split: SplitInfo) -> ShardFiles | RemoteShards:
        """Return what reads a split's shards."""


class LocalStore:
    """A folder of shards on this machine.

    Raises:
        InputError: as `read_dataset_info`.
    """

    def __init__(self, folder: Path) -> None:
        self.info = read_dataset_info(folder)
        self._folder = folder

    def index(self, split: SplitInfo) -> Path:
        """Return the place of a split's index."""
        return self._folder / split.index

    def shards(self, split: SplitInfo) -> ShardFiles:
        """Return what reads a split's shards."""
        return ShardFiles(self._folder, split.shards)


class RemoteStore:
    """A folder of shards at a URL; its manifest is read anew each time, all else is cached.

    Raises:
        UsageError, EnvironmentFault: as `RemoteFolder`, or the cache cannot be written.
        InputError: there is no dataset.json, or it is not valid.
    """

    def __init__(self, url: str, cache: Cache) -> None:
        self._remote = RemoteFolder(url)
        text = self._remote.read(DATASET_FILE)
        self.info = parse_dataset_info(text, f"{self._remote}/{DATASET_FILE}")
        self._cached = cache.open(hashlib.sha256(text).hexdigest())

    def index(self, split: SplitInfo) -> Path:
        """Fetch a split's index, unless it is in the cache, and return its place there.

        Raises:
            InputError: it is not the one that dataset.json describes.
            EnvironmentFault: it cannot be fetched, or has no room in the cache.
        """
        path = self._cached.folder / split.index
        if path.exists():
            return path
        size = self._size(split)
        try:
            return download(
                self._remote,
                self._cached,
                split.index,
                size=size,
                sha256=split.index_sha256,
                wait=True,
            )
        except NoRoom:
            raise no_room(self._cached, size, "the index is read from there") from None

    def shards(self, split: SplitInfo) -> RemoteShards:
        """Return what reads a split's shards."""
        return RemoteShards(self._remote, self._cached, split.shards)

    def _size(self, split: SplitInfo) -> int:
        size = self._remote.size(split.index)
        if size is None:
            raise InputError(f"{self._remote}/{split.index}: the server does not tell its size")
        records = split.samples * SAMPLE.itemsize + split.frames * FRAME.itemsize
        if not records < size <= records + _HEADER:
            raise InputError(
                f"{self._remote}/{split.index}: is {size} bytes long, "
                f"which does not fit {split.samples} samples of {split.frames} frames"
            )
        return size


def find_datasets(place: str) -> list[str]:
    """Return `place` and the folders in it, as far as they hold a dataset.json; or their URLs.

    Raises:
        InputError: there is no such folder.
        UsageError, EnvironmentFault: as `RemoteFolder`.
    """
    if is_url(place):
        return RemoteFolder(place).find(DATASET_FILE)
    top = Path(place)
    if not top.is_dir():
        raise InputError(f"{top}: no such folder", hint="ivvit shard --help")
    folders = sorted({top, *(entry for entry in top.iterdir() if entry.is_dir())})
    return [str(folder) for folder in folders if (folder / DATASET_FILE).is_file()]


def read_manifest(place: str) -> DatasetInfo:
    """Read the dataset.json of a folder or a URL, and nothing else.

    Raises:
        InputError: there is none, or it is not valid.
        UsageError, EnvironmentFault: as `RemoteFolder`.
    """
    if not is_url(place):
        return read_dataset_info(Path(place))
    text = RemoteFolder(place).read(DATASET_FILE)
    return parse_dataset_info(text, f"{place}/{DATASET_FILE}")
