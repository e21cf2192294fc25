"""The folder of shards as a whole: what may be in it, and what an older conversion left."""

import fcntl
import os
import re
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from shards.errors import InputError
from shards.index import DATASET_FILE, SKIPPED_FILE

CONTACT_SHEET = "contact-sheet.png"


@contextmanager
def claimed(folder: Path, name: str) -> Iterator[None]:
    """Make the folder and keep other conversions out of it; it ends with the process at the latest.

    Raises:
        InputError: the folder cannot be made, another conversion is writing into it, or it holds
            something that no conversion of this dataset wrote.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError as error:
        raise InputError(f"{folder}: cannot be made: {error.strerror}") from None
    try:
        _lock(descriptor, folder)
        _refuse_foreign(folder, name)
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int, folder: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise InputError(
            f"{folder}: another conversion is writing into it", hint="wait for its end"
        ) from None


def _refuse_foreign(folder: Path, name: str) -> None:
    foreign = sorted(path.name for path in folder.iterdir() if not _is_ours(path.name, name))
    if foreign:
        raise InputError(
            f"{folder}: holds {foreign[0]}, which is not part of the shards of {name}",
            hint="choose a new or an empty folder with -o",
        )


def remove_stale(folder: Path, name: str, keep: Collection[str]) -> None:
    """Remove the shards, records and temporary files of older plans: all ours but `keep`."""
    for path in folder.iterdir():
        if path.name not in keep and path.name != CONTACT_SHEET and _is_ours(path.name, name):
            path.unlink()


def index_name(name: str, split: str) -> str:
    """Return the name of a split's merged index."""
    return f"{name}-{split}.index"


def _is_ours(file: str, name: str) -> bool:
    shard = rf"{re.escape(name)}-(train|val|test)(-\d{{6,}}\.(tar|index)|\.index)"
    fixed = "|".join(map(re.escape, (DATASET_FILE, SKIPPED_FILE, CONTACT_SHEET)))
    return bool(re.fullmatch(rf"{shard}|{fixed}|\.({shard}|{fixed})\.[0-9a-f]+\.tmp", file))
