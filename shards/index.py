"""The contract between the writing and the reading wing: `dataset.json` and the sample index.

A folder of shards holds one `dataset.json` (this module's `DatasetInfo`) and, per split, one index
file. The index gives every sample's label and the place of each of its frames, so that a clip is
read with one `pread` per frame, without a walk through the tar.

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
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError

from shards.errors import InputError
from shards.files import open_plain, write_atomically

SCHEMA = 1
DATASET_FILE = "dataset.json"
SKIPPED_FILE = "skipped.jsonl"

Kind = Literal["image", "video"]

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


class _Manifest(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


def _check_file_name(name: str) -> str:
    if Path(name).name != name or name in ("", "..") or "\0" in name:
        raise ValueError(f"{name!r} is not a file's name")
    return name


FileName = Annotated[str, AfterValidator(_check_file_name)]  # within the folder, nowhere else


class ShardInfo(_Manifest):
    """One tar file of a split; `sha256` is None of another's that was not read as a whole."""

    file: FileName
    samples: int
    bytes: int
    sha256: str | None


class SplitInfo(_Manifest):
    """One split: its shards in order, its index, and what became of the items listed for it.

    `duplicate` counts lines that named again what was listed already; they are not in `listed`.
    """

    samples: int
    frames: int
    bytes: int
    index: FileName
    index_sha256: str
    shards: tuple[ShardInfo, ...]
    listed: int
    written: int
    missing: int
    skipped: int
    duplicate: int = 0


class DatasetInfo(_Manifest):
    """The content of `dataset.json`. Class names are in label order."""

    schema_version: int = SCHEMA
    name: str
    kind: Kind
    classes: tuple[str, ...]
    class_source: str
    splits: dict[str, SplitInfo]
    options: dict[str, Any]
    tools: dict[str, str]
    flip_unsafe: tuple[str, ...] = ()


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


def read_dataset_info(folder: Path) -> DatasetInfo:
    """Read and check `folder/dataset.json`.

    Raises:
        InputError: there is none, it is not valid, or another schema version wrote it.
    """
    path = folder / DATASET_FILE
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder of shards", hint="ivvit shard --help")
    try:
        with open_plain(path) as file:
            text = file.read()
    except FileNotFoundError:
        raise InputError(
            f"{folder}: holds no {DATASET_FILE}, so it is not a finished folder of shards",
            hint="run `ivvit shard` again with the same options: it converts only what is missing; "
            "with --finalize it tells which parts are",
        ) from None
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read: {error}") from None
    return parse_dataset_info(text, str(path))


def parse_dataset_info(text: bytes, where: str) -> DatasetInfo:
    """Check the content of a `dataset.json`; `where` names it in messages.

    Raises:
        InputError: it is not valid, or another schema version wrote it.
    """
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where}: cannot be read: {error}") from None
    version = document.get("schema_version") if isinstance(document, dict) else None
    if version != SCHEMA:
        raise InputError(
            f"{where}: schema version {version}, but this ivvit reads version {SCHEMA}",
            hint="convert the dataset again with `ivvit shard`",
        )
    try:
        return DatasetInfo.model_validate(document)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise InputError(f"{where}: {place}: {first['msg']}") from None


def write_dataset_info(folder: Path, info: DatasetInfo) -> None:
    """Write `folder/dataset.json` atomically; its presence marks the folder as finished."""
    write_atomically(folder / DATASET_FILE, (info.model_dump_json(indent=1) + "\n").encode())


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
