"""UCF101 (Soomro et al. 2012) with its official train and test lists."""

from pathlib import Path

from shards.convert.items import Listing, Missing
from shards.convert.keys import assign_keys
from shards.convert.sources.scan import (
    file_item,
    first_folder,
    read_lines,
    relative,
    require_folder,
)
from shards.errors import InputError, UsageError

LAYOUT = "expected: a folder with UCF-101/CLASS/*.avi and ucfTrainTestlist/*.txt"
FOLDS = (1, 2, 3)

_CLASSES = "classInd.txt"
_LISTS = {"train": "trainlist{:02d}.txt", "test": "testlist{:02d}.txt"}


def list_items(source: str, root: Path, *, fold: int = 1) -> Listing:
    """List the videos of one fold; classInd.txt counts from 1, labels count from 0.

    Raises:
        UsageError: there is no such fold.
        InputError: a list is missing or names an unknown class, or no video is on the disk.
    """
    if fold not in FOLDS:
        raise UsageError(f"fold {fold}: UCF101 has the folds 1, 2 and 3")
    require_folder(root, LAYOUT)
    lists = _lists_folder(root)
    videos = first_folder((root / "UCF-101", root / "videos")) or root
    require_folder(lists, LAYOUT)
    for file in (_CLASSES, *(name.format(fold) for name in _LISTS.values())):
        if not (lists / file).is_file():
            raise InputError(f"{lists / file}: no such file", hint=LAYOUT)
    classes = _classes(lists / _CLASSES)
    items, missing = [], []
    for split, name in _LISTS.items():
        for video, label in _entries(lists / name.format(fold), classes):
            path = videos / video
            if path.is_file():
                items.append(file_item(root, path, split, label))
            else:
                missing.append(Missing(relative(path, root), split))
    if not items:
        raise InputError(f"{videos}: holds none of the {len(missing)} listed videos", hint=LAYOUT)
    return Listing(
        name=source,
        kind="video",
        classes=tuple(classes),
        class_source="classInd.txt, counted from 0",
        items=assign_keys(items),
        missing=tuple(missing),
        notes=(f"fold {fold} of {len(FOLDS)}",),
    )


def _lists_folder(root: Path) -> Path:
    """Return the folder with the lists; without any, the one that the layout names."""
    official = root / "ucfTrainTestlist"
    found = (path for path in (official, root / "splits", root) if (path / _CLASSES).is_file())
    return next(found, official)


def _classes(path: Path) -> list[str]:
    names = []
    for number, line in enumerate(read_lines(path), start=1):
        label, _, name = line.partition(" ")
        if label != str(number) or not name:
            raise InputError(f"{path}:{number}: expected `{number} NAME`, found `{line}`")
        names.append(name.strip())
    return names


def _entries(path: Path, classes: list[str]) -> list[tuple[str, int]]:
    """Return (video, label) of each line; the class is the video's folder.

    Case is ignored: the official lists and classInd.txt differ in HandStandPushups.
    """
    labels = {name.lower(): label for label, name in enumerate(classes)}
    entries = []
    for number, line in enumerate(read_lines(path), start=1):
        video = line.split()[0]
        folder, _, file = video.lower().partition("/")
        if folder not in labels or not file or ".." in video:
            raise InputError(f"{path}:{number}: {video} is not in a class of classInd.txt")
        entries.append((video, labels[folder]))
    return entries
