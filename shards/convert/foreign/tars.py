"""Which tars are in a folder of others, and to which split each belongs."""

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import NamedTuple

from shards.convert.items import SPLITS
from shards.convert.report import counted, some
from shards.convert.sources.scan import printable, require_folder
from shards.convert.sources.tables import split_of
from shards.errors import InputError, UsageError
from shards.manifest import DATASET_FILE

LAYOUT = "expected: a folder of WebDataset tars, perhaps below folders such as train and val"

_COMPRESSED = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst")
_CHOICE = re.compile(r"([A-Za-z0-9_-]{1,40})=(.+)")


@dataclass(frozen=True)
class Tar:
    """A tar of others.

    Args:
        path: the file.
        source: its path below the folder, with forward slashes.
        split: the split that all its samples belong to.
        size: its bytes.
        modified: when it was written, in ns.
    """

    path: Path
    source: str
    split: str
    size: int
    modified: int

    @property
    def file(self) -> str:
        """Return its name in a folder of shards, which has no folders in it."""
        return self.source.replace("/", "-")


class Found(NamedTuple):
    """The tars of a folder, by split and name, and sentences about what else was there."""

    tars: tuple[Tar, ...]
    notes: tuple[str, ...]


def find_tars(root: Path, choices: Sequence[str] = ()) -> Found:
    """Find the tars in a folder and in the folders below it, but for those of finished shards.

    A tar's split is the one that its name tells, else that of the folder it is in, and so on; all
    are `train` if none is told. With `choices`, texts `SPLIT=PATTERN`, only tars whose name or path
    fits a shell pattern count.

    Raises:
        UsageError: a choice makes no sense, fits no tar, or a tar fits those of two splits.
        InputError: there is no folder, no tar in it, or only some of the tars tell their split.
    """
    require_folder(root, LAYOUT)
    notes: list[str] = []
    files = list(_walk(root, notes))
    paths = [path for path in files if path.suffix == ".tar"]
    packed = [path.name for path in files if path.name.endswith(_COMPRESSED)]
    if not paths:
        what = f"no tar, only compressed ones such as {packed[0]}" if packed else "no tar"
        hint = "decompress them: their samples cannot be read by their places" if packed else LAYOUT
        raise InputError(f"{root}: holds {what}", hint=hint)
    if packed:
        notes.append(f"compressed tars are left out, decompress them: {some(packed)}")
    sources = {path.relative_to(root).as_posix(): path for path in paths}
    splits = _chosen(sources, choices) if choices else _told(root, sources, notes)
    if left := [printable(source) for source in sources if source not in splits]:
        notes.append(f"{counted(len(left), 'tar')} fit no --split, not looked into: {some(left)}")
    order = [*SPLITS, *sorted(set(splits.values()) - set(SPLITS))]
    ranked = sorted(splits, key=lambda source: (order.index(splits[source]), source))
    tars = tuple(_tar(sources[source], source, splits[source]) for source in ranked)
    _refuse_same_names(tars)
    return Found(tars, tuple(notes))


def _walk(root: Path, notes: list[str]) -> Iterator[Path]:
    for folder, folders, files in os.walk(root):
        if Path(folder) != root and DATASET_FILE in files:
            name = printable(Path(folder).name)
            notes.append(f"{name} is a folder of shards already, not looked into")
            folders.clear()
            continue
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(folder, name) for name in sorted(files) if not name.startswith("."))


def _chosen(sources: dict[str, Path], choices: Sequence[str]) -> dict[str, str]:
    splits: dict[str, str] = {}
    for choice in choices:
        match = _CHOICE.fullmatch(choice)
        if not match:
            raise UsageError(f"--split {choice}: use NAME=PATTERN, such as 'val=*-val-*.tar'")
        split, pattern = match.groups()
        fit = [source for source in sources if _fits(source, pattern)]
        if not fit:
            raise UsageError(f"--split {choice}: no tar fits {pattern}", hint=_examples(sources))
        for source in fit:
            if splits.setdefault(source, split) != split:
                raise UsageError(f"--split: {source} fits {splits[source]} and {split}")
    return splits


def _fits(source: str, pattern: str) -> bool:
    return fnmatchcase(source, pattern) or fnmatchcase(source.rpartition("/")[2], pattern)


def _examples(sources: dict[str, Path]) -> str:
    return f"the tars are {some([printable(source) for source in sources])}"


def _told(root: Path, sources: dict[str, Path], notes: list[str]) -> dict[str, str]:
    splits = {source: _told_by(source) for source in sources}
    silent = [source for source, split in splits.items() if split is None]
    if len(silent) == len(splits):
        notes.append("no name tells a split: all are train; --split NAME=PATTERN tells it")
        return dict.fromkeys(splits, "train")
    if silent:
        told = next(source for source, split in splits.items() if split)
        raise InputError(
            f"{root / silent[0]}: its name tells no split, that of {told} does",
            hint="--split NAME=PATTERN for each split, such as --split 'val=*-val-*.tar'",
        )
    return {source: split for source, split in splits.items() if split}


def _told_by(source: str) -> str | None:
    *folders, name = source.split("/")
    parts = (name.removesuffix(".tar"), *reversed(folders))
    return next((split for part in parts if (split := split_of(part))), None)


def _tar(path: Path, source: str, split: str) -> Tar:
    if not path.is_file():
        raise InputError(f"{path}: is no plain file", hint="move it elsewhere, or repair the link")
    about = path.stat()
    return Tar(path, source, split, about.st_size, about.st_mtime_ns)


def _refuse_same_names(tars: Sequence[Tar]) -> None:
    seen: dict[str, Tar] = {}
    for tar in tars:
        other = seen.setdefault(tar.file, tar)
        if other is not tar:
            raise InputError(f"{tar.source} and {other.source} would both be {tar.file}")
