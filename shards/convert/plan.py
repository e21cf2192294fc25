"""Which items go into which shard: a pure function of the listing and the options."""

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby

from shards.convert.items import Item, Listing
from shards.convert.options import Options
from shards.manifest import SCHEMA, Kind

_VIDEO_GROWTH = 5  # JPEG frames over the video they come from, measured on UCF101 and Kinetics
_SECOND_OF_VIDEO = 500_000  # bytes of JPEG frames at short side 320, measured on Kinetics
_OVERHEAD = 3 * 512 + 3 * 512  # tar headers, the two label members, padding


@dataclass(frozen=True)
class ShardPlan:
    """The items of one shard; `digest` changes with anything that decides the shard's bytes."""

    name: str
    split: str
    number: int
    items: tuple[Item, ...]
    digest: str

    @property
    def stem(self) -> str:
        """Return the file name without its ending."""
        return f"{self.name}-{self.split}-{self.number:06d}"

    @property
    def tar(self) -> str:
        """Return the name of the shard's tar file."""
        return f"{self.stem}.tar"

    @property
    def record(self) -> str:
        """Return the name of the shard's completion record."""
        return f"{self.stem}.index"


def plan_shards(listing: Listing, options: Options, ffmpeg_version: str) -> tuple[ShardPlan, ...]:
    """Cut each split, in order, into shards of about `options.shard_size` bytes.

    Sizes are estimated from the sources, so that the cut does not depend on the conversion. A
    changed source is told by its name and size (arrays by their content); its time is no part of
    the plan, so that a copy of the sources gives the same plan.
    """
    base = _base_digest(listing, options, ffmpeg_version)
    plans = []
    for split, items in groupby(listing.items, key=lambda item: item.split):
        for number, part in enumerate(_cut(items, listing.kind, options.shard_size)):
            plans.append(ShardPlan(listing.name, split, number, part, _digest(base, part)))
    return tuple(plans)


def estimate(item: Item, kind: Kind) -> int:
    """Return about how many bytes of a shard an item will take."""
    if kind == "image" or item.frames is not None:
        return _OVERHEAD + item.size
    whole = item.size * _VIDEO_GROWTH
    if item.segment is None:
        return _OVERHEAD + whole
    start, end = item.segment
    return _OVERHEAD + min(whole, round((end - start) * _SECOND_OF_VIDEO))


def _cut(items: Iterable[Item], kind: Kind, size: int) -> Iterator[tuple[Item, ...]]:
    part: list[Item] = []
    filled = 0
    for item in items:
        needed = estimate(item, kind)
        if part and filled + needed > size:
            yield tuple(part)
            part, filled = [], 0
        part.append(item)
        filled += needed
    if part:
        yield tuple(part)


def _base_digest(listing: Listing, options: Options, ffmpeg_version: str) -> str:
    document = {
        "schema": SCHEMA,
        "name": listing.name,
        "kind": listing.kind,
        "classes": listing.classes,
        "options": options.document(),
        "ffmpeg": ffmpeg_version,
    }
    return json.dumps(document, sort_keys=True)


def _digest(base: str, items: tuple[Item, ...]) -> str:
    total = hashlib.sha256(base.encode())
    for item in items:
        line = json.dumps([item.key, item.label, item.source, item.size])
        total.update(line.encode() + b"\n")
        if item.pixels is not None:
            total.update(item.pixels.tobytes())
    return total.hexdigest()
