"""A rerun over ten thousand finished shards: to see that nothing is left to do, and to end.

The shards are records as `ivvit shard` writes them, with tars that are holes of the right size; the
plan is the one that a listing of a million images gives, whose files need not be there.
"""

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from bench.paired import cpu_seconds, print_table, ratio
from shards.convert.conversion import Conversion
from shards.convert.finish import finish, read_records
from shards.convert.items import Item, Listing
from shards.convert.options import make_options
from shards.convert.plan import ShardPlan, plan_shards
from shards.convert.seal import sealed
from shards.convert.writer import is_done
from shards.index import FRAME, SAMPLE, encode_header, open_index

SHARDS, PER_SHARD = 10_000, 100
BYTES = 1 << 20  # of a tar
TARGET = "< 1"  # second to recognise all shards
OPTIONS = make_options(
    "image",
    short_side=None,
    fps=None,
    quality=3,
    layout="mjpg",
    fold=None,
    protocol=None,
    shard_size=PER_SHARD * 8_072,  # an image of 5 000 bytes and what goes with it
)


def main() -> None:
    """Print the seconds to recognise all shards, also by opening each record, and to finish."""
    with tempfile.TemporaryDirectory(prefix="ivvit-bench-") as work:
        folder = Path(work)
        listing = make_listing()
        plans = plan_shards(listing, OPTIONS, "")
        write_records(folder, plans)
        tasks: dict[str, Callable[[], object]] = {
            "resume scan": lambda: all(is_done(folder, plan) for plan in plans),
            "by mapping every record": lambda: map_all(folder, plans),
            "what is missing": lambda: read_records(folder, plans),
        }
        assert tasks["resume scan"]()
        seconds = cpu_seconds(tasks)
        rows = [[name, *spread(times)] for name, times in seconds.items()]
        rows[0][-1] = TARGET
        title = f"{len(plans):,} finished shards, {len(listing.items):,} samples, on one core"
        print_table(title, ["", "CPU s", "least, most", "target"], rows)
        gain = ratio(seconds["by mapping every record"], seconds["resume scan"])
        print(f"  mapping every record over the scan: {gain}")
        rows = [["plan", timed(lambda: plan_shards(listing, OPTIONS, ""))]]
        tools = {"ivvit": "bench"}
        rows.append(["finish", timed(lambda: finish(folder, listing, plans, OPTIONS, tools))])
        conversion = Conversion(listing, OPTIONS, plans, tools)
        rows.append(["scan and finish", timed(lambda: conversion.run(folder))])
        print_table("before and after, all flushed to the disk", ["", "s"], rows)


def make_listing() -> Listing:
    """Return a listing of a million images in one split."""
    items = tuple(
        Item(f"image_{number:07d}", "train", number % 1000, f"a/{number}.jpg", 5_000, modified=1)
        for number in range(SHARDS * PER_SHARD)
    )
    classes = tuple(f"class {label}" for label in range(1000))
    return Listing("big", "image", classes, "made up", items)


def write_records(folder: Path, plans: tuple[ShardPlan, ...]) -> None:
    """Write what finished shards leave behind, but for the content of the tars."""
    for plan in plans:
        samples, frames = np.zeros(len(plan.items), SAMPLE), np.zeros(len(plan.items), FRAME)
        samples["label"] = [item.label for item in plan.items]
        shard = {"file": plan.tar, "samples": len(samples), "bytes": BYTES, "sha256": "0" * 64}
        header = {"plan": plan.digest, "shard": shard, "skipped": []}
        with (folder / plan.record).open("wb") as file:
            whole = sealed(header, samples, frames)
            file.write(encode_header(whole, len(samples), len(frames)))
            file.write(samples.tobytes() + frames.tobytes())
        with (folder / plan.tar).open("wb") as file:
            file.truncate(BYTES)


def spread(seconds: list[float]) -> list[str]:
    """Return the median of some seconds, the least and the most."""
    middle, least, most = statistics.median(seconds), min(seconds), max(seconds)
    return [f"{middle:.2f}", f"{least:.2f}, {most:.2f}", ""]


def map_all(folder: Path, plans: tuple[ShardPlan, ...]) -> None:
    """Open every record as an index, one at a time."""
    for plan in plans:
        open_index(folder / plan.record)


def timed(task: Callable[[], object]) -> str:
    """Return the wall seconds of a task."""
    start = time.perf_counter()
    task()
    return f"{time.perf_counter() - start:.2f}"
