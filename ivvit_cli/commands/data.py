"""`ivvit data`: which folders of shards there are, what is in one, and whether it is sound."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ivvit_cli import console
from ivvit_cli.errors import InputError, UsageError

if TYPE_CHECKING:
    from shards.convert.contact import Strip
    from shards.index import DatasetInfo
    from shards.stream.reader import Split

Folder = Annotated[Path, typer.Argument(metavar="DIR", help="A folder of shards.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]

COLUMNS = 12  # pictures in a row of the contact sheet
FRAMES = 6  # of each video on it
OF_VIDEOS = ("fps", "quality", "layout")  # options that images are converted without


def ls(
    folder: Annotated[
        Path | None, typer.Argument(metavar="[DIR]", help="Where to look (default: data).")
    ] = None,
    as_json: Json = False,
) -> None:
    """List the folders of shards in a folder.

    Examples:
      ivvit data ls
      ivvit data ls /mnt/shards --json
    """
    from ivvit_cli.config import resolve_shards

    top = folder or resolve_shards("data")
    if not top.is_dir():
        raise InputError(f"{top}: no such folder", hint="ivvit shard --help")
    found = list(_find(top))
    if as_json:
        console.print_json([_document(path, info) for path, info in found])
        return
    rows = [
        (str(path), info.kind, len(info.classes), _splits(info), _size(info))
        for path, info in found
    ]
    console.table(f"Shards in {top}", ["folder", "kind", "classes", "samples", "size"], rows)
    if found:
        console.next_step(f"ivvit data show {found[0][0]}")


def show(
    folder: Folder,
    split: Annotated[str | None, typer.Option(help="Split to picture (default: first).")] = None,
    count: Annotated[int, typer.Option("-n", min=1, help="Samples on the contact sheet.")] = 24,
    out: Annotated[
        Path | None,
        typer.Option("-o", "--out", metavar="PNG", help="(default: DIR/contact-sheet.png)"),
    ] = None,
    as_json: Json = False,
) -> None:
    """Summarise a folder of shards and draw a contact sheet of samples.

    Examples:
      ivvit data show data/ucf101
      ivvit data show data/ucf101 --split test -n 60 -o ucf.png
    """
    from shards.convert.folder import CONTACT_SHEET
    from shards.index import read_dataset_info

    info = read_dataset_info(folder)
    name = split or next(iter(info.splits))
    if name not in info.splits:
        raise UsageError(f"{folder}: has no split {name}", hint=f"use {', '.join(info.splits)}")
    path = out or folder / CONTACT_SHEET
    _draw(folder, name, count, path)
    if as_json:
        console.print_json(_document(folder, info) | {"contact_sheet": str(path)})
        return
    _summarise(info)
    console.say(f"contact sheet: {path}")
    console.next_step(f"ivvit data verify {folder}")


def verify(folder: Folder, as_json: Json = False) -> None:
    """Check every shard, sample and picture, the manifest and the indexes.

    Exits with 1 when something is damaged.

    Examples:
      ivvit data verify data/ucf101
      ivvit data verify data/ucf101 --json
    """
    from shards.convert.report import counted
    from shards.convert.verify import verify as check

    with console.progress("verify", None, "shards") as bar:
        report = check(folder, on_progress=lambda done, total: bar.advance())
    if as_json:
        console.print_json(report.document())
    elif report.problems:
        rows = [(problem.shard, problem.kind, problem.detail) for problem in report.problems]
        console.table("Problems", ["file", "kind", "detail"], rows)
    else:
        console.say(f"{folder}: {counted(report.samples, 'sample')}, all sound")
    if not report.ok:
        problems = counted(len(report.problems), "problem")
        console.fail(f"{folder}: {problems}", "convert again with ivvit shard")
        raise typer.Exit(1)


def _find(top: Path) -> Iterator[tuple[Path, "DatasetInfo"]]:
    from shards.index import DATASET_FILE, read_dataset_info

    for path in sorted({top, *(entry for entry in top.iterdir() if entry.is_dir())}):
        if (path / DATASET_FILE).is_file():
            try:
                yield path, read_dataset_info(path)
            except InputError as error:
                console.warn(error.message)


def _document(path: Path, info: "DatasetInfo") -> dict[str, Any]:
    return {
        "folder": str(path),
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
    unused = OF_VIDEOS if info.kind == "image" else ()
    options = ", ".join(
        f"{key} {value}" for key, value in info.options.items() if value and key not in unused
    )
    made = "indexed, the tars are of others" if info.options.get("indexed") else "converted"
    console.say(f"{made} with: {options}; {' '.join(' '.join(t) for t in info.tools.items())}")


def _draw(folder: Path, split: str, count: int, path: Path) -> None:
    from shards.convert.contact import write_contact_sheet
    from shards.stream.reader import open_dataset

    samples = open_dataset(folder)[split]
    count = min(count, len(samples))
    chosen = [place * len(samples) // count for place in range(count)]
    try:
        write_contact_sheet(path, [_strip(samples, i) for i in chosen], COLUMNS)
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
