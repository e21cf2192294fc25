"""Which files the words of a command line stand for."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from shards.convert.media import sniff_kind
from shards.errors import InputError, UsageError
from shards.manifest import Kind


@dataclass(frozen=True)
class MediaFile:
    """A file to predict on; one that cannot be has an error instead of a kind."""

    path: Path
    kind: Kind | None = None
    error: str | None = None


def read_names(stream: IO[bytes]) -> list[Path]:
    """Return the files that a stream names, one a line; if it holds a NUL, they end with those.

    Raises:
        UsageError: it names none.
    """
    content = stream.read()
    names = content.split(b"\0" if b"\0" in content else b"\n")
    paths = [Path(os.fsdecode(name)) for name in names if name]
    if not paths:
        raise UsageError("-: no file is named on stdin", hint="find DIR -type f | ivvit predict -")
    return paths


def find_media(paths: Iterable[Path]) -> tuple[list[MediaFile], list[Path]]:
    """Return the files to predict on, in the order given, and the files that were left out.

    A folder stands for the images and videos in it and below it, sorted by path; its other files
    are left out. A file that was named itself and is neither becomes a `MediaFile` with an error,
    and so does a folder without media.
    """
    files: list[MediaFile] = []
    left_out: list[Path] = []
    for path in paths:
        if not _is_folder(path):
            files.append(_identify(path))
            continue
        inside = [_identify(member) for member in _members(path)]
        media = [file for file in inside if file.kind]
        left_out += [file.path for file in inside if not file.kind]
        files += media or [MediaFile(path, error=f"{path}: holds neither image nor video")]
    return files, left_out


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:  # a name that is too long, or in a folder that is closed to us
        return False


def _members(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _identify(path: Path) -> MediaFile:
    try:
        return MediaFile(path, kind=sniff_kind(path))
    except InputError as error:
        return MediaFile(path, error=error.message)
    except OSError as error:
        return MediaFile(path, error=f"{path}: {error.strerror}")
