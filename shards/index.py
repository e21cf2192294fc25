"""The index of a split: every sample's label, and the place of each of its frames in a shard.

By it a clip is read with one `pread` per frame, without a walk through the tar. With the manifest
of the folder (`shards.manifest`) it is the contract between the writing wing and the reading wing.

An index file is laid out for `mmap`; all numbers are little-endian:

    8 bytes   magic "ivvitidx"
    4 bytes   schema version
    4 bytes   length of the header
    header    JSON, padded with spaces so that the records start at a multiple of 64
    records   one SAMPLE per sample, then one FRAME per frame

An image is a sample of one frame. `SAMPLE["first_frame"]` and `SAMPLE["frames"]` name a sample's
rows in the frame table; a FRAME is a byte range of the sample's shard.
"""

import json
import os
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shards.errors import InputError
from shards.files import open_plain, write_atomically
from shards.manifest import SCHEMA

KEY_BYTES = 80
CODECS = ("jpg", "png", "ppm")  # the code in SAMPLE["codec"] is the position here
SAMPLE = np.dtype(
    [
        ("key", f"S{KEY_BYTES}"),
        ("first_frame", "<u8"),
        ("frames", "<u4"),
        ("label", "<i4"),
        ("shard", "<u4"),  # position in SplitInfo.shards
        ("codec", "<u4"),
        ("width", "<u4"),  # pixels of the stored frames
        ("height", "<u4"),
        ("fps", "<f4"),  # stored frames per second; 0 for an image
    ]
)
FRAME = np.dtype([("offset", "<u8"), ("size", "<u4")])  # bytes from the start of the shard

_MAGIC = b"ivvitidx"
_PREFIX = struct.Struct("<8sII")
_ALIGN = 64
_HEADER_FAULTS = (
    *(OSError, ValueError, KeyError, TypeError, struct.error),
    *(RecursionError, OverflowError),  # nested without end; an infinite number
)


@dataclass(frozen=True)
class Index:
    """A mapped index: `samples` is (S,) of SAMPLE, `frames` is (F,) of FRAME, both read-only."""

    header: dict[str, Any]
    samples: NDArray[np.void]
    frames: NDArray[np.void]


@dataclass(frozen=True)
class Layout:
    """Where the records of an index file lie: how many there are, and the first one's byte."""

    header: dict[str, Any]
    samples: int
    sample_place: int
    frames: int
    frame_place: int


def write_index(
    path: Path,
    header: dict[str, Any],
    samples: NDArray[np.void],
    frames: NDArray[np.void],
) -> None:
    """Write an index file atomically. `samples` is (S,) of SAMPLE, `frames` (F,) of FRAME."""
    write_atomically(path, encode_header(header, len(samples), len(frames)), samples, frames)


def encode_header(header: dict[str, Any], samples: int, frames: int) -> bytes:
    """Return the bytes that precede the records of an index of so many samples and frames."""
    text = json.dumps({**header, "samples": samples, "frames": frames}, sort_keys=True).encode()
    padding = -(_PREFIX.size + len(text)) % _ALIGN
    return _PREFIX.pack(_MAGIC, SCHEMA, len(text) + padding) + text + b" " * padding


def open_index(path: Path) -> Index:
    """Map an index file into memory; only the pages that are touched become resident.

    Raises:
        InputError: the file is missing, is no index, was cut, or has another schema version.
    """
    layout = read_layout(path)
    return Index(
        layout.header,
        _map(path, SAMPLE, layout.sample_place, layout.samples),
        _map(path, FRAME, layout.frame_place, layout.frames),
    )


def read_layout(path: Path) -> Layout:
    """Read the header of an index file, and nothing of its records.

    Raises:
        InputError: the file is missing, is no index, was cut, or has another schema version.
    """
    try:
        with open_plain(path) as file:
            size = os.fstat(file.fileno()).st_size
            magic, version, length = _PREFIX.unpack(file.read(_PREFIX.size))
            if magic != _MAGIC:
                raise ValueError("not an index file")
            if version != SCHEMA:
                raise ValueError(f"index version {version}, but this ivvit reads {SCHEMA}")
            if length > size:
                raise ValueError("the header is cut off")
            header = json.loads(file.read(length))
        count, total = int(header["samples"]), int(header["frames"])
        if count < 0 or total < 0:
            raise ValueError("a number of records is negative")
    except _HEADER_FAULTS as error:
        raise InputError(f"{path}: cannot be read as a sample index: {error}") from None
    start = _PREFIX.size + length
    middle = start + count * SAMPLE.itemsize
    if size != middle + total * FRAME.itemsize:
        raise InputError(f"{path}: is {size} bytes long, which does not fit its header")
    return Layout(header, count, start, total, middle)


def is_index(path: Path) -> bool:
    """Return whether a file starts as an index does, be it whole or damaged behind that."""
    try:
        with open_plain(path) as file:
            return file.read(len(_MAGIC)) == _MAGIC
    except (OSError, ValueError):
        return False


def _map(path: Path, dtype: np.dtype[np.void], offset: int, count: int) -> NDArray[np.void]:
    if count == 0:  # an empty range cannot be mapped
        return np.empty(0, dtype)
    return np.memmap(path, dtype, mode="r", offset=offset, shape=(count,))
