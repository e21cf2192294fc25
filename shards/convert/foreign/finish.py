"""The records of tars of others, merged: indexes, what was left out, the manifest."""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shards.convert.folder import index_name
from shards.convert.foreign.folder import drop_manifest, remove_stale
from shards.convert.foreign.gather import Gathered, Walked
from shards.convert.foreign.record import labels, left_out
from shards.convert.foreign.tars import Tar
from shards.convert.items import Listing
from shards.convert.merge import Record, merge_records
from shards.convert.report import Report
from shards.convert.samples import Skipped
from shards.files import write_atomically
from shards.manifest import SKIPPED_FILE, DatasetInfo, ShardInfo, SplitInfo, write_dataset_info


@dataclass(frozen=True)
class _Numbered(Record):
    """A tar's record, whose labels become numbers of the dataset's classes."""

    numbers: NDArray[np.int32]

    def samples(self) -> NDArray[np.void]:
        """Return the rows of the tar's samples, (S,) of SAMPLE."""
        rows = super().samples()
        rows["label"] = self.numbers[rows["label"]]
        return rows


def finish(
    root: Path,
    out: Path,
    name: str,
    gathered: Gathered,
    walked: Walked,
    *,
    options: dict[str, Any],
    notes: tuple[str, ...],
    reused: int,
) -> Report:
    """Write skipped.jsonl, the indexes and, last, the manifest to `out`.

    A tar, and a split, of which nothing could be indexed is left out.

    Raises:
        OSError: they cannot be written.
    """
    skipped = [
        Skipped(left.source(tar.source), tar.split, left.reason)
        for tar, record in walked
        for left in left_out(record.layout.header)
    ]
    listing = Listing(
        name, gathered.kind, gathered.classes.names, gathered.classes.source, items=()
    )
    info = DatasetInfo(
        name=name,
        kind=listing.kind,
        classes=listing.classes,
        class_source=listing.class_source,
        splits={split.name: split.info(name) for split in _splits(walked)},
        options=options,
        tools={"ivvit": version("ivvit")},
        flip_unsafe=listing.flip_unsafe,
    )
    drop_manifest(out, info)
    lines = "".join(json.dumps(asdict(item), sort_keys=True) + "\n" for item in skipped)
    write_atomically(out / SKIPPED_FILE, lines.encode())
    info, used = _write_indexes(out, info, gathered, walked)
    write_dataset_info(out, info)
    remove_stale(root, out, [tar for tar, _ in walked])
    rows = {split: _row(about) for split, about in info.splits.items()}
    listing = replace(listing, notes=(*notes, *gathered.notes))
    report = Report.of(listing, rows, used, skipped, reused)
    return replace(report, listed=report.written + report.skipped)


@dataclass(frozen=True)
class _Split:
    """The tars of a split that hold samples, and how many were left out of all its tars."""

    name: str
    walked: Walked
    left_out: int

    def info(self, dataset: str) -> SplitInfo:
        """Return what the manifest says of it, but for the sha256 of its index."""
        shards = tuple(_shard(tar, record) for tar, record in self.walked)
        samples = sum(shard.samples for shard in shards)
        return SplitInfo(
            samples=samples,
            frames=sum(record.layout.frames for _, record in self.walked),
            bytes=sum(shard.bytes for shard in shards),
            index=index_name(dataset, self.name),
            index_sha256="",
            shards=shards,
            listed=samples + self.left_out,
            written=samples,
            missing=0,
            skipped=self.left_out,
        )


def _splits(walked: Walked) -> Iterator[_Split]:
    for name, group in groupby(walked, key=lambda pair: pair[0].split):
        pairs = list(group)
        full = [(tar, record) for tar, record in pairs if record.layout.samples]
        if full:
            left = sum(len(left_out(record.layout.header)) for _, record in pairs)
            yield _Split(name, full, left)


def _shard(tar: Tar, record: Record) -> ShardInfo:
    sha256 = record.layout.header["sha256"]
    return ShardInfo(file=tar.file, samples=record.layout.samples, bytes=tar.size, sha256=sha256)


def _write_indexes(
    out: Path, info: DatasetInfo, gathered: Gathered, walked: Walked
) -> tuple[DatasetInfo, set[int]]:
    """Write the splits' indexes; return the manifest with their sha256, and the labels in them."""
    splits, used = {}, set()
    for split in _splits(walked):
        about = info.splits[split.name]
        records = [_number(record, gathered) for _, record in split.walked]
        header = {"dataset": info.name, "split": split.name}
        merged = merge_records(out / about.index, header, records)
        splits[split.name] = about.model_copy(update={"index_sha256": merged.sha256})
        used |= merged.labels
    return info.model_copy(update={"splits": splits}), used


def _number(record: Record, gathered: Gathered) -> _Numbered:
    numbers = gathered.classes.numbers(labels(record.layout.header))
    return _Numbered(record.path, record.layout, np.array(numbers, np.int32))


def _row(split: SplitInfo) -> dict[str, int]:
    return {"samples": split.samples, "shards": len(split.shards), "bytes": split.bytes}
