"""The end of a conversion: merged indexes, the list of what was left out, the manifest."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from shards.convert.folder import index_name, remove_stale
from shards.convert.items import Listing
from shards.convert.media import sniff_kind
from shards.convert.options import Options
from shards.convert.plan import ShardPlan
from shards.convert.report import Row
from shards.convert.samples import Skipped
from shards.convert.writer import finished_record
from shards.errors import InputError
from shards.files import write_atomically
from shards.index import (
    DATASET_FILE,
    FRAME,
    SAMPLE,
    SKIPPED_FILE,
    DatasetInfo,
    Index,
    ShardInfo,
    SplitInfo,
    read_dataset_info,
    write_dataset_info,
    write_index,
)


@dataclass(frozen=True)
class Finished:
    """What a finished folder holds: its splits, the labels that occur, the items skipped."""

    splits: dict[str, Row]
    labels: set[int]
    skipped: tuple[Skipped, ...]


def finish(
    out: Path,
    listing: Listing,
    plans: Sequence[ShardPlan],
    options: Options,
    tools: dict[str, str],
) -> Finished:
    """Finish a folder whose shards are all complete.

    A split none of whose items could be converted is left out. The manifest is written last, and
    only then is removed what an older plan left behind.

    Raises:
        InputError: no sample was written at all.
    """
    records = [(plan, _record(out, plan)) for plan in plans]
    skipped = [Skipped(**row) for _, record in records for row in record.header["skipped"]]
    _write_skipped(out, listing, skipped)
    full = [(plan.split, record) for plan, record in records if record.header["shard"]]
    if not full:
        for plan in plans:  # else they would keep another dataset out of the folder
            (out / plan.record).unlink()
        raise _nothing_converted(out, listing, skipped)
    _drop_other_manifest(out, [record.header["shard"] for _, record in full])
    splits = {
        split: _merge(out, listing, split, [record for _, record in group])
        for split, group in groupby(full, key=lambda pair: pair[0])
    }
    write_dataset_info(out, _manifest(listing, splits, options, tools))
    remove_stale(out, listing.name, _names(plans, splits))
    rows = {name: _row(info) for name, info in splits.items()}
    labels = {label for _, record in full for label in np.unique(record.samples["label"]).tolist()}
    return Finished(rows, labels, tuple(skipped))


def _drop_other_manifest(out: Path, shards: list[dict[str, Any]]) -> None:
    """Remove a manifest that names other shards: the indexes that it goes with are rewritten."""
    try:
        splits = read_dataset_info(out).splits.values()
    except InputError:
        return
    if [shard.model_dump() for split in splits for shard in split.shards] != shards:
        (out / DATASET_FILE).unlink()


def _record(out: Path, plan: ShardPlan) -> Index:
    record = finished_record(out, plan)
    if record is None:
        raise InputError(f"{out / plan.record}: was changed while the conversion ran")
    return record


def _write_skipped(out: Path, listing: Listing, skipped: Sequence[Skipped]) -> None:
    rows = [asdict(item) for item in skipped] + [
        {"source": item.source, "split": item.split, "reason": "missing: listed, but not there"}
        for item in listing.missing
    ]
    text = "".join(json.dumps(row, sort_keys=True) + "\n" for row in rows)
    write_atomically(out / SKIPPED_FILE, text.encode())


def _merge(out: Path, listing: Listing, split: str, records: list[Index]) -> SplitInfo:
    samples, frames = [np.empty(0, SAMPLE)], [np.empty(0, FRAME)]
    shards: list[ShardInfo] = []
    first_frame = 0
    for record in records:
        rows = np.array(record.samples)
        rows["shard"] = len(shards)
        rows["first_frame"] += first_frame
        first_frame += len(record.frames)
        samples.append(rows)
        frames.append(record.frames)
        shards.append(ShardInfo(**record.header["shard"]))
    header = {"dataset": listing.name, "split": split}
    path = out / index_name(listing.name, split)
    write_index(path, header, np.concatenate(samples), np.concatenate(frames))
    return _split_info(listing, split, path, tuple(shards), first_frame)


def _split_info(
    listing: Listing, split: str, path: Path, shards: tuple[ShardInfo, ...], frames: int
) -> SplitInfo:
    tried = sum(item.split == split for item in listing.items)
    missing = sum(item.split == split for item in listing.missing)
    written = sum(shard.samples for shard in shards)
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return SplitInfo(
        samples=written,
        frames=frames,
        bytes=sum(shard.bytes for shard in shards),
        index=path.name,
        index_sha256=digest,
        shards=shards,
        listed=tried + missing,
        written=written,
        missing=missing,
        skipped=tried - written,
        duplicate=listing.duplicates.get(split, 0),
    )


def _manifest(
    listing: Listing, splits: dict[str, SplitInfo], options: Options, tools: dict[str, str]
) -> DatasetInfo:
    return DatasetInfo(
        name=listing.name,
        kind=listing.kind,
        classes=listing.classes,
        class_source=listing.class_source,
        splits=splits,
        options=options.document(),
        tools=tools,
        flip_unsafe=listing.flip_unsafe,
    )


def _nothing_converted(out: Path, listing: Listing, skipped: Sequence[Skipped]) -> InputError:
    if skipped:
        why = f"{len(skipped)} skipped, the first ({skipped[0].source}) {skipped[0].reason}"
    else:
        why = f"all {len(listing.missing)} listed items are missing"
    hint = (_other_layout(listing) if skipped else None) or f"see {out / SKIPPED_FILE}"
    return InputError(f"{out}: nothing could be converted: {why}", hint=hint)


def _other_layout(listing: Listing) -> str | None:
    """Suggest the layout of plain folders for the other kind, if all the files are of it."""
    other = "image" if listing.kind == "video" else "video"
    try:
        if all(item.path and sniff_kind(item.path) == other for item in listing.items):
            return f"they are {other}s: ivvit shard {other}folder"
    except InputError:  # a file of neither kind
        pass
    return None


def _names(plans: Sequence[ShardPlan], splits: dict[str, SplitInfo]) -> set[str]:
    tars = {shard.file for info in splits.values() for shard in info.shards}
    indexes = {info.index for info in splits.values()}
    return {DATASET_FILE, SKIPPED_FILE} | tars | indexes | {plan.record for plan in plans}


def _row(info: SplitInfo) -> dict[str, Any]:
    return {"samples": info.samples, "shards": len(info.shards), "bytes": info.bytes}
