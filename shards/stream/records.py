"""A table of fixed-width records in a file, read by `pread`, so that no page of it stays resident.

A mapping would be a line shorter, but what training touches of it counts as the process's memory:
after an epoch over a million clips of 300 frames, all of 3.7 GB.
"""

import os
from collections.abc import Callable, Iterator
from functools import lru_cache, partial
from itertools import repeat
from pathlib import Path
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from shards.errors import InputError

_BLOCK = 1 << 14  # records read at a time by what goes through all of them
_KEPT = 1 << 12  # records at hand: a sample's is looked at several times until it is decoded


class Descriptor:
    """An open file that closes when its last user lets go, be that a cache or a reader."""

    def __init__(self, path: Path) -> None:
        self.number = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # of a pipe, too

    def __del__(self) -> None:
        if hasattr(self, "number"):
            os.close(self.number)


class Records:
    """`count` records of `dtype` from byte `offset` of a file; safe to use from many threads.

    `records[i]` is one record, `records["label"]` a copy of a whole column.

    Raises:
        InputError: (by reading) the file was cut after it was opened.
    """

    def __init__(self, file: Descriptor, dtype: np.dtype[np.void], offset: int, count: int) -> None:
        self._file = file
        self._dtype = dtype
        self._offset = offset
        self._count = count
        self._read = partial(_read, file, dtype, offset)
        self._one = lru_cache(_KEPT)(partial(_read_one, self._read))

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, key: int) -> np.void: ...
    @overload
    def __getitem__(self, key: str) -> NDArray[Any]: ...
    def __getitem__(self, key: int | str) -> np.void | NDArray[Any]:
        if isinstance(key, str):
            columns = [rows[key].copy() for _, rows in self.blocks()]
            return np.concatenate(columns) if columns else np.empty(0, self._dtype[key])
        place = key + self._count if key < 0 else key
        if not 0 <= place < self._count:
            raise IndexError(key)
        return self._one(place)

    def rows(self, first: int, count: int) -> NDArray[np.void]:
        """Return the records from `first` to `first + count`, which has to be in the table."""
        return self._read(first, count)

    def take(
        self, firsts: NDArray[np.int64], counts: NDArray[np.int64] | None = None
    ) -> NDArray[np.void]:
        """Return runs of records, each of `counts` (1 by default), one run after another."""
        size = self._dtype.itemsize
        places = (self._offset + firsts * size).tolist()
        sizes = [size] * len(places) if counts is None else (counts * size).tolist()
        data = b"".join(map(os.pread, repeat(self._file.number), sizes, places))
        if len(data) != sum(sizes):
            raise InputError("the index was cut while it was read")
        return np.frombuffer(data, self._dtype)

    def blocks(self) -> Iterator[tuple[int, NDArray[np.void]]]:
        """Yield all records, a block at a time, with the number of its first."""
        for first in range(0, self._count, _BLOCK):
            yield first, self._read(first, min(_BLOCK, self._count - first))


def _read_one(read: Callable[[int, int], NDArray[np.void]], place: int) -> np.void:
    record: np.void = read(place, 1)[0]
    return record


def _read(
    file: Descriptor, dtype: np.dtype[np.void], offset: int, first: int, count: int
) -> NDArray[np.void]:
    size = dtype.itemsize
    data = os.pread(file.number, count * size, offset + first * size)
    if len(data) != count * size:
        raise InputError(f"the index ends before its record {first + count - 1}")
    return np.frombuffer(data, dtype)
