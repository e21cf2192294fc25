"""Reading frames of remote shards: from the cache, or as byte ranges of what is not in it."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from shards.errors import EnvironmentFault, InputError
from shards.manifest import ShardInfo
from shards.stream.files import ShardFiles, join_ranges
from shards.stream.remote.cache import CachedDataset, NoRoom
from shards.stream.remote.download import download
from shards.stream.remote.downloads import Downloads
from shards.stream.remote.folder import RemoteFolder

_BRIDGE = 1 << 20  # bytes read in vain to save a request


class RemoteShards:
    """A split's shards at a URL; safe to use from many threads.

    A shard that is in the cache is read there. Of any other, just the frames that are asked for are
    read over the network, while the whole shard is being fetched, if there is room for it. Where
    the server gives no byte ranges, the shard is waited for.
    """

    def __init__(
        self, remote: RemoteFolder, cached: CachedDataset, shards: Sequence[ShardInfo]
    ) -> None:
        self._remote = remote
        self._cached = cached
        self._shards = shards
        self._local = ShardFiles(cached.folder, shards)
        self._downloads = Downloads(self._fetch)
        self._checked: set[int] = set()  # whose size at the URL is the recorded one

    def read(self, shard: int, rows: NDArray[np.void]) -> list[bytes]:
        """Return the bytes of each FRAME of `rows` in a shard.

        Raises:
            InputError: the remote shard is not the one that dataset.json describes.
            EnvironmentFault: the server does not answer, or the shard is needed whole but does not
                fit into the cache.
        """
        try:
            return self._local.read(shard, rows)
        except FileNotFoundError:
            pass
        self._downloads.check(shard)
        if not self._remote.gives_parts:
            self._fetch(shard, wait=True)
            return self._local.read(shard, rows)
        self._downloads.want([shard])
        return self._read_ranges(shard, rows)

    def expect(self, shards: Iterable[int]) -> None:
        """Fetch shards, in this order, that will be read soon."""
        folder = self._cached.folder
        once = dict.fromkeys(shards)
        self._downloads.want(s for s in once if not (folder / self._shards[s].file).exists())

    def _fetch(self, shard: int, wait: bool = False) -> Path:
        info = self._shards[shard]
        try:
            return download(
                self._remote,
                self._cached,
                info.file,
                size=info.bytes,
                sha256=info.sha256,
                wait=wait,
            )
        except NoRoom:
            if not wait:
                raise
            raise no_room(self._cached, info.bytes, "it gives no parts of files") from None

    def _read_ranges(self, shard: int, rows: NDArray[np.void]) -> list[bytes]:
        info = self._shards[shard]
        offsets, sizes = rows["offset"].tolist(), rows["size"].tolist()
        spans = list(join_ranges(offsets, sizes, _BRIDGE))
        if any(end > info.bytes for _, end, _ in spans):
            raise InputError(f"the index names bytes beyond the shard's {info.bytes}")
        self._check_size(shard)
        blocks = self._remote.read_ranges(info.file, [(start, end) for start, end, _ in spans])
        return [
            block[offsets[k] - start : offsets[k] - start + sizes[k]]
            for (start, _, members), block in zip(spans, blocks, strict=True)
            for k in members
        ]

    def _check_size(self, shard: int) -> None:
        if shard not in self._checked:
            info = self._shards[shard]
            size = self._remote.size(info.file)
            if size not in (None, info.bytes):
                raise InputError(
                    f"the shard is {size} bytes long, but {info.bytes} are recorded",
                    hint="it was changed after dataset.json was written",
                )
            self._checked.add(shard)


def no_room(cached: CachedDataset, size: int, reason: str) -> EnvironmentFault:
    """Say that a file has to be in the cache, but does not fit."""
    cache = cached.cache
    return EnvironmentFault(
        f"the cache {cache.folder} has no room for {size / 1e9:.3g} GB ({reason}); "
        f"its limit is {cache.limit / 1e9:.3g} GB",
        hint="raise loader.cache.limit or IVVIT_CACHE_LIMIT, or make room on its disk",
    )
