"""Folders that are either whole or absent."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from ivvit_cli.errors import EnvironmentFault, UsageError
from shards.files import sync_folder, temporary_path


@contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """Make a folder to fill, which takes the name `out` when it is filled and on the disk.

    Raises:
        UsageError: there is something at `out` already.
        EnvironmentFault: the disk is full or cannot be written.
    """
    if out.exists():
        raise UsageError(f"{out}: exists already", hint="give another name with -o")
    new = temporary_path(out)
    try:
        new.mkdir(parents=True)
        yield new
        for path in (*new.rglob("*"), new):
            _settle(path)
        new.rename(out)
        sync_folder(out.parent)
    except (OSError, SafetensorError) as error:
        reason = " ".join(str(error).split())
        raise EnvironmentFault(f"{out}: cannot be written: {reason}") from error
    finally:
        shutil.rmtree(new, ignore_errors=True)


def _settle(path: Path) -> None:
    if path.is_dir():
        sync_folder(path)
        return
    with path.open("rb") as file:
        os.fsync(file.fileno())
