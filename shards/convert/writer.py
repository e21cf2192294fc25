"""One shard: a tar file, and the record that marks it as complete."""

import os
import tarfile
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from shards.convert.plan import ShardPlan
from shards.convert.samples import Sample, Skipped
from shards.convert.seal import is_sealed, sealed
from shards.errors import InputError
from shards.files import HashingFile, sync_folder, temporary_path
from shards.index import CODECS, FRAME, SAMPLE, Layout, read_layout, write_index
from shards.manifest import DATASET_FILE

_BLOCK = tarfile.BLOCKSIZE


def write_shard(folder: Path, plan: ShardPlan, results: Iterable[Sample | Skipped]) -> None:
    """Write a shard's tar, then its completion record, each atomically.

    The record is an index of this shard alone. Its header holds the plan's digest, the tar's size
    and sha256, and the items that were skipped. A shard without samples has a record but no tar.
    What is there already, by another process or before its sources were touched, stays.
    """
    temporary = temporary_path(folder / plan.tar)
    try:
        content = _write_tar(temporary, results)
        header = _header(plan, content)
        if header.items() <= (finished_header(folder, plan) or {}).items():
            os.utime(folder / plan.record)
            return
        if content.rows:
            # They describe the tar that is there so far. Whoever finishes the folder meanwhile
            # looks for the record after writing the manifest, so the record goes first.
            for name in (plan.record, DATASET_FILE):
                (folder / name).unlink(missing_ok=True)
            temporary.replace(folder / plan.tar)
            sync_folder(folder)
    finally:
        temporary.unlink(missing_ok=True)
    samples, frames = np.array(content.rows, SAMPLE), np.array(content.frames, FRAME)
    write_index(folder / plan.record, sealed(header, samples, frames), samples, frames)


def _header(plan: ShardPlan, content: "_Content") -> dict[str, Any]:
    shard = {
        "file": plan.tar,
        "samples": len(content.rows),
        "bytes": content.bytes,
        "sha256": content.sha256,
    }
    return {
        "plan": plan.digest,
        "shard": shard if content.rows else None,
        "skipped": [asdict(item) for item in content.skipped],
    }


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
        stream = HashingFile(file)
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
    header = finished_header(folder, plan)
    if header is None or (retry_failed and header["skipped"]):
        return False
    written = (folder / plan.record).stat().st_mtime_ns
    return all(item.modified <= written for item in plan.items)


def finished_header(folder: Path, plan: ShardPlan) -> dict[str, Any] | None:
    """Return a shard's completion record if the shard is there and was made by the same plan."""
    layout = finished_layout(folder, plan)
    return layout.header if layout else None


def finished_layout(folder: Path, plan: ShardPlan) -> Layout | None:
    """Return where the rows of a finished shard lie in its record; see `finished_header`."""
    try:
        layout = read_layout(folder / plan.record)
    except InputError:
        return None
    if not is_sealed(layout.header) or layout.header["plan"] != plan.digest:
        return None
    shard = layout.header["shard"]
    if shard is None:
        return layout
    tar = folder / plan.tar
    return layout if tar.is_file() and tar.stat().st_size == shard["bytes"] else None


def _tar_writer(stream: "HashingFile") -> Any:
    import webdataset  # imports torch, which planning and faulty calls do without

    return webdataset.TarWriter(
        stream, encoder=False, compress=False, mtime=0, format=tarfile.USTAR_FORMAT
    )


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
