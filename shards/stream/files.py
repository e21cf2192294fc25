"""Byte ranges of shards, read through a bounded number of open files."""

import os
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from shards.errors import InputError
from shards.manifest import ShardInfo
from shards.stream.records import Descriptor

OPEN_SHARDS = 64  # descriptors kept per split
VERIFY = "`ivvit data verify` lists the damage"

_BRIDGE = 1536  # bytes read in vain to save a call: a tar header and two paddings lie within


class ShardFiles:
    """A thread-safe cache of the most recently used shards' descriptors."""

    def __init__(self, folder: Path, shards: Sequence[ShardInfo]) -> None:
        self._folder = folder
        self._shards = shards
        self._cache: OrderedDict[int, Descriptor] = OrderedDict()
        self._lock = threading.Lock()

    def read(self, shard: int, rows: NDArray[np.void]) -> list[bytes]:
        """Return the bytes of each FRAME of `rows` in a shard; neighbours share one call."""
        descriptor = self._descriptor(shard)
        offsets, sizes = rows["offset"].tolist(), rows["size"].tolist()
        frames: list[bytes] = []
        for start, end, members in join_ranges(offsets, sizes, _BRIDGE):
            block = _pread(descriptor.number, start, end - start)
            frames += [block[offsets[k] - start : offsets[k] - start + sizes[k]] for k in members]
        return frames

    def _descriptor(self, shard: int) -> Descriptor:
        with self._lock:
            if shard in self._cache:
                self._cache.move_to_end(shard)
            else:
                self._cache[shard] = self._open(self._shards[shard])
                if len(self._cache) > OPEN_SHARDS:
                    self._cache.popitem(last=False)
            return self._cache[shard]

    def _open(self, info: ShardInfo) -> Descriptor:
        descriptor = Descriptor(self._folder / info.file)
        size = os.fstat(descriptor.number).st_size
        if size != info.bytes:
            raise InputError(
                f"the shard is {size} bytes long, but {info.bytes} are recorded", hint=VERIFY
            )
        return descriptor


def join_ranges(
    offsets: Sequence[int], sizes: Sequence[int], bridge: int
) -> Iterator[tuple[int, int, range]]:
    """Yield the byte ranges, each with its members, that hold all the given ones in their order.

    Neighbours share a range when at most `bridge` bytes lie between them.
    """
    first = 0
    for last in range(len(offsets)):
        end = offsets[last] + sizes[last]
        if last + 1 == len(offsets) or not 0 <= offsets[last + 1] - end <= bridge:
            yield offsets[first], end, range(first, last + 1)
            first = last + 1


def _pread(descriptor: int, offset: int, size: int) -> bytes:
    block = os.pread(descriptor, size, offset)
    if len(block) != size:
        raise InputError(f"the shard ends before byte {offset + size}", hint=VERIFY)
    return block
