"""Jester v1 (Materzynska et al. 2019): `id;label` lists, and a folder of JPEG frames a clip."""

from collections.abc import Iterator
from pathlib import Path

from shards.convert.items import Extracted, Listing
from shards.convert.sources.listed import Entry, list_entries
from shards.convert.sources.scan import first_folder, read_lines, require_folder
from shards.convert.stills import count_frames
from shards.errors import InputError

LAYOUT = (
    "expected: jester-v1-labels.csv, jester-v1-train.csv and jester-v1-validation.csv in FOLDER "
    "or FOLDER/annotations, and 20bn-jester-v1/ID/00001.jpg"
)

_LISTS = {"train": "train", "val": "validation"}


def list_items(source: str, root: Path, *, fps: float) -> Listing:
    """List train and validation; labels are in the order of jester-v1-labels.csv.

    `fps` is the rate of the frames, 12 as they are distributed.

    Raises:
        InputError: a list is missing or damaged, or no folder of frames is on the disk.
    """
    require_folder(root, LAYOUT)
    lists = first_folder((root / "annotations",)) or root
    videos = first_folder((root / "20bn-jester-v1", root / "frames")) or root
    table = lists / "jester-v1-labels.csv"
    if not table.is_file():
        raise InputError(f"{table}: no such file", hint=LAYOUT)
    classes = read_lines(table)
    tables = {split: lists / f"jester-v1-{name}.csv" for split, name in _LISTS.items()}
    found = {split: path for split, path in tables.items() if path.is_file()}
    entries = (
        entry
        for split, path in found.items()
        for entry in _entries(path, split, videos, classes, fps)
    )
    return list_entries(
        source, "video", root, classes, "jester-v1-labels.csv, in its order", entries,
        layout=LAYOUT, notes=[*_notes(lists, tables), f"{fps:g} frames per second"],
    )  # fmt: skip


def _entries(
    path: Path, split: str, videos: Path, classes: list[str], fps: float
) -> Iterator[Entry]:
    labels = {name: label for label, name in enumerate(classes)}
    for number, line in enumerate(read_lines(path), start=1):
        name, _, label = line.partition(";")
        if label not in labels or not name.isalnum():
            raise InputError(f"{path}:{number}: expected `ID;LABEL`, found `{line}`")
        folder = videos / name
        yield Entry(folder, split, labels[label], frames=Extracted(count_frames(folder), fps))


def _notes(lists: Path, tables: dict[str, Path]) -> list[str]:
    notes = [f"{path.name} is not there" for path in tables.values() if not path.is_file()]
    test = lists / "jester-v1-test.csv"
    if test.is_file():
        notes.append(f"test: {len(read_lines(test))} videos without labels, not sharded")
    return notes
