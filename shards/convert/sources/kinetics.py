"""Kinetics-400/600/700 (Kay et al. 2017): class folders, or the official csv lists."""

import csv
import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from shards.convert.items import SPLITS, Item, Listing, Missing
from shards.convert.keys import assign_keys
from shards.convert.report import counted, some
from shards.convert.sources.folders import list_classes, split_folders
from shards.convert.sources.scan import file_item, files, folders, relative, require_folder
from shards.errors import InputError

LAYOUT = (
    "expected: FOLDER/{train,val,test}/CLASS/ID_START_END.mp4, or the videos and the official "
    "csv (label, youtube_id, time_start, time_end, split) in FOLDER or FOLDER/annotations"
)

_COLUMNS = ("label", "youtube_id", "time_start", "time_end", "split")
_SPLIT_NAMES = {"train": "train", "val": "val", "validate": "val", "test": "test"}
_OFFICIAL_NAME = re.compile(rf"(kinetics[-_]?\d*[-_])?({'|'.join(_SPLIT_NAMES)})\.csv")
_DEPTH = 3  # folders between the root and a video: split, class, and one more
_HEADER = 10_000  # characters; a longer first line is no header
_ENDINGS = (".mp4", ".mkv", ".webm", ".avi", ".mov", ".flv", ".mpg", ".ts")


@dataclass(frozen=True)
class _Row:
    label: str
    split: str
    stem: str  # ID_000000_000010, the name of the video's file


def list_items(source: str, root: Path, *, fold: int = 1) -> Listing:
    """List the official csv if there is one, else the class folders.

    A csv counts when it lies in the root and has the official columns, or is the train.csv,
    val.csv, validate.csv or test.csv (or kinetics-400_train.csv, …) of the folder annotations.
    Listed videos that are not on the disk are missing.

    Raises:
        InputError: the folder is missing, a csv is damaged, or no video is on the disk.
    """
    require_folder(root, LAYOUT)
    tables = _tables(root)
    if tables:
        return _from_csv(source, root, tables)
    splits = split_folders(root)
    if splits == {"train": root} and root.resolve().name in SPLITS:
        splits = {root.resolve().name: root}
    return list_classes(source, "video", root, splits)


def _tables(root: Path) -> list[Path]:
    own = [path for path in files(root) if path.suffix == ".csv" and _is_official(path)]
    annotations = root / "annotations"
    beside = files(annotations) if annotations.is_dir() else []
    named = [path for path in beside if _OFFICIAL_NAME.fullmatch(path.name)]
    return own or [path for path in named if _is_official(path)]


def _is_official(path: Path) -> bool:
    if not path.is_file():
        return False
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
        header = next(csv.reader([file.readline(_HEADER).strip()]), [])
    return set(_COLUMNS) <= set(header)


def _from_csv(source: str, root: Path, tables: list[Path]) -> Listing:
    named = [row for table in tables for row in _rows(table)]
    rows = sorted(dict.fromkeys(named), key=lambda row: row.stem)
    classes = sorted({row.label for row in rows})
    listed = Counter(row.stem for row in rows)
    items, missing = _find(root, rows, classes, listed)
    if not items:
        raise InputError(f"{root}: holds none of the {len(missing)} listed videos", hint=LAYOUT)
    return Listing(
        name=source,
        kind="video",
        classes=tuple(classes),
        class_source="labels of the csv, sorted",
        items=assign_keys(items),
        missing=tuple(missing),
        notes=tuple(_notes(root, tables, listed)),
        duplicates=Counter(row.split for row in named) - Counter(row.split for row in rows),
    )


def _find(
    root: Path, rows: list[_Row], classes: list[str], listed: Counter[str]
) -> tuple[list[Item], list[Missing]]:
    """Return the listed videos that are on the disk, and those that are not."""
    labels = {name: label for label, name in enumerate(classes)}
    on_disk = _videos(root)
    items, missing = [], []
    for row in rows:
        if path := _choose(on_disk.get(row.stem, []), row):
            once = listed[row.stem] == 1
            key = row.stem if once else f"{row.stem}_{row.split}_{row.label}"
            items.append(file_item(root, path, row.split, labels[row.label], key))
        else:
            missing.append(Missing(f"{row.label}/{row.stem}", row.split))
    return items, missing


def _notes(root: Path, tables: list[Path], listed: Counter[str]) -> list[str]:
    notes = [f"listed by {', '.join(relative(table, root) for table in tables)}"]
    repeated = [stem for stem, times in listed.items() if times > 1]
    if repeated:
        notes.append(f"{counted(len(repeated), 'video')} listed more than once: {some(repeated)}")
    return notes


def _rows(table: Path) -> Iterator[_Row]:
    with table.open(encoding="utf-8-sig", errors="replace", newline="") as file:
        for number, row in enumerate(_read(table, file), start=2):
            try:
                start, end = int(float(row["time_start"])), int(float(row["time_end"]))
                split = _SPLIT_NAMES[row["split"].strip()]
            except (TypeError, ValueError, KeyError, AttributeError, OverflowError):
                raise InputError(f"{table}:{number}: not a row of the official csv") from None
            yield _Row(row["label"].strip(), split, f"{row['youtube_id']}_{start:06d}_{end:06d}")


def _read(table: Path, file: TextIO) -> Iterator[dict[str, str]]:
    try:
        yield from csv.DictReader(file)
    except csv.Error as error:
        raise InputError(f"{table}: cannot be read as csv: {error}") from None


def _videos(root: Path) -> dict[str, list[Path]]:
    """Return the files up to _DEPTH folders deep, by name without ending."""
    found: dict[str, list[Path]] = defaultdict(list)
    level = [root]
    for _ in range(_DEPTH + 1):
        for path in (path for folder in level for path in files(folder)):
            if path.suffix != ".csv":
                found[path.stem].append(path)
        level = [inner for folder in level for inner in folders(folder)]
    return found


def _choose(paths: list[Path], row: _Row) -> Path | None:
    """Return the file in the row's class and split folder, else any of that name; videos first."""
    name = row.label.replace(" ", "_")

    def rank(path: Path) -> tuple[bool, bool, bool, Path]:
        is_other = path.suffix.lower() not in _ENDINGS  # such as a thumbnail beside its video
        in_class = path.parent.name.replace(" ", "_") == name
        return is_other, not in_class, row.split not in path.parts, path

    return min(paths, key=rank, default=None)
