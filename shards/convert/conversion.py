"""A planned conversion: convert what a folder lacks, and finish the folder when all is there."""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from shards.convert.cluster import write_shards_by_ray
from shards.convert.division import Division, check_division, join_division, leave_division
from shards.convert.errors import ShardsMissing
from shards.convert.finish import finish, read_records, skipped_items, split_rows
from shards.convert.folder import claimed
from shards.convert.items import Listing
from shards.convert.job import Job, Tell, write_shards
from shards.convert.options import Options
from shards.convert.parts import WHOLE, Part
from shards.convert.plan import ShardPlan, estimate
from shards.convert.report import Report, Row
from shards.convert.writer import is_done
from shards.errors import EnvironmentFault, InputError, UsageError

_LARGE = 1024  # pixels of a short side, of which few crops need more than a quarter

ON_BAD = ("skip", "fail")
ENGINES = {"local": write_shards, "ray": write_shards_by_ray}

Progress = Callable[[int, int], None]  # called with (items done, items to do)


@dataclass(frozen=True)
class Conversion:
    """A planned conversion; nothing is written before `run`."""

    listing: Listing
    options: Options
    plans: tuple[ShardPlan, ...]
    tools: dict[str, str]

    def forecast(self, part: Part = WHOLE) -> Report:
        """Return the report of a run in which nothing is skipped; sizes are estimates."""
        splits: dict[str, Row] = {}
        for plan in part.of(self.plans):
            row = splits.setdefault(plan.split, {"samples": 0, "shards": 0, "bytes": 0})
            row["samples"] += len(plan.items)
            row["shards"] += 1
            row["bytes"] += sum(estimate(item, self.listing.kind) for item in plan.items)
        labels = {item.label for item in self.listing.items}
        report = Report.of(self._listing_of(part), splits, labels, skipped=(), reused=0)
        return replace(report, written=0, part=part)

    def run(
        self,
        out: Path,
        *,
        part: Part = WHOLE,
        engine: str = "local",
        workers: int | None = None,
        on_bad: str = "skip",
        retry_failed: bool = False,
        on_progress: Progress | None = None,
    ) -> Report:
        """Convert what `out` lacks of a part; finish the folder if the other parts are there, too.

        Args:
            out: the folder of shards.
            part: which of the shards.
            engine: "local", this machine, or "ray", a cluster.
            workers: items at a time; None: one per core.
            on_bad: what to do with an item that cannot be converted: "skip" it, or "fail".
            retry_failed: convert shards from which something was skipped, too.
            on_progress: called with (items done, items to do), at first with none done.

        Raises:
            InputError: `out` holds something foreign or is being written, an item is bad and
                `on_bad` is "fail", or no item at all could be converted.
            EnvironmentFault: the disk is full or fails, or ffmpeg or the engine cannot be run.
        """
        _check_choice("on-bad", on_bad, ON_BAD)
        _check_choice("engine", engine, ENGINES)
        listing = self.listing
        with _faults_of(out), claimed(out, listing.name, str(part), self.digest):
            self._begin(out, part)
            mine = part.of(self.plans)
            todo = [p for p in mine if not is_done(out, p, retry_failed=retry_failed)]
            job = Job(out, listing.kind, listing.classes, self.options, on_bad == "skip")
            ENGINES[engine](job, todo, workers, _teller(todo, on_progress))
            reused = len(mine) - len(todo)
            try:
                return replace(self._finish(out, reused), part=part)
            except ShardsMissing as fault:
                if part.is_whole:
                    raise
                return self._unfinished(out, part, reused, fault.missing)

    def finalize(self, out: Path) -> Report:
        """Finish a folder all of whose shards are there, without converting any.

        Raises:
            ShardsMissing: not all of them are there.
            InputError: there is no such folder, it holds something foreign or is being written.
            EnvironmentFault: the disk is full or fails.
        """
        if not out.is_dir():
            raise InputError(f"{out}: no such folder of shards")
        with _faults_of(out), claimed(out, self.listing.name, "finish", self.digest):
            check_division(out, self._division(WHOLE))
            return self._finish(out, reused=len(self.plans))

    @cached_property
    def digest(self) -> str:
        """Return what tells this plan from every other."""
        return hashlib.sha256("".join(plan.digest for plan in self.plans).encode()).hexdigest()

    def _begin(self, out: Path, part: Part) -> None:
        if part.is_whole:
            leave_division(out, self.digest)
        else:
            join_division(out, self._division(part))

    def _division(self, part: Part) -> Division:
        items, options = len(self.listing.items), self.options.document()
        return Division(self.digest, part.count, items, options, self.tools)

    def _finish(self, out: Path, reused: int) -> Report:
        done = finish(out, self.listing, self.plans, self.options, self.tools)
        report = Report.of(self.listing, done.splits, done.labels, done.skipped, reused)
        if done.short_side <= _LARGE or self.options.short_side is not None:
            return report
        note = f"there are frames of a short side of {done.short_side} pixels, which slow reading "
        return replace(report, notes=(*report.notes, f"{note}down; --short-side 512 reduces them"))

    def _unfinished(self, out: Path, part: Part, reused: int, missing: tuple[int, ...]) -> Report:
        """Return what this part has done, while shards of others are missing."""
        plans = part.of(self.plans)
        records = read_records(out, plans)
        labels = set(range(len(self.listing.classes)))  # which are empty is not known yet
        rows, skipped = split_rows(plans, records), skipped_items(records)
        report = Report.of(self._listing_of(part), rows, labels, skipped, reused)
        return replace(report, part=part, missing_shards=missing)

    def _listing_of(self, part: Part) -> Listing:
        """Return the listing of a part's items; what is not there is of no part."""
        if part.is_whole:
            return self.listing
        items = tuple(item for plan in part.of(self.plans) for item in plan.items)
        return replace(self.listing, items=items, missing=(), duplicates={})


def _check_choice(name: str, value: str, choices: Iterable[str]) -> None:
    if value not in choices:
        raise UsageError(f"{name} {value}: use {' or '.join(choices)}")


class _CallersFault(Exception):
    """What a caller's own function raised."""

    def __init__(self, error: OSError) -> None:
        super().__init__(str(error))
        self.error = error


def _teller(todo: Sequence[ShardPlan], on_progress: Progress | None) -> Tell:
    total, done = sum(len(plan.items) for plan in todo), 0

    def tell(items: int) -> None:
        nonlocal done
        done += items
        try:
            if on_progress:
                on_progress(done, total)
        except OSError as error:
            raise _CallersFault(error) from error

    if todo:
        tell(0)
    return tell


@contextmanager
def _faults_of(out: Path) -> Iterator[None]:
    """Word a fault of the disk as one, but not one of the caller's terminal or log."""
    try:
        yield
    except _CallersFault as fault:
        raise fault.error from None
    except OSError as error:
        raise EnvironmentFault(
            f"{out}: cannot be written: {error.strerror or error}",
            hint="the same command goes on from here; with --dry-run it says how much is needed",
        ) from None
