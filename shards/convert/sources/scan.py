"""Looking into source folders, in an order that the file system does not decide."""

import os
from collections.abc import Iterable
from pathlib import Path

from shards.convert.items import Item
from shards.errors import InputError
from shards.files import open_plain


def require_folder(root: Path, layout: str) -> None:
    """Check that the dataset's folder is there.

    Raises:
        InputError: it is not; the hint says what is expected.
    """
    if not root.is_dir():
        raise InputError(f"{root}: no such folder", hint=layout)


def folders(path: Path) -> list[Path]:
    """Return the folders in a folder, sorted by name, without hidden ones."""
    return [path / entry.name for entry in _entries(path) if _is_folder(entry)]


def files(path: Path) -> list[Path]:
    """Return all that is no folder in a folder, sorted by name, without hidden ones."""
    return [path / entry.name for entry in _entries(path) if not _is_folder(entry)]


def size_and_time(path: Path) -> tuple[int, int]:
    """Return a file's bytes and when it was written, in ns.

    Both are 0 for what cannot be looked at, which conversion will report.
    """
    try:
        found = path.stat()
    except OSError:
        return 0, 0
    return found.st_size, found.st_mtime_ns


def file_item(root: Path, path: Path, split: str, label: int, key: str | None = None) -> Item:
    """Return the item of a file in the dataset; its key is its name without ending, by default."""
    key = path.stem if key is None else key
    return Item(key, split, label, relative(path, root), *size_and_time(path), path=path)


def read_lines(path: Path) -> list[str]:
    """Return a list file's lines, stripped, without empty ones.

    Raises:
        InputError: the file cannot be read as text.
    """
    try:
        with open_plain(path) as file:
            lines = file.read().decode("utf-8-sig").splitlines()
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read: {error}") from None
    return [line.strip() for line in lines if line.strip()]


def relative(path: Path, root: Path) -> str:
    """Return a path relative to the dataset's root, with forward slashes."""
    return path.relative_to(root).as_posix()


def printable(name: str) -> str:
    """Return a file name as text that can be stored: undecodable bytes become question marks."""
    return name.encode("utf-8", "replace").decode()


def require_names(path: Path, names: Iterable[str]) -> None:
    """Check that what a list calls its folders are names, and no ways out of the dataset.

    Raises:
        InputError: one is not.
    """
    for name in names:
        if Path(name).name != name or name == "..":
            raise InputError(f"{path}: `{name}` is no name of a folder")


def first_folder(candidates: Iterable[Path]) -> Path | None:
    """Return the first of the paths that is a folder."""
    return next((path for path in candidates if path.is_dir()), None)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # such as a link to itself: no folder, and conversion will say why
        return False


def _entries(path: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(path) as scan:
            found = [entry for entry in scan if not entry.name.startswith(".")]
    except OSError as error:
        raise InputError(f"{path}: cannot be listed: {error.strerror}") from None
    return sorted(found, key=lambda entry: entry.name)
