"""One shard: a tar file, and the record that marks it as complete."""

import hashlib
import os
import tarfile
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np

from shards.convert.plan import ShardPlan
from shards.convert.samples import Sample, Skipped
from shards.errors import InputError
from shards.files import sync_folder
from shards.index import (
    CODECS,
    DATASET_FILE,
    FRAME,
    SAMPLE,
    Index,
    open_index,
    write_index,
)

_BLOCK = tarfile.BLOCKSIZE


def write_shard(folder: Path, plan: ShardPlan, results: Iterable[Sample | Skipped]) -> None:
    """Write a shard's tar, then its completion record, each atomically.

    The record is an index of this shard alone. Its header holds the plan's digest, the tar's size
    and sha256, and the items that were skipped. A shard without samples has a record but no tar.
    """
    temporary = folder / f".{plan.tar}.{os.getpid()}.tmp"
    try:
        content = _write_tar(temporary, results)
        if content.rows:
            for name in (DATASET_FILE, plan.record):  # they describe the tar that is there so far
                (folder / name).unlink(missing_ok=True)
            temporary.replace(folder / plan.tar)
            sync_folder(folder)
    finally:
        temporary.unlink(missing_ok=True)
    shard = {
        "file": plan.tar,
        "samples": len(content.rows),
        "bytes": content.bytes,
        "sha256": content.sha256,
    }
    header = {
        "plan": plan.digest,
        "shard": shard if content.rows else None,
        "skipped": [asdict(item) for item in content.skipped],
    }
    samples, frames = np.array(content.rows, SAMPLE), np.array(content.frames, FRAME)
    write_index(folder / plan.record, header, samples, frames)


@dataclass
class _Content:
    """What a tar holds: rows of SAMPLE and FRAME, what was left out, and its fingerprint."""

    rows: list[tuple[Any, ...]] = field(default_factory=list)
    frames: list[tuple[int, int]] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    bytes: int = 0
    sha256: str = ""


def _write_tar(path: Path, results: Iterable[Sample | Skipped]) -> _Content:
    content = _Content()
    with path.open("wb") as file:
        stream = _HashingFile(file)
        with _tar_writer(stream) as writer:
            for result in results:
                if isinstance(result, Skipped):
                    content.skipped.append(result)
                    continue
                start = writer.tarstream.offset
                writer.write({"__key__": result.key, **result.members})
                content.rows.append(_sample_row(result, len(content.frames)))
                content.frames.extend(_frame_rows(result, start))
        file.flush()
        os.fsync(file.fileno())
    content.bytes, content.sha256 = stream.size, stream.sha256.hexdigest()
    return content


def is_done(folder: Path, plan: ShardPlan, *, retry_failed: bool = False) -> bool:
    """Return whether a shard needs no conversion: it is finished, and newer than its sources.

    With `retry_failed`, a shard from which an item was skipped is not done.
    """
    record = finished_record(folder, plan)
    if record is None or (retry_failed and record.header["skipped"]):
        return False
    written = (folder / plan.record).stat().st_mtime_ns
    return all(item.modified <= written for item in plan.items)


def finished_record(folder: Path, plan: ShardPlan) -> Index | None:
    """Return a shard's completion record if the shard is there and was made by the same plan."""
    try:
        record = open_index(folder / plan.record)
    except InputError:
        return None
    if record.header.get("plan") != plan.digest:
        return None
    shard = record.header["shard"]
    if shard is None:
        return record
    tar = folder / plan.tar
    return record if tar.is_file() and tar.stat().st_size == shard["bytes"] else None


def _tar_writer(stream: "_HashingFile") -> Any:
    import webdataset  # imports torch, which planning and faulty calls do without

    return webdataset.TarWriter(
        stream, encoder=False, compress=False, mtime=0, format=tarfile.USTAR_FORMAT
    )


class _HashingFile:
    """A file for writing that knows the size and sha256 of what went through."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.size = 0
        self.sha256 = hashlib.sha256()

    def write(self, data: bytes) -> int:
        self.sha256.update(data)
        self.size += len(data)
        return self._file.write(data)


def _sample_row(sample: Sample, first_frame: int) -> tuple[Any, ...]:
    codec = CODECS.index(sample.codec)
    count = len(sample.sizes)
    key = sample.key.encode()
    size = (sample.width, sample.height)
    return (key, first_frame, count, sample.label, 0, codec, *size, sample.fps)


def _frame_rows(sample: Sample, start: int) -> list[tuple[int, int]]:
    """Return (offset, size) of each frame of a sample whose first header is at `start`."""
    rows: list[tuple[int, int]] = []
    sizes = iter(sample.sizes)
    for extension in sorted(sample.members):  # the order in which TarWriter writes them
        data = start + _BLOCK
        end = data + len(sample.members[extension])
        if extension in sample.media:
            while data < end:
                size = next(sizes)
                rows.append((data, size))
                data += size
        start = end + -end % _BLOCK
    return rows
