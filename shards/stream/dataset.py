"""A dataset of shards, in a folder or at a URL: its splits, each opened once."""

from pathlib import Path

from shards.errors import InputError
from shards.manifest import Kind
from shards.stream.reader import Split
from shards.stream.remote.cache import Cache
from shards.stream.remote.settings import choose_cache
from shards.stream.store import LocalStore, RemoteStore, Store
from shards.urls import is_url


class ShardedDataset:
    """A folder of shards, or a URL of one: `dataset[split]` is a `Split`."""

    def __init__(self, folder: Path | str, store: Store) -> None:
        self.folder = folder
        self.info = store.info
        self.name = store.info.name
        self.kind: Kind = store.info.kind
        self.classes = store.info.classes
        self._store = store
        self._splits: dict[str, Split] = {}

    def __getitem__(self, split: str) -> Split:
        if split not in self.info.splits:
            raise InputError(
                f"{self.folder}: has no split {split!r}",
                hint=f"splits: {', '.join(sorted(self.info.splits))}",
            )
        if split not in self._splits:
            self._splits[split] = Split(self.folder, self._store, split)
        return self._splits[split]


def open_dataset(folder: str | Path, cache: Cache | None = None) -> ShardedDataset:
    """Open a folder of shards that `ivvit shard` finished, or a URL of one.

    Args:
        folder: a path, or a URL of any kind that fsspec knows (`s3://bucket/ucf101`).
        cache: where shards of a URL are kept; by default as `choose_cache` says.

    Raises:
        InputError: the folder, its manifest or (on access) a split is missing or unreadable.
        UsageError: there is no such kind of URL.
        EnvironmentFault: the server of a URL does not answer, or the cache cannot be written.
    """
    if is_url(folder):
        return ShardedDataset(str(folder), RemoteStore(str(folder), cache or choose_cache()))
    folder = Path(folder)
    return ShardedDataset(folder, LocalStore(folder))
