"""Something-Something v2 (Goyal et al. 2017) with its json lists."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from shards.convert.items import Listing
from shards.convert.sources.listed import Entry, list_entries
from shards.convert.sources.scan import first_folder, require_folder
from shards.errors import InputError
from shards.files import open_plain

LAYOUT = (
    "expected: labels.json, train.json and validation.json in FOLDER or FOLDER/labels, and "
    "ID.webm in FOLDER, FOLDER/videos or FOLDER/20bn-something-something-v2"
)

_VIDEOS = ("20bn-something-something-v2", "videos")
_LISTS = {"train": "train", "val": "validation"}


def list_items(source: str, root: Path, *, fold: int = 1) -> Listing:
    """List train and validation; a video's class is its template without brackets.

    Raises:
        InputError: a json file is missing or damaged, or no video is on the disk.
    """
    require_folder(root, LAYOUT)
    lists = first_folder((root / "labels", root / "annotations")) or root
    classes = _classes(_find(lists, "labels"))
    videos = first_folder(root / name for name in _VIDEOS) or root
    tables = {split: _find(lists, name) for split, name in _LISTS.items() if _has(lists, name)}
    if not tables:
        raise InputError(f"{lists}: has neither train.json nor validation.json", hint=LAYOUT)
    labels = {name: label for label, name in enumerate(classes)}
    entries = (
        entry for split, path in tables.items() for entry in _entries(path, split, videos, labels)
    )
    return list_entries(
        source, "video", root, classes, "labels.json, by its numbers", entries,
        layout=LAYOUT, notes=_notes(lists, tables),
    )  # fmt: skip


def _has(lists: Path, name: str) -> bool:
    return any(path.is_file() for path in _names(lists, name))


def _find(lists: Path, name: str) -> Path:
    found = [path for path in _names(lists, name) if path.is_file()]
    if not found:
        raise InputError(f"{lists / name}.json: no such file", hint=LAYOUT)
    return found[0]


def _names(lists: Path, name: str) -> list[Path]:
    return [lists / f"{name}.json", lists / f"something-something-v2-{name}.json"]


def _classes(path: Path) -> list[str]:
    """Return the templates of labels.json by their numbers, which count from 0."""
    numbers = _load(path, dict)
    try:
        places = {int(number): name for name, number in numbers.items()}
    except (TypeError, ValueError):
        raise InputError(f"{path}: does not number its templates") from None
    if sorted(places) != list(range(len(numbers))):
        raise InputError(f"{path}: does not number its templates from 0 without gaps")
    return [places[place] for place in range(len(places))]


def _entries(path: Path, split: str, videos: Path, labels: dict[str, int]) -> Iterator[Entry]:
    for number, row in enumerate(_load(path, list), start=1):
        try:
            name, template = str(row["id"]), row["template"].replace("[", "").replace("]", "")
        except (TypeError, KeyError, AttributeError):
            raise InputError(f"{path}: entry {number} has no id and template") from None
        if template not in labels or not name.isalnum():
            raise InputError(f"{path}: entry {number}, `{template}`, is not in labels.json")
        yield Entry(videos / f"{name}.webm", split, labels[template])


def _load(path: Path, kind: type[list[Any]] | type[dict[str, Any]]) -> Any:
    try:
        with open_plain(path) as file:
            document = json.loads(file.read().decode("utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: cannot be read as JSON: {error}") from None
    if not isinstance(document, kind):
        raise InputError(f"{path}: does not hold a {kind.__name__}", hint=LAYOUT)
    return document


def _notes(lists: Path, tables: dict[str, Path]) -> list[str]:
    notes = [f"{_LISTS[split]}.json is not there" for split in _LISTS if split not in tables]
    if _has(lists, "test"):
        count = len(_load(_find(lists, "test"), list))
        notes.append(f"test: {count} videos without labels, not sharded")
    return notes
