"""`ivvit data`: which folders of shards there are, what is in one, and whether it is sound."""

import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ivvit_cli import console
from ivvit_cli.errors import InputError, UsageError

if TYPE_CHECKING:
    from shards.convert.contact import Strip
    from shards.convert.verify import VerifyReport
    from shards.manifest import DatasetInfo
    from shards.stream.reader import Split

Place = Annotated[str, typer.Argument(metavar="DIR|URL", help="A folder of shards.")]
Folder = Annotated[str, typer.Argument(metavar="DIR", help="A folder of shards.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]

FEW = 4  # files that a hint names
COLUMNS = 12  # pictures in a row of the contact sheet
FRAMES = 6  # of each video on it
OF_VIDEOS = ("fps", "quality", "layout")  # options that images are converted without


def ls(
    folder: Annotated[
        str | None, typer.Argument(metavar="[DIR|URL]", help="Where to look (default: data).")
    ] = None,
    as_json: Json = False,
) -> None:
    """List the folders of shards in a folder.

    Examples:
      ivvit data ls
      ivvit data ls /mnt/shards --json
      ivvit data ls s3://bucket/shards
    """
    from ivvit_cli.config import resolve_shards

    top = folder or str(resolve_shards("data"))
    found = list(_find(top))
    if as_json:
        console.print_json([_document(path, info) for path, info in found])
        return
    rows = [
        (path, info.kind, len(info.classes), _splits(info), _size(info)) for path, info in found
    ]
    console.table(f"Shards in {top}", ["folder", "kind", "classes", "samples", "size"], rows)
    for unfinished, shards in _find_unfinished(Path(top)):
        console.say(f"unfinished: {unfinished}, {shards} so far; the same command goes on")
    if found:
        console.next_step(shlex.join(["ivvit", "data", "show", found[0][0]]))


def show(
    folder: Place,
    split: Annotated[str | None, typer.Option(help="Split to picture (default: first).")] = None,
    count: Annotated[int, typer.Option("-n", min=1, help="Samples on the contact sheet.")] = 24,
    out: Annotated[
        Path | None,
        typer.Option(
            *("-o", "--out"),
            metavar="PNG",
            help="(default: contact-sheet.png in DIR; of a URL NAME-contact-sheet.png, here)",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Summarise a folder of shards and draw a contact sheet of samples.

    Examples:
      ivvit data show data/ucf101
      ivvit data show data/ucf101 --split test -n 60 -o ucf.png
      ivvit data show s3://bucket/shards/ucf101 -o ucf.png
    """
    from ivvit_cli.meant import require_shards
    from shards.convert.folder import CONTACT_SHEET
    from shards.stream.dataset import open_dataset
    from shards.urls import is_url

    require_shards(folder)
    dataset = open_dataset(folder)
    info = dataset.info
    name = split or next(iter(info.splits))
    if name not in info.splits:
        raise UsageError(f"{folder}: has no split {name}", hint=f"use {', '.join(info.splits)}")
    sheet = f"{info.name}-{CONTACT_SHEET}" if is_url(folder) else Path(folder, CONTACT_SHEET)
    path = out or Path(sheet)
    _draw(dataset[name], count, path)
    if as_json:
        console.print_json(_document(folder, info) | {"contact_sheet": str(path)})
        return
    _summarise(info)
    console.say(f"contact sheet: {path}")
    if not is_url(folder):
        console.next_step(shlex.join(["ivvit", "data", "verify", folder]))


def verify(folder: Folder, as_json: Json = False) -> None:
    """Check every shard, sample and picture, the manifest and the indexes.

    Exits with 1 when something is damaged.

    Examples:
      ivvit data verify data/ucf101
      ivvit data verify data/ucf101 --json
    """
    from ivvit_cli.meant import require_shards
    from ivvit_cli.sharding import next_command
    from shards.convert.report import counted
    from shards.convert.verify import verify as check
    from shards.urls import is_url

    if is_url(folder):
        raise UsageError(
            f"{folder}: verify reads folders of this machine",
            hint="what is fetched from a URL is checked as it comes; to check all, copy it here",
        )
    require_shards(folder)
    with console.progress("verify", None, "shards") as bar:
        report = check(Path(folder), on_progress=lambda _, total: bar.advance(total=total))
    if as_json:
        console.print_json(report.document())
    elif report.problems:
        rows = [(problem.shard, problem.kind, problem.detail) for problem in report.problems]
        console.table("Problems", ["file", "kind", "detail"], rows)
    else:
        console.say(f"{folder}: {counted(report.samples, 'sample')}, all sound")
        if report.left_out:
            skipped = Path(folder, "skipped.jsonl")
            console.say(f"left out when it was made: {report.left_out}, see {skipped}")
        console.next_step(next_command(folder))
    if not report.ok:
        problems = counted(len(report.problems), "problem")
        console.fail(f"{folder}: {problems}", _mend(folder, report))
        raise typer.Exit(1)


def _mend(folder: str, report: "VerifyReport") -> str:
    """Return what puts an end to the damage; what is there and looks finished is not made anew."""
    named = {problem.shard: Path(folder, problem.shard) for problem in report.problems}
    damaged = [
        str(path)
        for name, path in sorted(named.items())
        if path.is_file() and not (report.indexed and name.endswith(".tar"))
    ]
    remove = shlex.join(["rm", *damaged]) if len(damaged) <= FEW else "remove the files named above"
    first = f"{remove}; then " if damaged else ""
    if report.indexed:
        again = shlex.join(["ivvit", "data", "index", folder])
        return f"fetch damaged tars again, then {first}{again}"
    return f"{first}the ivvit shard command that made them makes what is gone anew"


def _find(top: str) -> Iterator[tuple[str, "DatasetInfo"]]:
    from shards.stream.store import find_datasets, read_manifest

    for place in find_datasets(top):
        try:
            yield place, read_manifest(place)
        except InputError as error:
            console.warn(error.message)


def _find_unfinished(top: Path) -> Iterator[tuple[Path, str]]:
    """Yield the folders of conversions that have not ended, and how many shards they have."""
    from shards.convert.report import counted
    from shards.manifest import DATASET_FILE

    for folder in sorted(path for path in (top, *top.glob("*")) if path.is_dir()):
        records = len(list(folder.glob("*-[0-9][0-9][0-9][0-9][0-9][0-9].index")))
        if records and not (folder / DATASET_FILE).exists():
            yield folder, counted(records, "shard")


def _document(folder: str, info: "DatasetInfo") -> dict[str, Any]:
    return {
        "folder": folder,
        "dataset": info.name,
        "kind": info.kind,
        "splits": {
            name: {"samples": split.samples, "shards": len(split.shards), "bytes": split.bytes}
            for name, split in info.splits.items()
        },
        "classes": list(info.classes),
        "options": info.options,
    }


def _splits(info: "DatasetInfo") -> str:
    return ", ".join(f"{name} {split.samples}" for name, split in info.splits.items())


def _size(info: "DatasetInfo") -> str:
    return f"{sum(split.bytes for split in info.splits.values()) / 1e6:.1f} MB"


def _summarise(info: "DatasetInfo") -> None:
    rows = [
        (name, s.samples, s.frames, len(s.shards), f"{s.bytes / 1e6:.1f} MB", s.missing, s.skipped)
        for name, s in info.splits.items()
    ]
    columns = ["split", "samples", "frames", "shards", "size", "missing", "skipped"]
    console.table(f"{info.name}: {info.kind}s of {len(info.classes)} classes", columns, rows)
    console.say(f"classes: {', '.join(info.classes[:8])}{' …' if len(info.classes) > 8 else ''}")
    tools = " ".join(" ".join(tool) for tool in info.tools.items())
    if info.options.get("indexed"):
        console.say(f"tars of others, indexed by {tools}")
        return
    unused = OF_VIDEOS if info.kind == "image" else ()
    options = ", ".join(
        f"{key} {value}" for key, value in info.options.items() if value and key not in unused
    )
    console.say(f"converted with: {options}; {tools}")


def _draw(samples: "Split", count: int, path: Path) -> None:
    from shards.convert.contact import write_contact_sheet

    count = min(count, len(samples))
    chosen = [place * len(samples) // count for place in range(count)]
    with console.progress("contact sheet", count, "samples") as bar:
        strips = []
        for i in chosen:
            strips.append(_strip(samples, i))
            bar.advance()
    try:
        write_contact_sheet(path, strips, COLUMNS)
    except OSError as error:
        reason = error.strerror or error
        raise InputError(
            f"{path}: cannot be written: {reason}", hint="choose a file with -o"
        ) from None


def _strip(samples: "Split", i: int) -> "Strip":
    from shards.convert.contact import Strip, fit
    from shards.stream.decode import decode_frame

    sample = samples[i]
    count = min(FRAMES, len(sample.frames))
    chosen = [sample.frames[place * len(sample.frames) // count] for place in range(count)]
    pictures = [fit(decode_frame(frame, sample.codec)) for frame in chosen]
    return Strip(sample.class_name, sample.key, pictures)
