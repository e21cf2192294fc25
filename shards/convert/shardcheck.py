"""One shard, checked by itself: its tar, its members, its pictures, its fingerprint."""

import hashlib
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from shards.convert.contents import Content, read_content
from shards.convert.grouping import Group, Problem, group_members, missing_members
from shards.manifest import ShardInfo
from shards.tarwalk import FILE, Member, TarDamage, walk


@dataclass
class ShardFindings:
    """What a shard holds and what is wrong with it; `contents` are its sound samples."""

    name: str
    contents: list[Content] = field(default_factory=list)
    samples: int = 0
    problems: list[Problem] = field(default_factory=list)

    def report(self, kind: str, detail: str) -> None:
        """Note a problem of this shard."""
        self.problems.append(Problem(self.name, kind, detail))


MemberCheck = Callable[[int, ShardFindings, ThreadPoolExecutor], bool]


def check_shard(
    path: Path, expected: ShardInfo | None, pool: ThreadPoolExecutor, members: MemberCheck
) -> ShardFindings:
    """Check an open shard's `members`, then compare its sha256 with `expected`."""
    findings = ShardFindings(path.name)
    if not path.is_file():
        findings.report("missing_shard", "no such file")
    elif path.stat().st_size == 0:
        findings.report("empty_shard", "has no byte")
    else:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            if members(descriptor, findings, pool) and expected:
                _check_digest(path, expected, findings)
        finally:
            os.close(descriptor)
    return findings


def check_members(descriptor: int, findings: ShardFindings, pool: ThreadPoolExecutor) -> bool:
    """Check our samples as far as the tar can be walked; return whether that was to its end.

    All pictures are decoded, in the pool.
    """
    members: list[Member] = []
    damage = None
    try:
        for member in walk(descriptor):
            if member.kind != FILE:
                raise TarDamage("header", f"byte {member.offset}: {member.name} is {member.kind}")
            members.append(member)
    except TarDamage as error:
        damage = error
        findings.report(error.kind, str(error))
    groups = group_members(findings.name, members, findings.problems)
    if damage and groups:
        groups.pop()  # its other members lie behind the damage
    elif not groups:
        findings.report("empty_shard", "has no sample")
    findings.samples = len(groups)
    _check_contents(descriptor, groups, findings, pool)
    return damage is None


def _check_contents(
    descriptor: int, groups: list[Group], findings: ShardFindings, pool: ThreadPoolExecutor
) -> None:
    complete = []
    for group in groups:
        lacks = missing_members(group)
        if lacks:
            findings.report("missing_member", f"{group.key} lacks {', '.join(lacks)}")
        else:
            complete.append(group)
    for result in pool.map(lambda group: _read(descriptor, group), complete):
        if isinstance(result, Content):
            findings.contents.append(result)
        else:
            findings.report("bad_media", result)


def _read(descriptor: int, group: Group) -> Content | str:
    try:
        return read_content(descriptor, group)
    except ValueError as error:
        return str(error)


def _check_digest(path: Path, expected: ShardInfo, findings: ShardFindings) -> None:
    size = path.stat().st_size
    if size < expected.bytes:
        findings.report("truncated", f"ends at byte {size}, {expected.bytes} were written")
        return
    if size > expected.bytes:
        findings.report("checksum", f"has {size} bytes, {expected.bytes} were written")
    elif expected.sha256 and _sha256(path) != expected.sha256:
        findings.report("checksum", "has other bytes than were written: its sha256 is another")
    if findings.samples != expected.samples:
        detail = f"has {findings.samples} samples, {expected.samples} were written"
        findings.report("manifest", detail)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
