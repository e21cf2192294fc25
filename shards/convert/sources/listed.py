"""Items that lists name: which are on the disk, which are missing, which are named twice."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from shards.convert.items import Extracted, Item, Listing, Missing
from shards.convert.keys import assign_keys
from shards.convert.report import counted, some
from shards.convert.sources.scan import size_and_time
from shards.errors import InputError
from shards.manifest import Kind


@dataclass(frozen=True)
class Entry:
    """A line of a list: a file, a part of a video, or a folder of frames, and its label."""

    path: Path
    split: str
    label: int
    segment: tuple[float, float] | None = None
    frames: Extracted | None = None
    key: str = ""  # the file's name without its ending, unless given

    def source(self, root: Path) -> str:
        """Return the path below `root`; a part of a video as a media fragment (`#t=1.5,4`)."""
        inside = self.path.is_relative_to(root)
        name = (self.path.relative_to(root) if inside else self.path).as_posix()
        if self.segment:
            return f"{name}#t={','.join(map(seconds, self.segment))}"
        if self.frames and self.frames.first:
            return f"{name}#frames={self.frames.first},{self.frames.count}"
        return name

    def item(self, source: str, tag: str) -> Item:
        """Return what to convert; `tag` is added to the key."""
        key = self.key or (self.path.name if self.frames else self.path.stem)
        if self.segment:
            key += "".join(f"_{round(moment * 1000):08d}" for moment in self.segment)
        key += tag
        return Item(
            key, self.split, self.label, source, *self._size_and_time(),
            path=self.path, segment=self.segment, frames=self.frames,
        )  # fmt: skip

    def _size_and_time(self) -> tuple[int, int]:
        size, time = size_and_time(self.path)
        if self.frames is None:
            return size, time
        first = min(self.path.glob("*.jp*g"), default=None)  # to look at each would take too long
        return self.frames.count * (size_and_time(first)[0] if first else 0), time


def seconds(moment: float) -> str:
    """Return seconds with at most three decimals, without trailing zeros."""
    return f"{moment:.3f}".rstrip("0").rstrip(".")


def list_entries(
    name: str,
    kind: Kind,
    root: Path,
    classes: Iterable[str],
    class_source: str,
    entries: Iterable[Entry],
    *,
    layout: str,
    notes: Iterable[str] = (),
) -> Listing:
    """List the entries that are on the disk.

    What is listed again is a duplicate; with another label or split it is another sample.

    Raises:
        InputError: none of them is.
    """
    classes = tuple(classes)
    named = [(entry.source(root), entry) for entry in entries]
    once = {(source, entry.split, entry.label): entry for source, entry in named}
    mentions = Counter(source for source, _, _ in once)
    items, missing = [], []
    for (source, split, label), entry in once.items():
        if entry.path.is_dir() if entry.frames else entry.path.is_file():
            tag = f"_{split}_{classes[label]}" if mentions[source] > 1 else ""
            items.append(entry.item(source, tag))
        else:
            missing.append(Missing(source, entry.split))
    if not items:
        what = {"image": "images", "video": "videos"}[kind]
        lacks = f"holds none of the {len(missing)} listed {what}" if missing else f"lists no {what}"
        raise InputError(f"{root}: {lacks}", hint=layout)
    return Listing(
        name=name,
        kind=kind,
        classes=classes,
        class_source=class_source,
        items=assign_keys(items),
        missing=tuple(missing),
        notes=(*notes, *_repeated(mentions)),
        duplicates=Counter(entry.split for _, entry in named)
        - Counter(entry.split for entry in once.values()),
    )


def _repeated(mentions: Counter[str]) -> list[str]:
    repeated = [source for source, times in mentions.items() if times > 1]
    if not repeated:
        return []
    return [
        f"{counted(len(repeated), 'file')} listed with several labels or splits: {some(repeated)}"
    ]
