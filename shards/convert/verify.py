"""Whether a folder of shards is what its manifest says, down to every picture."""

import hashlib
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from shards.convert.contents import Content, places_of
from shards.convert.foreign.check import ForeignCheck, is_indexed
from shards.convert.foreign.record import RECORD
from shards.convert.grouping import Problem
from shards.convert.seal import check_seal
from shards.convert.shardcheck import ShardFindings, check_members, check_shard
from shards.errors import InputError
from shards.files import open_plain
from shards.index import CODECS, Index, open_index, read_layout
from shards.manifest import (
    DATASET_FILE,
    SKIPPED_FILE,
    DatasetInfo,
    ShardInfo,
    SplitInfo,
    read_dataset_info,
)

Progress = Callable[[int, int], None]  # called with (shards done, shards in all)
Findings = dict[str, ShardFindings]  # by shard


@dataclass(frozen=True)
class VerifyReport:
    """The outcome of `verify`; `samples` counts the samples that were found in the shards.

    `left_out` counts what was missing or skipped when the shards were made; `indexed` tells that
    they are tars of others.
    """

    ok: bool
    samples: int
    problems: tuple[Problem, ...]
    left_out: int = 0
    indexed: bool = False

    def document(self) -> dict[str, Any]:
        """Return the report as plain values: the JSON of `ivvit data verify --json`."""
        return {
            "ok": self.ok,
            "samples": self.samples,
            "left_out": self.left_out,
            "problems": [asdict(problem) for problem in self.problems],
        }


def verify(folder: Path, *, on_progress: Progress | None = None) -> VerifyReport:
    """Check every shard, sample and picture of a folder, its manifest and its indexes.

    Kinds of damage: truncated, header, missing_shard, empty_shard, bad_media, duplicate_key,
    missing_member, interleaved, bad_key, checksum (other bytes than were written) and manifest
    (dataset.json or an index is damaged, or says something else than the shards do); of tars of
    others also label, link, pickle and convert (a file that is no frame of ours).

    Raises:
        InputError: there is no such folder.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder of shards", hint="ivvit data ls")
    info, problems = _read_manifest(folder)
    foreign = ForeignCheck(folder, info) if info and is_indexed(info) else None
    findings = _check_shards(folder, _expected(info), foreign, on_progress)
    problems += [problem for found in findings.values() for problem in found.problems]
    if foreign is None:  # others number the samples of each tar anew
        problems += _repeated_keys(findings)
    if info:
        problems += _unlisted(findings, info)
        for name, split in info.splits.items():
            problems += _check_counts(name, split)
            problems += _check_labels(info, split, findings)
            problems += _check_records(folder, split, foreign is not None)
            problems += _check_index(folder, {"dataset": info.name, "split": name}, split, findings)
    samples = sum(found.samples for found in findings.values())
    return VerifyReport(
        not problems, samples, tuple(problems), _count_left_out(folder), foreign is not None
    )


def _count_left_out(folder: Path) -> int:
    try:
        with open_plain(folder / SKIPPED_FILE) as file:
            return sum(block.count(b"\n") for block in iter(partial(file.read, 1 << 20), b""))
    except (OSError, ValueError):
        return 0


def _read_manifest(folder: Path) -> tuple[DatasetInfo | None, list[Problem]]:
    try:
        return read_dataset_info(folder), []
    except InputError as error:
        return None, [Problem(DATASET_FILE, "manifest", error.message)]


def _expected(info: DatasetInfo | None) -> dict[str, ShardInfo]:
    splits = info.splits.values() if info else ()
    return {shard.file: shard for split in splits for shard in split.shards}


def _check_shards(
    folder: Path,
    expected: dict[str, ShardInfo],
    foreign: ForeignCheck | None,
    on_progress: Progress | None,
) -> Findings:
    others = {path.name for path in folder.glob("*.tar")} - expected.keys()
    names = [*expected, *sorted(foreign.unlisted(others) if foreign else others)]
    members = foreign.members if foreign else check_members
    findings = {}
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        for done, name in enumerate(names, start=1):
            findings[name] = check_shard(folder / name, expected.get(name), pool, members)
            if on_progress:
                on_progress(done, len(names))
    return findings


def _repeated_keys(findings: Findings) -> Iterator[Problem]:
    first: dict[str, str] = {}
    for name, found in findings.items():
        for content in found.contents:
            other = first.setdefault(content.key, name)
            if other != name:
                yield Problem(name, "duplicate_key", f"{content.key} is in {other} too")


def _unlisted(findings: Findings, info: DatasetInfo) -> Iterator[Problem]:
    for name in findings.keys() - _expected(info).keys():
        yield Problem(name, "manifest", f"{DATASET_FILE} does not name this shard")


def _check_counts(name: str, split: SplitInfo) -> Iterator[Problem]:
    sums = {
        "samples": sum(shard.samples for shard in split.shards),
        "bytes": sum(shard.bytes for shard in split.shards),
        "written": split.samples,
        "listed": split.written + split.missing + split.skipped,
    }
    for field, expected in sums.items():
        if (found := getattr(split, field)) != expected:
            detail = f"split {name} has {field} {found}, the rest of it says {expected}"
            yield Problem(DATASET_FILE, "manifest", detail)


def _check_labels(info: DatasetInfo, split: SplitInfo, findings: Findings) -> Iterator[Problem]:
    """Compare each sample's kind and class with the manifest; report one sample a shard."""
    classes = dict(enumerate(info.classes))
    for shard in split.shards:
        for content in findings[shard.file].contents:
            if (content.kind, content.class_name) != (info.kind, classes.get(content.label)):
                detail = f"{content.key}: {content.kind} of class {content.label}, "
                detail += f"{content.class_name!r}; {DATASET_FILE} says otherwise"
                yield Problem(shard.file, "manifest", detail)
                break


def _check_records(folder: Path, split: SplitInfo, indexed: bool) -> Iterator[Problem]:
    """Check the records, of which a later run makes the index anew; readers need none of them."""
    for shard in split.shards:
        name = f"{shard.file if indexed else Path(shard.file).stem}{RECORD}"
        path = folder / name
        try:
            if path.exists():
                check_seal(path, read_layout(path))
        except InputError as error:
            yield Problem(name, "manifest", error.message)


def _check_index(
    folder: Path, header: dict[str, str], split: SplitInfo, findings: Findings
) -> Iterator[Problem]:
    path = folder / split.index
    try:
        index = open_index(path)
    except InputError as error:
        yield Problem(split.index, "manifest", error.message)
        return
    with path.open("rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != split.index_sha256:
            yield Problem(split.index, "manifest", f"its sha256 is not the one of {DATASET_FILE}")
            return
    if not header.items() <= index.header.items():
        yield Problem(split.index, "manifest", f"is not of {header}")
    counts = (len(index.samples), len(index.frames))
    if counts != (split.samples, split.frames):
        detail = f"has {counts[0]} samples and {counts[1]} frames, {DATASET_FILE} says otherwise"
        yield Problem(split.index, "manifest", detail)
        return
    for number, shard in enumerate(split.shards):
        found = findings[shard.file]
        if not found.problems:
            yield from _compare(split.index, number, index, found.contents)


def _compare(name: str, number: int, index: Index, contents: list[Content]) -> Iterator[Problem]:
    rows = index.samples[index.samples["shard"] == number]
    if len(rows) != len(contents):
        yield Problem(name, "manifest", f"has {len(rows)} samples of shard {number}")
        return
    for row, content in zip(rows, contents, strict=True):
        if _row_content(row, index) != content:
            yield Problem(name, "manifest", f"{content.key}: the shard says otherwise")


def _row_content(row: Any, index: Index) -> Content | None:
    first, count = int(row["first_frame"]), int(row["frames"])
    if row["codec"] >= len(CODECS):
        return None
    return Content(
        key=row["key"].decode(errors="replace"),
        label=int(row["label"]),
        codec=CODECS[row["codec"]],
        width=int(row["width"]),
        height=int(row["height"]),
        fps=float(row["fps"]),
        places=places_of(index.frames[first : first + count]),
    )
