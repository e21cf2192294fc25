"""`ivvit shard`: a dataset as it is distributed, converted to shards."""

import os
import re
from contextlib import ExitStack
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ivvit_cli import console
from ivvit_cli.errors import UsageError
from ivvit_cli.sharding import check_apart, command_line, parts_missing, path, show

if TYPE_CHECKING:
    from shards.convert.conversion import Conversion
    from shards.convert.parts import Part
    from shards.convert.report import Report

DATASETS = (
    "cifar10, cifar100, tiny-imagenet, imagenet, ucf101, hmdb51, kinetics, kinetics400, "
    "kinetics600, kinetics700, mini-kinetics, ssv2, moments, smarthome, jester; or, for your own, "
    "imagefolder, videofolder, csv, frames; webdataset"
)

_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


Out = Annotated[
    Path | None,
    typer.Option(
        *("-o", "--out"), parser=path, metavar="DIR", help="Folder of shards (default: data/NAME)."
    ),
]
ShortSide = Annotated[
    int | None,
    typer.Option(
        min=0, help="Reduce the shorter side to this, 0: never (default: 320 for videos, else 0)."
    ),
]
Fold = Annotated[
    int | None, typer.Option(help="Official lists of ucf101 and hmdb51: 1, 2 or 3 (default: 1).")
]
Protocol = Annotated[
    str | None, typer.Option(help="Protocol of smarthome: cs, cv1 or cv2 (default: cs).")
]
Fps = Annotated[
    float | None,
    typer.Option(help="Frames per second of videos (default: the source's), or of given frames."),
]
Quality = Annotated[
    int, typer.Option(min=2, max=31, help="JPEG quality of video frames, 2 is best.")
]
ShardSize = Annotated[
    str, typer.Option(metavar="BYTES", help="About this much per shard; K, M, G are units.")
]
Workers = Annotated[
    int | None, typer.Option(min=1, help="Items at a time (default: one per core).")
]
PartOf = Annotated[
    str | None,
    typer.Option(
        "--part", metavar="I/N", help="Part I of N, from 0, or all (default: a batch task's own)."
    ),
]
Finalize = Annotated[
    bool, typer.Option("--finalize", help="Convert nothing, finish a folder whose parts are there.")
]
Retry = Annotated[
    bool, typer.Option("--retry-failed", help="Convert shards with skipped items again.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only count, and estimate the size.")]


class Layout(StrEnum):
    """How a video's frames lie in the tar."""

    MJPG = "mjpg"
    FRAMES = "frames"


class Engine(StrEnum):
    """Where a conversion runs."""

    LOCAL = "local"
    RAY = "ray"


class OnBad(StrEnum):
    """What becomes of a run that meets an item that cannot be converted."""

    SKIP = "skip"
    FAIL = "fail"


EngineOf = Annotated[Engine, typer.Option(help="Convert on this machine, or on a Ray cluster.")]
LayoutOf = Annotated[
    Layout, typer.Option(help="A video's frames as one member, or one member each.")
]
OnBadItem = Annotated[
    OnBad, typer.Option(help="Leave out what cannot be converted, or stop there.")
]


def shard(
    context: typer.Context,
    dataset: Annotated[str, typer.Argument(metavar="DATASET", help=f"One of {DATASETS}.")],
    source: Annotated[Path, typer.Argument(parser=path, metavar="SRC", help="Its folder or list.")],
    out: Out = None,
    fold: Fold = None,
    protocol: Protocol = None,
    short_side: ShortSide = None,
    fps: Fps = None,
    quality: Quality = 3,
    workers: Workers = None,
    part: PartOf = None,
    finalize: Finalize = False,
    engine: EngineOf = Engine.LOCAL,
    layout: LayoutOf = Layout.MJPG,
    shard_size: ShardSize = "256M",
    on_bad: OnBadItem = OnBad.SKIP,
    retry: Retry = False,
    dry_run: DryRun = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Convert a dataset to shards.

    A second run converts only what is missing. What is left out is listed in skipped.jsonl.

    Examples:
      ivvit shard ucf101 ~/UCF101 -o data/ucf101 --fold 1
      ivvit shard imagefolder ~/photos -o data/photos --dry-run
      ivvit shard kinetics400 /data/k400 -o /data/shards/k400 --part 0/16
    """
    from shards.convert.dataset import prepare

    mine = _part(part, finalize)
    conversion = prepare(
        dataset,
        source,
        fold=_fold(dataset, fold),
        protocol=protocol,
        short_side=short_side,
        fps=fps,
        quality=quality,
        layout=layout.value,
        shard_size=_parse_bytes(shard_size),
    )
    folder = out or _default_folder(conversion.listing.name)
    check_apart(dataset, source, folder)
    again = command_line(context, ("part", "finalize", "dry_run", "as_json"))
    if finalize:
        report = _finalize(conversion, folder, again)
    elif dry_run:
        report = conversion.forecast(mine)
    else:
        how = {"engine": engine.value, "workers": workers, "on_bad": on_bad.value}
        report = _run(conversion, folder, part=mine, retry_failed=retry, **how)
    if as_json:
        console.print_json(report.document())
    else:
        show(report, folder, dry_run=dry_run, again=again)


def _fold(dataset: str, fold: int | None) -> int:
    from shards.convert.sources import FOLDED

    if fold is not None and dataset not in FOLDED:
        raise UsageError(f"--fold: only {' and '.join(FOLDED)} have folds")
    return 1 if fold is None else fold


def _part(text: str | None, finalize: bool) -> "Part":
    """Return the part that was asked for, else this task's of a batch system, else the whole."""
    from shards.convert.parts import WHOLE, parse_part
    from shards.convert.schedulers import part_of_task

    if finalize:
        if text is not None:
            raise UsageError("--finalize: is of all parts, and takes no --part")
        return WHOLE
    if text is not None:
        return parse_part(text)
    task = part_of_task(os.environ)
    if task is None:
        return WHOLE
    part, variables = task
    console.say(f"part {part}, by {variables}; with --part all: everything")
    return part


def _run(conversion: "Conversion", folder: Path, **options: Any) -> "Report":
    unit = "videos" if conversion.listing.kind == "video" else "images"
    with ExitStack() as stack:
        bars: list[console.Progress] = []
        shown = 0

        def advance(done: int, total: int) -> None:
            nonlocal shown
            if not done:  # the call before the first item
                bars.append(stack.enter_context(console.progress("shard", total, unit)))
            bars[0].advance(done - shown)
            shown = done

        try:
            return conversion.run(folder, on_progress=advance, **options)
        except KeyboardInterrupt:
            console.say(f"{folder}: interrupted; the same command goes on with what is missing")
            raise


def _finalize(conversion: "Conversion", folder: Path, again: str) -> "Report":
    from shards.convert.division import read_division
    from shards.convert.errors import ShardsMissing

    try:
        return conversion.finalize(folder)
    except ShardsMissing as fault:
        division = read_division(folder)
        raise parts_missing(fault, division.parts if division else None, again) from None


def _default_folder(name: str) -> Path:
    from ivvit_cli.config import resolve_shards

    return resolve_shards(f"data/{name}")


def _parse_bytes(text: str) -> int:
    match = re.fullmatch(r"(\d+)([KMG]?)(?:i?B)?", text.strip(), re.IGNORECASE)
    if not match or int(match[1]) == 0:
        raise UsageError(f"--shard-size {text}: use a number of bytes such as 256M or 1G")
    return int(match[1]) * _UNITS[match[2].upper()]
