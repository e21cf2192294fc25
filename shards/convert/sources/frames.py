"""Folders of extracted JPEG frames with the lists of TSN, TSM, TokenShift and mmaction2."""

import re
from collections.abc import Iterator
from pathlib import Path

from shards.convert.items import Extracted, Listing
from shards.convert.sources.tables import Row, Table, find_tables, list_rows
from shards.errors import InputError, UsageError

LAYOUT = (
    "expected: a file with lines `folder frames label` or `folder offset frames label`, or a "
    "folder with such files that have train, val or test in their names; folders start there"
)

_LINE = re.compile(
    r"(?P<folder>.+?)(\s+(?P<first>\d{1,6}))?\s+(?P<count>\d{1,6})\s+(?P<label>\d{1,6})"
)


def list_items(source: str, root: Path, *, fps: float | None) -> Listing:
    """List the folders of frames; `fps` is the rate at which they were extracted.

    Raises:
        UsageError: `fps` is not given; no list tells it.
        InputError: there is no list, a line of it is damaged, or no folder is on the disk.
    """
    tables = find_tables(root, LAYOUT)
    if fps is None:
        raise UsageError("frames: no list tells the rate of the frames", hint="give it with --fps")
    rows = [row for table in tables for row in _rows(table, fps)]
    return list_rows(source, "video", root, rows, LAYOUT, notes=(f"{fps:g} frames per second",))


def _rows(table: Table, fps: float) -> Iterator[Row]:
    for place, line in table.lines():
        fields = _LINE.fullmatch(line)
        if not fields:
            raise InputError(f"{place}: expected `folder [offset] frames label`, found `{line}`")
        frames = Extracted(int(fields["count"]), fps, int(fields["first"] or 0))
        folder = table.resolve(fields["folder"])
        yield Row(place, folder, table.split, fields["label"], frames=frames)
