"""What a source yields: the items to convert and what is known about the whole dataset."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from shards.manifest import Kind

SPLITS = ("train", "val", "test")  # in this order wherever splits are listed


@dataclass(frozen=True)
class Extracted:
    """A video as a folder of numbered JPEG files: how many, after how many others, at what fps."""

    count: int
    fps: float
    first: int = 0


@dataclass(frozen=True)
class Item:
    """One image or video to convert.

    Args:
        key: the sample's name; `shards.convert.keys.assign_keys` makes it valid and unique.
        split: train, val or test.
        label: position in the listing's classes.
        source: where it comes from, relative to the dataset's root, with forward slashes.
        size: bytes of the source.
        modified: when the source was written, in ns; 0 for an array or what cannot be looked at.
        path: the file, unless `pixels` is given.
        pixels: (H, W, 3) uint8, for datasets that store arrays.
        segment: (start, end) in seconds, for a video of which only this part counts.
        frames: what of the folder `path` belongs to the video, for extracted frames.
        place: (first byte, bytes) in the file, for a member of a tar.
        fault: why it cannot be converted, if that is known already.
    """

    key: str
    split: str
    label: int
    source: str
    size: int
    modified: int = 0
    path: Path | None = None
    pixels: NDArray[np.uint8] | None = None
    segment: tuple[float, float] | None = None
    frames: Extracted | None = None
    place: tuple[int, int] | None = None
    fault: str = ""


@dataclass(frozen=True)
class Missing:
    """An item that the dataset lists but that is not on the disk."""

    source: str
    split: str


@dataclass(frozen=True)
class Listing:
    """A dataset's items in their final order (by split, then key) and its class names.

    `duplicates` counts, by split, how often a list names again what it has named already.
    """

    name: str
    kind: Kind
    classes: tuple[str, ...]
    class_source: str
    items: tuple[Item, ...]
    missing: tuple[Missing, ...] = ()
    notes: tuple[str, ...] = ()
    duplicates: Mapping[str, int] = field(default_factory=dict)

    @property
    def flip_unsafe(self) -> tuple[str, ...]:
        """Return the classes that name a side or a turn, and so become another when mirrored."""
        return tuple(name for name in self.classes if _SIDE.search(name))


_SIDE = re.compile(
    r"(?<![a-z])(left|right|((counter|anti)[ -]?)?clockwise)(?![a-z])", re.IGNORECASE
)
