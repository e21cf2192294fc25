"""The index of a folder of tars that others made: what our reader needs to open them in place."""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from shards.convert.foreign.classes import Classes, given_classes
from shards.convert.foreign.finish import finish
from shards.convert.foreign.folder import INDEXED, check_folder, link_tars
from shards.convert.foreign.gather import gather, refuse_files
from shards.convert.foreign.record import current_record, left_out, record_name, write_records
from shards.convert.foreign.scan import Rules, samples
from shards.convert.foreign.tars import Found, Tar, find_tars
from shards.convert.merge import Record
from shards.convert.report import Report, Row
from shards.convert.sources.folders import dataset_name
from shards.errors import EnvironmentFault, InputError, UsageError
from shards.files import open_plain
from shards.manifest import Kind
from shards.members import NoFrames, SampleFault
from shards.tarwalk import TarDamage

ON_BAD = ("skip", "fail")
Progress = Callable[[int, int], None]  # called with (tars done, tars to do)

_GLANCE = 50  # samples of a split's first tar that are looked at before all others


@dataclass(frozen=True)
class Indexing:
    """A planned index; nothing is written before `run`."""

    root: Path
    out: Path
    name: str
    found: Found
    rules: Rules
    classes: Classes | None
    splits: tuple[str, ...]

    def rows(self) -> dict[str, Row]:
        """Return how many tars of how many bytes there are in each split."""
        rows: dict[str, Row] = {}
        for tar in self.found.tars:
            row = rows.setdefault(tar.split, {"shards": 0, "bytes": 0})
            row["shards"] += 1
            row["bytes"] += tar.size
        return rows

    def run(
        self,
        *,
        workers: int | None = None,
        on_bad: str = "skip",
        on_progress: Progress | None = None,
    ) -> Report:
        """Walk the tars that are new or changed, and write the index.

        Raises:
            InputError: `out` is of no use, a sample or a tar is bad and `on_bad` is "fail",
                nothing could be indexed, or it is not clear what the samples are.
            EnvironmentFault: the disk is full or fails.
        """
        if on_bad not in ON_BAD:
            raise UsageError(f"on-bad {on_bad}: use {' or '.join(ON_BAD)}")
        check_folder(self.root, self.out, self.found.tars)
        try:
            link_tars(self.root, self.out, self.found.tars)
            todo = [tar for tar in self.found.tars if not self._current(tar)]
            done = write_records(todo, self.rules, self.out, workers)
            self._follow(done, len(todo), on_bad, on_progress)
            return self._finish(reused=len(self.found.tars) - len(todo), on_bad=on_bad)
        except OSError as error:
            reason = error.strerror or error
            raise EnvironmentFault(f"{self.out}: cannot be written: {reason}") from None

    def _current(self, tar: Tar) -> Record | None:
        layout = current_record(self.out, tar, self.rules)
        return Record(self.out / record_name(tar), layout) if layout else None

    def _follow(
        self, done: Iterator[Tar], total: int, on_bad: str, on_progress: Progress | None
    ) -> None:
        if on_progress and total:
            on_progress(0, total)
        for count, tar in enumerate(done, start=1):
            if on_bad == "fail":
                self._refuse_bad(tar)
            if on_progress:
                on_progress(count, total)

    def _refuse_bad(self, tar: Tar) -> None:
        record = self._current(tar)
        for left in left_out(record.layout.header) if record else ():
            raise InputError(
                f"{self.root / left.source(tar.source)}: {left.reason}",
                hint="repair or remove it, or use --on-bad skip",
            )

    def _finish(self, *, reused: int, on_bad: str) -> Report:
        walked = []
        for tar in self.found.tars:
            record = self._current(tar)
            if record is None:
                raise InputError(f"{tar.path}: was changed while the index was made")
            walked.append((tar, record))
            if on_bad == "fail":
                self._refuse_bad(tar)
        gathered = gather(self.root, self.out, walked, self.classes)
        options = {
            INDEXED: "webdataset",
            "kind": self.rules.kind,
            "fps": self.rules.fps,
            "splits": list(self.splits),
            "checksum": self.rules.checksum,
        }
        return finish(
            self.root, self.out, self.name, gathered, walked,
            options=options, notes=self.found.notes, reused=reused,
        )  # fmt: skip


def prepare_index(
    root: Path,
    out: Path | None = None,
    *,
    name: str | None = None,
    kind: Kind | None = None,
    fps: float | None = None,
    splits: Sequence[str] = (),
    classes: Path | None = None,
    checksum: bool = False,
) -> Indexing:
    """Find the tars of others in a folder, and look at some samples.

    Args:
        root: the folder of tars, which are never changed.
        out: the folder of the index, with links to the tars; None: `root`.
        name: of the dataset; None: the name of `root`.
        kind: which members count, if samples have an image and a video, or which samples.
        fps: frames per second of videos that do not tell.
        splits: texts `NAME=PATTERN`, which tars make up a split; none: what their names tell.
        classes: a file with class names in label order.
        checksum: whether to read the tars as a whole, so that any later change can be noticed.

    Raises:
        UsageError: an option makes no sense.
        InputError: there is no such folder or no tar, it is not clear which split they are of, or
            the samples have to be converted.
    """
    if fps is not None and not 0 < fps <= 1000:
        raise UsageError(f"fps {fps:g}: must be above 0 and at most 1000")
    if name is not None and not re.fullmatch("[A-Za-z0-9_-]{1,80}", name):
        raise UsageError(f"name {name}: use letters, digits, - and _")
    if out and out.resolve() == root.resolve():
        out = None
    found = find_tars(root, splits)
    given = given_classes(root, classes)
    names = given.names if given else None
    rules = Rules(kind, float(fps) if fps else None, names, checksum)
    _glance(root, out or root, found.tars, rules)
    name = name or dataset_name(root, "webdataset")
    return Indexing(root, out or root, name, found, rules, given, tuple(splits))


def index_tars(root: Path, out: Path | None = None, **options: Any) -> Report:
    """Index a folder of tars of others; `options` are those of `prepare_index`."""
    return prepare_index(root, out, **options).run()


def _glance(root: Path, out: Path, tars: Sequence[Tar], rules: Rules) -> None:
    """Look at the first samples of each split, so that what has to be converted is told at once."""
    files: Counter[str] = Counter()
    readable = 0
    for tar in {tar.split: tar for tar in reversed(tars)}.values():
        try:
            with open_plain(tar.path) as file:
                for _, found in islice(samples(file.fileno(), rules), _GLANCE):
                    readable += not isinstance(found, SampleFault)
                    if isinstance(found, NoFrames):
                        files[found.ending] += 1
        except (TarDamage, OSError):  # told when the tar is walked
            continue
    refuse_files(root, out, files, readable)
