"""Streaming tars without an index: someone else's WebDataset shards, or ours, from end to end.

`shards.members` tells what members mean; an index of such tars is made by it, too. Nothing is
unpickled and no URL is opened. Damage is never taken for the end of a tar, nor is a bad sample
passed over.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from shards.describe import Description, describe
from shards.errors import InputError
from shards.headers import Read, reader_of
from shards.labels import ClassList
from shards.manifest import Kind
from shards.members import Group, SampleFault, group_samples
from shards.stream.reader import Sample
from shards.tarwalk import TarDamage, walk


def stream_samples(
    source: str | Path | Iterable[str | Path],
    *,
    classes: Sequence[str] | None = None,
    kind: Kind | None = None,
    fps: float | None = None,
) -> Iterator[Sample]:
    """Yield the samples of a folder's tars, or of the given ones, in order of names and members.

    Args:
        source: a folder, a tar, or tars.
        classes: class names in label order; without them a label has to be a number.
        kind: which members count, of samples that have an image and a video.
        fps: frames per second of videos that do not tell.

    Raises:
        InputError: a tar is missing, cut, damaged, compressed, a `pipe:` or other URL; a sample
            holds a pickle or a link, has no label or no frame, or more than 1 GiB. The message
            names the tar, and the byte or the sample.
    """
    known = None if classes is None else ClassList(classes)
    for path in _tars(source):
        for group, read in _groups(path):
            try:
                yield _sample(describe(group, read, kind=kind, fps=fps), read, known)
            except SampleFault as fault:
                raise InputError(f"{path}: sample {group.key}: {fault}") from None


def _tars(source: str | Path | Iterable[str | Path]) -> list[Path]:
    if not isinstance(source, str | Path):
        return [_local(path) for path in source]
    path = _local(source)
    if not path.is_dir():
        return [path]
    tars = sorted(path.glob("*.tar"))
    if not tars:
        raise InputError(f"{path}: holds no tar")
    return tars


def _local(path: str | Path) -> Path:
    if re.match(r"[a-z][a-z0-9+.-]*:", str(path)) and not Path(path).exists():
        raise InputError(f"{path}: URLs are not opened", hint="give a local tar or folder")
    return Path(path)


def _groups(path: Path) -> Iterator[tuple[Group, Read]]:
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    with path.open("rb") as file:
        read = reader_of(file.fileno())
        try:
            for group in group_samples(walk(file.fileno())):
                yield group, read
        except TarDamage as damage:
            raise InputError(f"{path}: {damage}") from None


def _sample(found: Description, read: Read, classes: ClassList | None) -> Sample:
    if classes is not None:
        label = classes.number(found.label)
        name = classes.names[label]
    elif found.label.number is not None:
        label = found.label.number
        name = found.label.name or str(label)
    else:
        raise SampleFault("label", f"its label is a name, {found.label.name}: give the classes")
    return Sample(
        key=found.key,
        label=label,
        class_name=name,
        fps=found.fps,
        codec=found.codec,
        frames=[read(*frame) for frame in found.frames],
        width=found.width,
        height=found.height,
    )
