"""`ivvit data index`: WebDataset tars that others made, opened where they are."""

from contextlib import ExitStack
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ivvit_cli import console
from ivvit_cli.sharding import path

if TYPE_CHECKING:
    from shards.convert.foreign.index import Indexing
    from shards.convert.report import Report


class Kind(StrEnum):
    """What the samples are."""

    IMAGE = "image"
    VIDEO = "video"


class OnBad(StrEnum):
    """What becomes of an index that meets a sample or a tar that cannot be read."""

    SKIP = "skip"
    FAIL = "fail"


Folder = Annotated[
    Path, typer.Argument(parser=path, metavar="DIR", help="A folder of WebDataset tars.")
]
Out = Annotated[
    Path | None,
    typer.Option(
        *("-o", "--out"),
        parser=path,
        metavar="DIR",
        help="Where to write, with links to the tars (default: beside them).",
    ),
]
Splits = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME=PATTERN", help="Tars of a split (default: as their names say)."),
]
ClassFile = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Class names, one a line, or a JSON list.")
]
Workers = Annotated[int | None, typer.Option(min=1, help="Tars at a time (default: one per core).")]


def index(
    folder: Folder,
    out: Out = None,
    name: Annotated[str | None, typer.Option(help="Of the dataset (default: DIR's).")] = None,
    split: Splits = None,
    classes: ClassFile = None,
    kind: Annotated[
        Kind | None, typer.Option(help="What counts, where there are images and videos.")
    ] = None,
    fps: Annotated[
        float | None, typer.Option(help="Frames per second of videos that do not tell.")
    ] = None,
    checksum: Annotated[
        bool, typer.Option("--checksum", help="Read the tars whole, for `data verify`.")
    ] = False,
    on_bad: Annotated[
        OnBad, typer.Option(help="Leave out what cannot be read, or stop there.")
    ] = OnBad.SKIP,
    workers: Workers = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only find the tars, and look at some samples.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Index WebDataset tars that others made, so that they can be trained from.

    The tars stay as they are. A second run walks only tars that are new or changed. What cannot be
    read is listed in skipped.jsonl.

    Examples:
      ivvit data index /mnt/imagenet-wds --classes imagenet-classes.txt
      ivvit data index clips --split 'train=part-[0-8]*' --split 'val=part-9*'
    """
    from shards.convert.foreign.index import prepare_index

    indexing = prepare_index(
        folder,
        out,
        name=name,
        kind=kind.value if kind else None,
        fps=fps,
        splits=split or (),
        classes=classes,
        checksum=checksum,
    )
    if dry_run:
        _forecast(indexing, as_json)
        return
    report = _run(indexing, workers, on_bad)
    if as_json:
        console.print_json(report.document())
    else:
        _show(report, indexing.out)


def _run(indexing: "Indexing", workers: int | None, on_bad: OnBad) -> "Report":
    with ExitStack() as stack:
        bars: list[console.Progress] = []

        def advance(done: int, total: int) -> None:
            if not done:  # the call before the first tar
                bars.append(stack.enter_context(console.progress("index", total, "tars")))
            else:
                bars[0].advance()

        return indexing.run(workers=workers, on_bad=on_bad.value, on_progress=advance)


def _forecast(indexing: "Indexing", as_json: bool) -> None:
    rows = indexing.rows()
    if as_json:
        document: dict[str, Any] = {"dataset": indexing.name, "splits": rows}
        console.print_json(document)
        return
    table = [(name, row["shards"], f"{row['bytes'] / 1e6:.1f} MB") for name, row in rows.items()]
    console.table(indexing.name, ["split", "tars", "size"], table)
    for note in indexing.found.notes:
        console.say(f"note: {note}")
    console.say("nothing was written")


def _show(report: "Report", folder: Path) -> None:
    from shards.convert.report import counted

    rows = [
        (name, row["samples"], row["shards"], f"{row['bytes'] / 1e6:.1f} MB")
        for name, row in report.splits.items()
    ]
    title = f"{report.dataset}: {report.kind}s of {len(report.classes)} classes"
    console.table(title, ["split", "samples", "tars", "size"], rows)
    for note in report.notes:
        console.say(f"note: {note}")
    if report.reused:
        console.say(f"walked before: {counted(report.reused, 'tar')}")
    for reason in report.reasons:
        console.say(f"left out: {reason}")
    if more := report.skipped - len(report.reasons):
        console.say(f"left out: and {more} more")
        console.say(f"what was left out, and why: {folder / 'skipped.jsonl'}")
    console.say(f"{report.written} indexed, {report.skipped} left out; index in {folder}")
    console.next_step(f"ivvit data show {folder}")
