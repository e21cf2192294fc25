"""Tiny-ImageNet-200 in its original layout (Stanford CS231n)."""

from collections import Counter
from pathlib import Path

from shards.convert.items import Item, Listing, Missing
from shards.convert.keys import assign_keys
from shards.convert.report import some
from shards.convert.sources.scan import (
    file_item,
    files,
    folders,
    read_lines,
    relative,
    require_folder,
    require_names,
)
from shards.errors import InputError

LAYOUT = "expected: the folder tiny-imagenet-200 with wnids.txt, words.txt, train and val"


def list_items(source: str, root: Path, *, fold: int = 1) -> Listing:
    """List train (by folder) and val (by val_annotations.txt); labels are in wnids order.

    Raises:
        InputError: a folder or a list is missing, or nothing of it is on the disk.
    """
    require_folder(root, LAYOUT)
    if not (root / "wnids.txt").is_file():
        raise InputError(f"{root}: has no wnids.txt", hint=LAYOUT)
    wnids = read_lines(root / "wnids.txt")
    require_names(root / "wnids.txt", wnids)
    val, missing = _val(root, wnids)
    items = [*_train(root, wnids), *val]
    if not items:
        raise InputError(f"{root}: holds none of the dataset's images", hint=LAYOUT)
    return Listing(
        name=source,
        kind="image",
        classes=class_names(wnids, _words(root)),
        class_source="wnids.txt, in its order, with the words of words.txt",
        items=assign_keys(items),
        missing=tuple(missing),
        notes=tuple(_notes(root, wnids)),
    )


def class_names(wnids: list[str], words: dict[str, str]) -> tuple[str, ...]:
    """Return each wnid's first word; all its words, then its wnid, where that is not unique."""
    full = [words.get(wnid, wnid) for wnid in wnids]
    names = [text.split(",")[0].strip() for text in full]
    names = _told_apart(names, full)
    return tuple(_told_apart(names, [f"{a} ({b})" for a, b in zip(names, wnids, strict=True)]))


def _told_apart(names: list[str], longer: list[str]) -> list[str]:
    used = Counter(names)
    return [b if used[a] > 1 else a for a, b in zip(names, longer, strict=True)]


def _words(root: Path) -> dict[str, str]:
    path = root / "words.txt"
    if not path.is_file():
        return {}
    pairs = (line.partition("\t") for line in read_lines(path))
    return {wnid: words.strip() for wnid, _, words in pairs}


def _train(root: Path, wnids: list[str]) -> list[Item]:
    return [
        file_item(root, path, "train", label)
        for label, wnid in enumerate(wnids)
        if (root / "train" / wnid / "images").is_dir()
        for path in files(root / "train" / wnid / "images")
    ]


def _val(root: Path, wnids: list[str]) -> tuple[list[Item], list[Missing]]:
    table = root / "val" / "val_annotations.txt"
    if not table.is_file():
        return [], []
    items, missing = [], []
    for number, line in enumerate(read_lines(table), start=1):
        file, wnid = (*line.split("\t"), "")[:2]
        if wnid not in wnids:
            raise InputError(f"{table}:{number}: {wnid or 'nothing'} is not in wnids.txt")
        path = root / "val" / "images" / Path(file).name
        if path.is_file():
            items.append(file_item(root, path, "val", wnids.index(wnid)))
        else:
            missing.append(Missing(relative(path, root), "val"))
    return items, missing


def _notes(root: Path, wnids: list[str]) -> list[str]:
    notes = []
    found = {path.name for path in folders(root / "train")} if (root / "train").is_dir() else set()
    if absent := [wnid for wnid in wnids if not (root / "train" / wnid / "images").is_dir()]:
        notes.append(f"train: {len(absent)} classes of wnids.txt have no images: {some(absent)}")
    if unknown := sorted(found - set(wnids)):
        notes.append(f"train: {len(unknown)} folders are not in wnids.txt: {some(unknown)}")
    if (root / "val").is_dir() and not (root / "val" / "val_annotations.txt").is_file():
        notes.append("val: has no val_annotations.txt, not sharded")
    images = root / "test" / "images"
    if images.is_dir() and (count := len(files(images))):
        notes.append(f"test: {count} images without labels, not sharded")
    return notes
