"""What a dataset of tars of others is, decided from the records of all of them."""

import shlex
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from shards.convert.foreign.classes import Classes, name_classes
from shards.convert.foreign.record import labels, left_out
from shards.convert.foreign.tars import Tar
from shards.convert.merge import Record
from shards.convert.report import counted, some
from shards.errors import InputError
from shards.manifest import Kind

CONVERT = "ivvit shard webdataset"

Walked = Sequence[tuple[Tar, Record]]


@dataclass(frozen=True)
class Gathered:
    """A dataset's kind and classes, and sentences on what is odd about it."""

    kind: Kind
    classes: Classes
    notes: tuple[str, ...]


def gather(root: Path, out: Path, walked: Walked, classes: Classes | None) -> Gathered:
    """Decide what the tars hold; `classes` that were given stay.

    Raises:
        InputError: there is no sample in them, or most have to be converted; there are images and
            videos; or some labels are numbers, others names.
    """
    samples = sum(record.layout.samples for _, record in walked)
    refuse_files(root, out, _counted(walked, "files"), samples)
    if not samples:
        raise _nothing(root, walked)
    kinds = _counted(walked, "kinds")
    if len(kinds) > 1:
        raise InputError(
            f"{root}: holds {counted(kinds['image'], 'image')} and "
            f"{counted(kinds['video'], 'video')}",
            hint="choose with --kind image or --kind video; the others are left out",
        )
    if classes is None:
        every = (label for _, record in walked for label in labels(record.layout.header))
        classes = name_classes(every)
    notes = (*filter(None, [classes.note]), *_notes(walked))
    return Gathered("video" if kinds["video"] else "image", classes, notes)


def refuse_files(root: Path, out: Path, files: Counter[str], readable: int) -> None:
    """Offer to convert what is mostly not to be read frame by frame.

    Raises:
        InputError: there are more such samples than readable ones.
    """
    command = [*CONVERT.split(), str(root)]
    if files.total() > readable:
        raise InputError(
            f"{root}: its samples are {' and '.join(sorted(files))} files, which have to be "
            "converted before single frames can be read",
            hint=shlex.join(command if out == root else [*command, "-o", str(out)]),
        )


def _counted(walked: Walked, field: str) -> Counter[str]:
    total: Counter[str] = Counter()
    for _, record in walked:
        total.update(record.layout.header[field])
    return total


def _nothing(root: Path, walked: Walked) -> InputError:
    everything = [(tar, left) for tar, record in walked for left in left_out(record.layout.header)]
    tar, first = everything[0]
    return InputError(
        f"{root}: nothing could be indexed: {len(everything)} left out, the first "
        f"({first.source(tar.source)}) {first.reason}"
    )


def _notes(walked: Walked) -> Iterable[str]:
    damaged = sum(not left.key for _, record in walked for left in left_out(record.layout.header))
    if damaged:
        yield f"{damaged} of {counted(len(walked), 'tar')} left out as a whole: damaged"
    if files := _counted(walked, "files"):
        yield f"{' and '.join(sorted(files))} files are left out: `{CONVERT}` converts them"
    if unrated := sum(record.layout.header["unrated"] for _, record in walked):
        yield (
            f"{counted(unrated, 'video')} do not tell their frames per second, which clips of so "
            "many seconds need: --fps N tells it"
        )
    yield from _repeated(walked)


def _repeated(walked: Walked) -> Iterable[str]:
    first: dict[str, str] = {}
    again = []
    for tar, record in walked:
        other = first.setdefault(record.layout.header["content"], tar.source)
        if other != tar.source and record.layout.samples:
            again.append(f"{tar.source} as {other}")
    if again:
        yield f"{counted(len(again), 'tar')} with the same samples as another: {some(again)}"
