"""`ivvit shard`: a dataset as it is distributed, converted to shards."""

import re
from contextlib import ExitStack
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ivvit_cli import console
from ivvit_cli.errors import UsageError

if TYPE_CHECKING:
    from shards.convert.conversion import Conversion
    from shards.convert.report import Report

DATASETS = (
    "cifar10, cifar100, tiny-imagenet, imagenet, ucf101, hmdb51, kinetics, kinetics400, "
    "kinetics600, kinetics700, mini-kinetics, ssv2, moments, smarthome, jester; or, for your own, "
    "imagefolder, videofolder, csv, frames"
)

_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


Out = Annotated[
    Path | None,
    typer.Option("-o", "--out", metavar="DIR", help="Folder of shards (default: data/NAME)."),
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
Workers = Annotated[
    int | None, typer.Option(min=1, help="Items at a time (default: one per core).")
]


class Layout(StrEnum):
    """How a video's frames lie in the tar."""

    MJPG = "mjpg"
    FRAMES = "frames"


class OnBad(StrEnum):
    """What becomes of a run that meets an item that cannot be converted."""

    SKIP = "skip"
    FAIL = "fail"


def shard(
    dataset: Annotated[str, typer.Argument(metavar="DATASET", help=f"One of {DATASETS}.")],
    source: Annotated[Path, typer.Argument(metavar="SRC", help="Its folder or list.")],
    out: Out = None,
    fold: Fold = None,
    protocol: Protocol = None,
    short_side: ShortSide = None,
    fps: Fps = None,
    quality: Annotated[
        int, typer.Option(min=2, max=31, help="JPEG quality of video frames, 2 is best.")
    ] = 3,
    workers: Workers = None,
    layout: Annotated[
        Layout, typer.Option(help="A video's frames as one member, or one member each.")
    ] = Layout.MJPG,
    shard_size: Annotated[
        str, typer.Option(metavar="BYTES", help="About this much per shard; K, M, G are units.")
    ] = "256M",
    on_bad: Annotated[
        OnBad, typer.Option(help="Leave out what cannot be converted, or stop there.")
    ] = OnBad.SKIP,
    retry: Annotated[
        bool, typer.Option("--retry-failed", help="Convert shards with skipped items again.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only count, and estimate the size.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Convert a dataset to shards.

    A second run converts only what is missing. What is left out is listed in skipped.jsonl.

    Examples:
      ivvit shard ucf101 ~/UCF101 -o data/ucf101 --fold 1
      ivvit shard imagefolder ~/photos -o data/photos --dry-run
    """
    from shards.convert.dataset import prepare
    from shards.convert.sources import FOLDED

    if fold is not None and dataset not in FOLDED:
        raise UsageError(f"--fold: only {' and '.join(FOLDED)} have folds")
    conversion = prepare(
        dataset,
        source,
        fold=1 if fold is None else fold,
        protocol=protocol,
        short_side=short_side,
        fps=fps,
        quality=quality,
        layout=layout.value,
        shard_size=_parse_bytes(shard_size),
    )
    folder = out or _default_folder(conversion.listing.name)
    report = conversion.forecast() if dry_run else _run(conversion, folder, workers, on_bad, retry)
    if as_json:
        console.print_json(report.document())
    else:
        _show(report, folder, dry_run)


def _run(
    conversion: "Conversion", folder: Path, workers: int | None, on_bad: OnBad, retry: bool
) -> "Report":
    unit = "videos" if conversion.listing.kind == "video" else "images"
    with ExitStack() as stack:
        bars: list[console.Progress] = []

        def advance(done: int, total: int) -> None:
            if not done:  # the call before the first item
                bars.append(stack.enter_context(console.progress("shard", total, unit)))
            else:
                bars[0].advance()

        return conversion.run(
            folder,
            workers=workers,
            on_bad=on_bad.value,
            retry_failed=retry,
            on_progress=advance,
        )


def _default_folder(name: str) -> Path:
    from ivvit_cli.config import resolve_shards

    return resolve_shards(f"data/{name}")


def _parse_bytes(text: str) -> int:
    match = re.fullmatch(r"(\d+)([KMG]?)(?:i?B)?", text.strip(), re.IGNORECASE)
    if not match or int(match[1]) == 0:
        raise UsageError(f"--shard-size {text}: use a number of bytes such as 256M or 1G")
    return int(match[1]) * _UNITS[match[2].upper()]


def _show(report: "Report", folder: Path, dry_run: bool) -> None:
    from shards.convert.report import counted

    about = "about " if dry_run else ""
    rows = [
        (name, row["samples"], row["shards"], f"{about}{row['bytes'] / 1e6:.1f} MB")
        for name, row in report.splits.items()
    ]
    title = f"{report.dataset}, {len(report.classes)} classes"
    console.table(title, ["split", "samples", "shards", "size"], rows)
    for note in report.notes:
        console.say(f"note: {note}")
    counts = f"{report.listed} listed, {report.missing} missing"
    if report.duplicate:
        counts += f", {report.duplicate} listed again"
    if dry_run:
        console.say(f"{counts}; nothing was converted")
        return
    counts += f", {report.skipped} skipped, {report.written} written to {folder}"
    console.say(counts)
    if report.reused:
        console.say(f"already there: {counted(report.reused, 'shard')}")
    _show_left_out(report, folder)
    console.next_step(f"ivvit data show {folder}")


def _show_left_out(report: "Report", folder: Path) -> None:
    for reason in report.reasons:
        console.say(f"skipped: {reason}")
    if report.missing > report.listed / 2:
        console.warn(f"most of what is listed is missing: {report.missing} of {report.listed}")
    if report.missing or report.skipped > len(report.reasons):
        console.say(f"what was left out, and why: {folder / 'skipped.jsonl'}")
