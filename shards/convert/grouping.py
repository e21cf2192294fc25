"""Members of a shard to samples, and what is wrong with how they lie."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from shards.convert.keys import VALID_KEY
from shards.index import CODECS
from shards.tarwalk import Member

_FRAME = re.compile(r"\d{6}\.jpg")
_MEDIA = (*CODECS, "mjpg")


@dataclass(frozen=True)
class Problem:
    """One piece of damage: the file, the kind of damage, and where and what it is."""

    shard: str
    kind: str
    detail: str


@dataclass
class Group:
    """The members of one sample by extension."""

    key: str
    members: dict[str, Member] = field(default_factory=dict)

    @property
    def media(self) -> list[str]:
        """Return the extensions of the members with pictures, in the order of the frames."""
        frames = sorted(name for name in self.members if _FRAME.fullmatch(name))
        return frames or [name for name in _MEDIA if name in self.members]


def group_members(shard: str, members: Iterable[Member], problems: list[Problem]) -> list[Group]:
    """Gather members by key, in the order in which the keys appear; report what is wrong.

    A key that comes back with a member it already had is a second sample of that key; one that
    comes back with another member is a sample whose members are interleaved with others.
    """
    groups: dict[str, Group] = {}
    reported: set[tuple[str, str]] = set()
    last = ""

    def report(kind: str, key: str, detail: str) -> None:
        if (kind, key) not in reported:
            reported.add((kind, key))
            problems.append(Problem(shard, kind, detail))

    for member in members:
        key, _, extension = member.name.partition(".")
        if not VALID_KEY.fullmatch(key) or not extension:
            report("bad_key", member.name, f"byte {member.offset}: {member.name!r}")
            continue
        group = groups.setdefault(key, Group(key))
        if extension in group.members:
            report("duplicate_key", key, f"{key} occurs twice, again at byte {member.offset}")
            continue
        if group.members and key != last:
            report("interleaved", key, f"{key} goes on at byte {member.offset}, after {last}")
        group.members[extension] = member
        last = key
    return list(groups.values())


def missing_members(group: Group) -> list[str]:
    """Return what a sample lacks, in words."""
    lacks = [f".{name}" for name in ("cls", "json") if name not in group.members]
    media = group.media
    if not media:
        lacks.append("its picture or frames")
    elif _FRAME.fullmatch(media[0]):
        expected = [f"{place:06d}.jpg" for place in range(len(media))]
        lacks.extend(f".{name}" for name in expected if name not in group.members)
    return lacks
