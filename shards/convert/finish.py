"""The end of a conversion: merged indexes, the list of what was left out, the manifest."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from shards.convert.division import DIVISION_FILE
from shards.convert.errors import DamagedRecord, ShardsMissing
from shards.convert.folder import index_name, remove_stale
from shards.convert.items import Listing
from shards.convert.media import sniff_kind
from shards.convert.merge import Merged, Record, merge_records
from shards.convert.options import Options
from shards.convert.plan import ShardPlan
from shards.convert.report import Row
from shards.convert.samples import Skipped
from shards.convert.writer import finished_layout
from shards.errors import InputError
from shards.files import write_atomically
from shards.manifest import (
    DATASET_FILE,
    SKIPPED_FILE,
    DatasetInfo,
    ShardInfo,
    SplitInfo,
    read_dataset_info,
    write_dataset_info,
)


@dataclass(frozen=True)
class Finished:
    """What a finished folder holds: its splits, the labels that occur, the items skipped.

    `short_side` is the longest short side, in pixels.
    """

    splits: dict[str, Row]
    labels: set[int]
    short_side: int
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
    only then is removed what an older plan left behind. Several processes may do this at the same
    time: each writes the same bytes. One that finds afterwards that a shard was converted again
    meanwhile takes the manifest back and begins anew.

    Raises:
        ShardsMissing: not all shards are there.
        InputError: no sample was written at all, or a record is damaged.
    """
    while True:
        records = read_records(out, plans)
        try:
            splits, merged = _write_all(out, listing, plans, records, options, tools)
        except FileNotFoundError:  # a record was taken away to be written anew
            continue
        except DamagedRecord:  # a record is not what it was when its header was read
            if _unchanged(out, plans, records):
                raise
            continue
        if _unchanged(out, plans, records):
            break
        (out / DATASET_FILE).unlink(missing_ok=True)
    remove_stale(out, listing.name, _names(plans, splits))
    return Finished(
        split_rows(plans, records),
        set().union(*(each.labels for each in merged)),
        max(each.short_side for each in merged),
        tuple(skipped_items(records)),
    )


def read_records(out: Path, plans: Sequence[ShardPlan]) -> list[Record]:
    """Return the completion records of all shards.

    Raises:
        ShardsMissing: not all shards are there.
    """
    layouts = [finished_layout(out, plan) for plan in plans]
    missing = tuple(place for place, layout in enumerate(layouts) if layout is None)
    if missing:
        raise ShardsMissing(out, missing, [plans[place].tar for place in missing], len(plans))
    return [
        Record(out / plan.record, layout)
        for plan, layout in zip(plans, layouts, strict=True)
        if layout
    ]


def skipped_items(records: Sequence[Record]) -> list[Skipped]:
    """Return the items that were left out of the shards."""
    return [Skipped(**row) for record in records for row in record.layout.header["skipped"]]


def split_rows(plans: Sequence[ShardPlan], records: Sequence[Record]) -> dict[str, Row]:
    """Return what of each split is in the shards; a split without a sample is left out."""
    rows: dict[str, Row] = {}
    for plan, record in zip(plans, records, strict=True):
        if shard := record.layout.header["shard"]:
            row = rows.setdefault(plan.split, {"samples": 0, "shards": 0, "bytes": 0})
            row["samples"] += shard["samples"]
            row["shards"] += 1
            row["bytes"] += shard["bytes"]
    return rows


def _write_all(
    out: Path,
    listing: Listing,
    plans: Sequence[ShardPlan],
    records: Sequence[Record],
    options: Options,
    tools: dict[str, str],
) -> tuple[dict[str, SplitInfo], list[Merged]]:
    """Write skipped.jsonl, the indexes and the manifest; return the splits and their indexes."""
    skipped = skipped_items(records)
    _write_skipped(out, listing, skipped)
    pairs = zip(plans, records, strict=True)
    full = [(plan.split, record) for plan, record in pairs if record.layout.header["shard"]]
    if not full:
        for name in (*(plan.record for plan in plans), DIVISION_FILE):
            (out / name).unlink(missing_ok=True)  # else they would keep other datasets out
        raise _nothing_converted(out, listing, skipped)
    _drop_other_manifest(out, [record.layout.header["shard"] for _, record in full])
    splits: dict[str, SplitInfo] = {}
    indexes: list[Merged] = []
    for split, group in groupby(full, key=lambda pair: pair[0]):
        of_split = [record for _, record in group]
        path = out / index_name(listing.name, split)
        merged = merge_records(path, {"dataset": listing.name, "split": split}, of_split)
        splits[split] = _split_info(listing, split, path.name, of_split, merged)
        indexes.append(merged)
    write_dataset_info(out, _manifest(listing, splits, options, tools))
    return splits, indexes


def _unchanged(out: Path, plans: Sequence[ShardPlan], records: Sequence[Record]) -> bool:
    try:
        return read_records(out, plans) == records
    except ShardsMissing:
        return False


def _drop_other_manifest(out: Path, shards: list[dict[str, Any]]) -> None:
    """Remove a manifest that names other shards: the indexes that it goes with are rewritten."""
    try:
        splits = read_dataset_info(out).splits.values()
    except InputError:
        return
    if [shard.model_dump() for split in splits for shard in split.shards] != shards:
        (out / DATASET_FILE).unlink(missing_ok=True)


def _write_skipped(out: Path, listing: Listing, skipped: Sequence[Skipped]) -> None:
    rows = [asdict(item) for item in skipped] + [
        {"source": item.source, "split": item.split, "reason": "missing: listed, but not there"}
        for item in listing.missing
    ]
    text = "".join(json.dumps(row, sort_keys=True) + "\n" for row in rows)
    write_atomically(out / SKIPPED_FILE, text.encode())


def _split_info(
    listing: Listing, split: str, index: str, records: Sequence[Record], merged: Merged
) -> SplitInfo:
    tried = sum(item.split == split for item in listing.items)
    missing = sum(item.split == split for item in listing.missing)
    shards = tuple(ShardInfo(**record.layout.header["shard"]) for record in records)
    return SplitInfo(
        samples=merged.samples,
        frames=merged.frames,
        bytes=sum(shard.bytes for shard in shards),
        index=index,
        index_sha256=merged.sha256,
        shards=shards,
        listed=tried + missing,
        written=merged.samples,
        missing=missing,
        skipped=tried - merged.samples,
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
    """Suggest the layout of plain folders for the other kind, if most of the files are of it."""
    other = "image" if listing.kind == "video" else "video"
    found = sum(_is_of(item.path, other) for item in listing.items)
    if 2 * found <= len(listing.items):
        return None
    return f"{found} of them are {other}s: ivvit shard {other}folder SRC"


def _is_of(path: Path | None, kind: str) -> bool:
    try:
        return path is not None and sniff_kind(path) == kind
    except InputError:  # a file of neither kind
        return False


def _names(plans: Sequence[ShardPlan], splits: dict[str, SplitInfo]) -> set[str]:
    tars = {shard.file for info in splits.values() for shard in info.shards}
    indexes = {info.index for info in splits.values()}
    return {DATASET_FILE, SKIPPED_FILE} | tars | indexes | {plan.record for plan in plans}
