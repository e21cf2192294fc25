"""HMDB51 (Kuehne et al. 2011) with one of its three official splits."""

from collections.abc import Iterator
from pathlib import Path

from shards.convert.items import Listing
from shards.convert.sources.listed import Entry, list_entries
from shards.convert.sources.scan import (
    files,
    first_folder,
    read_lines,
    require_folder,
    require_names,
)
from shards.errors import InputError, UsageError

LAYOUT = (
    "expected: FOLDER/CLASS/*.avi, and the official testTrainMulti_7030_splits/*_test_split1.txt "
    "or splits/trainlist01.txt and testlist01.txt with label_map.txt"
)
FOLDS = (1, 2, 3)

_OFFICIAL = ("testTrainMulti_7030_splits", "test_train_splits", "splits")
_USES = {"0": "", "1": "train", "2": "test"}  # 0: in neither list of this split


def list_items(source: str, root: Path, *, fold: int = 1) -> Listing:
    """List the videos of one split; classes are alphabetical.

    Raises:
        UsageError: there is no such fold.
        InputError: the lists are missing or damaged, or no video is on the disk.
    """
    if fold not in FOLDS:
        raise UsageError(f"fold {fold}: HMDB51 has the folds 1, 2 and 3")
    require_folder(root, LAYOUT)
    videos = first_folder((root / "videos", root / "hmdb51_org")) or root
    lists = first_folder(root / name for name in _OFFICIAL) or root
    tables = [path for path in files(lists) if path.name.endswith(f"_test_split{fold}.txt")]
    if tables:
        names = [path.name.removesuffix(f"_test_split{fold}.txt") for path in tables]
        order = f"names of the lists *_test_split{fold}.txt, sorted"
        entries = [*_official(videos, tables, names)]
    else:
        names = _read(root / "label_map.txt")
        require_names(root / "label_map.txt", names)
        order = "label_map.txt, in its order"
        entries = [*_paired(videos, lists, fold, names)]
    return list_entries(
        source, "video", root, names, order, entries,
        layout=LAYOUT, notes=(f"fold {fold} of {len(FOLDS)}",),
    )  # fmt: skip


def _official(videos: Path, tables: list[Path], names: list[str]) -> Iterator[Entry]:
    for label, table in enumerate(tables):
        for number, line in enumerate(read_lines(table), start=1):
            file, _, use = line.rpartition(" ")
            if use not in _USES or not file or "/" in file:
                raise InputError(f"{table}:{number}: expected `FILE 0|1|2`, found `{line}`")
            if _USES[use]:
                yield Entry(videos / names[label] / file.strip(), _USES[use], label)


def _paired(videos: Path, lists: Path, fold: int, names: list[str]) -> Iterator[Entry]:
    """Yield the entries of trainlist01.txt, testlist01.txt: no .avi, labels from 1."""
    for split in ("train", "test"):
        table = lists / f"{split}list{fold:02d}.txt"
        for number, line in enumerate(_read(table), start=1):
            file, _, place = line.rpartition(" ")
            if not place.isdecimal() or not 1 <= int(place) <= len(names) or "/" in file:
                raise InputError(f"{table}:{number}: expected `NAME 1…{len(names)}`, not `{line}`")
            label = int(place) - 1
            yield Entry(videos / names[label] / f"{file}.avi", split, label)


def _read(path: Path) -> list[str]:
    if not path.is_file():
        raise InputError(f"{path}: no such file", hint=LAYOUT)
    return read_lines(path)
