"""A user's own lists of files: csv, or the `path label` lists of mmaction2 and SlowFast."""

import csv
from collections.abc import Iterator
from pathlib import Path

from shards.convert.items import SPLITS, Listing
from shards.convert.media import sniff_kind
from shards.convert.sources.tables import Row, Table, find_tables, list_rows
from shards.errors import InputError
from shards.manifest import Kind

LAYOUT = (
    "expected: a file with lines path,label[,split[,start,end]] or `path label`, or a folder with "
    "such files that have train, val or test in their names; paths start at the file's folder"
)

_COLUMNS = ("path", "label", "split", "start", "end")
_SPLIT_NAMES = {name: name for name in SPLITS} | {"validation": "val", "validate": "val"}


def list_items(source: str, root: Path, *, fold: int = 1) -> Listing:
    """List the files that the lists name; all of the kind, image or video, of the first.

    Raises:
        InputError: there is no list, a line of it is damaged, or no file is on the disk.
    """
    rows = [row for table in find_tables(root, LAYOUT) for row in _checked(list(_rows(table)))]
    return list_rows(source, _kind(rows), root, rows, LAYOUT)


def _checked(rows: list[Row]) -> list[Row]:
    """Refuse a header with other names, which would pass for a missing file of a class of its own.

    Raises:
        InputError: the first line names no file, and a label that no other line has.
    """
    first, labels = rows[0] if rows else None, {row.label for row in rows[1:]}
    if first is None or not labels or first.label in labels or first.label.isdecimal():
        return rows
    if first.path.suffix or first.path.exists():
        return rows
    raise InputError(
        f"{first.place}: `{first.path.name}`, `{first.label}` looks like a header",
        hint="name its columns path and label, and split, start and end if it has them",
    )


def _rows(table: Table) -> Iterator[Row]:
    columns: tuple[str, ...] = ()
    for place, line in table.lines():
        fields = _fields(place, line)
        if not columns:
            header = tuple(field.lower() for field in fields)
            columns = header if {"path", "label"} <= set(header) else _COLUMNS
            if columns is header:
                continue
        if len(fields) > len(columns):
            raise InputError(f"{place}: has {len(fields)} fields, not up to {len(columns)}")
        yield _row(table, place, dict(zip(columns, fields, strict=False)))


def _fields(place: str, line: str) -> list[str]:
    """Return the fields of a line with commas, else of `path label`; paths may have spaces."""
    if "," in line:
        try:
            return [field.strip() for field in next(csv.reader([line]))]
        except csv.Error as error:
            raise InputError(f"{place}: cannot be read as csv: {error}") from None
    return line.rsplit(maxsplit=1)


def _row(table: Table, place: str, row: dict[str, str]) -> Row:
    path, label = row.get("path"), row.get("label")
    if not path or not label:
        raise InputError(f"{place}: expected path,label[,split[,start,end]]", hint=LAYOUT)
    split = _SPLIT_NAMES.get((row.get("split") or table.split).lower())
    if split is None:
        raise InputError(f"{place}: split `{row['split']}`: use one of {', '.join(SPLITS)}")
    segment = _segment(place, row.get("start", ""), row.get("end", ""))
    return Row(place, table.resolve(path), split, label, segment)


def _segment(place: str, start: str, end: str) -> tuple[float, float] | None:
    if not start and not end:
        return None
    try:
        segment = float(start), float(end)
    except ValueError:
        raise InputError(f"{place}: start `{start}` and end `{end}` are not seconds") from None
    if not 0 <= segment[0] < segment[1] < float("inf"):
        raise InputError(f"{place}: start {start} and end {end} are no part of a video")
    return segment


def _kind(rows: list[Row]) -> Kind:
    for row in rows:
        try:
            return sniff_kind(row.path)
        except InputError:  # missing or damaged, which is told later
            continue
    return "video"
