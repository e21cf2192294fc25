"""Which files the words of a command line stand for."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from shards.convert.media import sniff_kind
from shards.errors import InputError
from shards.index import Kind


@dataclass(frozen=True)
class MediaFile:
    """A file to predict on; one that cannot be has an error instead of a kind."""

    path: Path
    kind: Kind | None = None
    error: str | None = None


def find_media(paths: Iterable[Path]) -> tuple[list[MediaFile], list[Path]]:
    """Return the files to predict on, in the order given, and the files that were left out.

    A folder stands for the images and videos in it and below it, sorted by path; its other files
    are left out. A file that was named itself and is neither becomes a `MediaFile` with an error,
    and so does a folder without media.
    """
    files: list[MediaFile] = []
    left_out: list[Path] = []
    for path in paths:
        if not path.is_dir():
            files.append(_identify(path))
            continue
        inside = [_identify(member) for member in _members(path)]
        media = [file for file in inside if file.kind]
        left_out += [file.path for file in inside if not file.kind]
        files += media or [MediaFile(path, error=f"{path}: holds neither image nor video")]
    return files, left_out


def _members(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _identify(path: Path) -> MediaFile:
    try:
        return MediaFile(path, kind=sniff_kind(path))
    except InputError as error:
        return MediaFile(path, error=error.message)
