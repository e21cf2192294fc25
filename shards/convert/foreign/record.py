"""What was found in one tar, kept beside it: a rerun walks only tars that are new or changed."""

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from shards.convert.foreign.processes import each_tar
from shards.convert.foreign.scan import LeftOut, Rules, scan_tar
from shards.convert.foreign.tars import Tar
from shards.convert.seal import is_sealed, sealed
from shards.errors import InputError
from shards.index import FRAME, SAMPLE, Layout, read_layout, write_index
from shards.labels import Label

RECORD = ".index"  # at the end of a tar's name; no index of a split is named so


def record_name(tar: Tar) -> str:
    """Return the name of a tar's record."""
    return f"{tar.file}{RECORD}"


def current_record(folder: Path, tar: Tar, rules: Rules) -> Layout | None:
    """Return where the record of a tar lies, if it is of this very tar by these rules."""
    try:
        layout = read_layout(folder / record_name(tar))
    except InputError:
        return None
    current = is_sealed(layout.header) and _identity(tar, rules).items() <= layout.header.items()
    return layout if current else None


def write_record(tar: Tar, rules: Rules, folder: Path) -> None:
    """Walk a tar and write its record.

    Raises:
        InputError: it cannot be read.
        OSError: the record cannot be written.
    """
    try:
        scan = scan_tar(tar, rules)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise InputError(f"{tar.path}: cannot be read: {reason}") from None
    header = {
        **_identity(tar, rules),
        "sha256": scan.sha256,
        "labels": list(scan.labels),
        "kinds": scan.kinds,
        "files": scan.files,
        "unrated": scan.unrated,
        "content": scan.content,
        "left_out": scan.left_out,
    }
    samples, frames = np.array(scan.rows, SAMPLE), np.array(scan.frames, FRAME)
    header = sealed(header, samples, frames)
    write_index(folder / record_name(tar), header, samples, frames)


def write_records(
    tars: Sequence[Tar], rules: Rules, folder: Path, workers: int | None
) -> Iterator[Tar]:
    """Write the records of tars as `each_tar` does, and yield each tar when that is done.

    Raises:
        InputError: a tar cannot be read.
        OSError: a record cannot be written.
        EnvironmentFault: a process was killed.
    """
    write = partial(write_record, rules=rules, folder=folder)
    for tar, _ in zip(tars, each_tar(write, tars, workers), strict=True):
        yield tar


def left_out(header: dict[str, Any]) -> list[LeftOut]:
    """Return what a record says of what was left out."""
    return [LeftOut(*row) for row in header["left_out"]]


def labels(header: dict[str, Any]) -> list[Label]:
    """Return the labels that the numbers of a record stand for."""
    return [Label(*row) for row in header["labels"]]


def _identity(tar: Tar, rules: Rules) -> dict[str, Any]:
    return {"tar": [tar.file, tar.size, tar.modified], "rules": rules.digest}
