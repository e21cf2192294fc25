"""A whole dataset: list, plan, convert what is missing, then finish the folder."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Any

from shards.convert.ffmpeg import find_ffmpeg
from shards.convert.finish import finish
from shards.convert.folder import claimed
from shards.convert.items import Item, Listing
from shards.convert.options import SHARD_SIZE, Options, make_options
from shards.convert.plan import ShardPlan, estimate, plan_shards
from shards.convert.pool import ordered
from shards.convert.report import Report
from shards.convert.samples import Sample, Skipped, convert_item
from shards.convert.sources import FOLDED, PROTOCOLS, STILLS, list_source
from shards.convert.video import QUALITY
from shards.convert.writer import is_done, write_shard
from shards.errors import EnvironmentFault, InputError, UsageError

ON_BAD = ("skip", "fail")
Progress = Callable[[int, int], None]  # called with (items done, items to do)


@dataclass(frozen=True)
class Conversion:
    """A planned conversion; nothing is written before `run`."""

    listing: Listing
    options: Options
    plans: tuple[ShardPlan, ...]
    tools: dict[str, str]

    def forecast(self) -> Report:
        """Return the report of a run in which nothing is skipped; sizes are estimates."""
        splits: dict[str, dict[str, int]] = {}
        for plan in self.plans:
            row = splits.setdefault(plan.split, {"samples": 0, "shards": 0, "bytes": 0})
            row["samples"] += len(plan.items)
            row["shards"] += 1
            row["bytes"] += sum(estimate(item, self.listing.kind) for item in plan.items)
        labels = {item.label for item in self.listing.items}
        return replace(Report.of(self.listing, splits, labels, skipped=(), reused=0), written=0)

    def run(
        self,
        out: Path,
        *,
        workers: int | None = None,
        on_bad: str = "skip",
        retry_failed: bool = False,
        on_progress: Progress | None = None,
    ) -> Report:
        """Convert what `out` lacks and finish the folder; `retry_failed`: and what was skipped.

        Raises:
            InputError: `out` holds something foreign or is being written, an item is bad and
                `on_bad` is "fail", or no item at all could be converted.
            EnvironmentFault: the disk is full or fails, or ffmpeg cannot be run.
        """
        if on_bad not in ON_BAD:
            raise UsageError(f"on-bad {on_bad}: use {' or '.join(ON_BAD)}")
        workers = workers or len(os.sched_getaffinity(0))
        with claimed(out, self.listing.name):
            todo = [p for p in self.plans if not is_done(out, p, retry_failed=retry_failed)]
            results = self._results(todo, workers, on_bad, on_progress)
            try:
                for plan in todo:
                    write_shard(out, plan, islice(results, len(plan.items)))
                done = finish(out, self.listing, self.plans, self.options, self.tools)
            except OSError as error:
                reason = error.strerror or error
                raise EnvironmentFault(f"{out}: cannot be written: {reason}") from None
        reused = len(self.plans) - len(todo)
        return Report.of(self.listing, done.splits, done.labels, done.skipped, reused)

    def _results(
        self, todo: list[ShardPlan], workers: int, on_bad: str, on_progress: Progress | None
    ) -> Iterator[Sample | Skipped]:
        items = [item for plan in todo for item in plan.items]
        if on_progress:
            on_progress(0, len(items))
        for done, result in enumerate(ordered(self._convert, items, workers), start=1):
            if isinstance(result, Skipped) and on_bad == "fail":
                raise InputError(
                    f"{result.source}: {result.reason}",
                    hint="repair or remove it, or use --on-bad skip",
                )
            if on_progress:
                on_progress(done, len(items))
            yield result

    def _convert(self, item: Item) -> Sample | Skipped:
        return convert_item(
            item,
            kind=self.listing.kind,
            class_name=self.listing.classes[item.label],
            options=self.options,
        )


def prepare(
    source: str,
    root: Path,
    *,
    fold: int = 1,
    protocol: str | None = None,
    short_side: int | None = None,
    fps: float | None = None,
    quality: int = QUALITY,
    layout: str = "mjpg",
    shard_size: int = SHARD_SIZE,
) -> Conversion:
    """List a dataset and plan its shards.

    Args:
        source: the dataset's layout, a name in `shards.convert.sources.SOURCES`.
        root: the dataset's folder.
        fold: which of the official lists (UCF101, HMDB51: 1, 2 or 3).
        protocol: which of the official protocols (Smarthome: cs, cv1 or cv2; None: cs).
        short_side: pixels that the shorter side is reduced to; None: 320 for videos, as it is for
            images and extracted frames; 0: as it is.
        fps: frames per second that videos are converted to, or at which frames were extracted;
            None: as they are.
        quality: ffmpeg's `-q:v` of video frames, 2 (best) to 31.
        layout: "mjpg", a video's frames as one member, or "frames", one member each.
        shard_size: bytes that a shard should have, about.

    Raises:
        InputError: the folder is missing or laid out otherwise.
        UsageError: an option is out of its range.
        EnvironmentFault: the dataset holds videos and there is no ffmpeg.
    """
    protocol = protocol or PROTOCOLS.get(source)
    listing = list_source(source, root, fold=fold, protocol=protocol, fps=fps)
    if source in STILLS:
        short_side = short_side or 0
        fps = STILLS[source] if fps is None else fps
    options = make_options(
        listing.kind,
        short_side=short_side,
        fps=fps,
        quality=quality,
        layout=layout,
        fold=fold if source in FOLDED else None,
        protocol=protocol,
        shard_size=shard_size,
    )
    tools = {"ivvit": version("ivvit")}
    if listing.kind == "video":
        tools["ffmpeg"] = find_ffmpeg().version
    plans = plan_shards(listing, options, tools.get("ffmpeg", ""))
    return Conversion(listing, options, plans, tools)


def convert(
    source: str,
    root: Path,
    out: Path,
    *,
    workers: int | None = None,
    on_bad: str = "skip",
    retry_failed: bool = False,
    on_progress: Progress | None = None,
    **options: Any,
) -> Report:
    """Convert the dataset in `root` to shards in `out`; `options` are those of `prepare`."""
    return prepare(source, root, **options).run(
        out, workers=workers, on_bad=on_bad, retry_failed=retry_failed, on_progress=on_progress
    )
