"""Plain folders: root/class/file, or root/{train,val,test}/class/file."""

import re
from pathlib import Path

from shards.convert.items import SPLITS, Item, Listing
from shards.convert.keys import assign_keys
from shards.convert.report import counted, some
from shards.convert.sources.scan import (
    file_item,
    files,
    folders,
    printable,
    relative,
    require_folder,
)
from shards.errors import InputError
from shards.manifest import Kind

LAYOUT = "expected: FOLDER/CLASS/FILE, or FOLDER/{train,val,test}/CLASS/FILE"


def list_items(source: str, root: Path, *, fold: int = 1) -> Listing:
    """List an `imagefolder` or a `videofolder`; the dataset is named after its folder.

    Every file in a class folder is an item, whatever it is called; what turns out to be something
    else is skipped with its reason. Classes are sorted by name, over all splits together.

    Raises:
        InputError: the folder is missing or has no class folder with a file.
    """
    kind: Kind = "image" if source == "imagefolder" else "video"
    return list_classes(dataset_name(root, source), kind, root, split_folders(root))


def dataset_name(root: Path, source: str) -> str:
    """Return the folder's name, or a list's without its ending, as the name of a dataset."""
    name = root.stem if root.is_file() else root.resolve().name
    return re.sub(r"[^A-Za-z0-9_-]+", "-", name).strip("-") or source


def split_folders(root: Path) -> dict[str, Path]:
    """Return the folder of each split; a root without split folders is all `train`.

    Raises:
        InputError: there is no such folder.
    """
    require_folder(root, LAYOUT)
    found = {split: root / split for split in SPLITS if (root / split).is_dir()}
    return found or {"train": root}


def list_classes(name: str, kind: Kind, root: Path, splits: dict[str, Path]) -> Listing:
    """List the files in the class folders of each split.

    Raises:
        InputError: there is none.
    """
    classes = sorted({path.name for folder in splits.values() for path in folders(folder)})
    items = [
        _item(root, path, split, classes.index(folder.name))
        for split, top in splits.items()
        for folder in folders(top)
        for path in files(folder)
    ]
    if not items:
        raise InputError(f"{root}: no class folder with a file in it", hint=LAYOUT)
    return Listing(
        name=name,
        kind=kind,
        classes=tuple(printable(name) for name in classes),
        class_source="folder names, sorted",
        items=assign_keys(items),
        notes=tuple(_notes(root, splits)),
    )


def _item(root: Path, path: Path, split: str, label: int) -> Item:
    return file_item(root, path, split, label, relative(path, root).removesuffix(path.suffix))


def _notes(root: Path, splits: dict[str, Path]) -> list[str]:
    notes = []
    tops = dict.fromkeys((root, *splits.values()))
    stray = [relative(path, root) for top in tops for path in files(top)]
    if stray:
        notes.append(
            f"{counted(len(stray), 'file')} beside the class folders, not sharded: {some(stray)}"
        )
    nested = [path for top in splits.values() for inner in folders(top) for path in folders(inner)]
    if nested:
        names = some([relative(path, root) for path in nested])
        count = counted(len(nested), "folder")
        notes.append(f"{count} within class folders, not looked into: {names}")
    beside = [path.name for path in folders(root) if path not in (*splits.values(), root)]
    if root not in splits.values() and beside:
        notes.append(f"not a split, not sharded: {some(beside)}")
    return notes
