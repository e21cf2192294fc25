"""Mini-Kinetics-200 (Xie et al. 2018): two lists of YouTube ids over a Kinetics-400 folder."""

from dataclasses import replace
from pathlib import Path

from shards.convert.items import Item, Listing, Missing
from shards.convert.keys import assign_keys
from shards.convert.sources import kinetics
from shards.convert.sources.scan import read_lines, require_folder
from shards.errors import InputError

LAYOUT = (
    "expected: a folder as for kinetics, with train_ytid_list.txt and val_ytid_list.txt in it, "
    "in its folder annotations or in its folder mini-kinetics-200"
)
CLASSES = 200

_LISTS = {"train": "train_ytid_list.txt", "val": "val_ytid_list.txt"}
_PLACES = (".", "annotations", "mini-kinetics-200")
_TIMES = len("_000000_000010")  # follow the id in the name of a Kinetics video


def list_items(source: str, root: Path, *, fold: int = 1) -> Listing:
    """List the Kinetics videos whose ids the two lists name; the lists decide the split.

    The lists hold no labels. Classes are the labels of all listed ids in the Kinetics csv (its
    validation csv alone has all 200), or the folders of the videos, sorted.

    Raises:
        InputError: as `kinetics`; a list is missing, or the labels found are not 200.
    """
    require_folder(root, LAYOUT)
    splits = _listed_ids(root)
    full = kinetics.list_items("kinetics", root)
    items = [item for item in full.items if _youtube_id(item.source) in splits]
    absent = {_youtube_id(row.source): row.source for row in full.missing}
    absent = {name: row for name, row in absent.items() if name in splits}
    present = {_youtube_id(item.source) for item in items}
    classes = _classes(root, full, items, list(absent.values()))
    if not items:
        raise InputError(f"{root}: holds none of the {len(splits)} listed videos", hint=LAYOUT)
    return replace(
        full,
        name=source,
        classes=tuple(classes),
        class_source=f"{full.class_source}, of the listed ids",
        items=assign_keys(_moved(item, full, classes, splits) for item in items),
        missing=tuple(
            Missing(absent.get(name, name), split)
            for name, split in splits.items()
            if name not in present
        ),
    )


def _listed_ids(root: Path) -> dict[str, str]:
    splits: dict[str, str] = {}
    for split, name in _LISTS.items():
        places = [root / place / name for place in _PLACES]
        path = next((path for path in places if path.is_file()), None)
        if path is None:
            raise InputError(f"{root}: has no {name}", hint=LAYOUT)
        splits |= dict.fromkeys(read_lines(path), split)
    return splits


def _youtube_id(source: str) -> str:
    """Return the id in `CLASS/ID_START_END.mp4`, or without an ending, as missing rows have it."""
    return Path(source).stem[:-_TIMES]


def _classes(root: Path, full: Listing, items: list[Item], absent: list[str]) -> list[str]:
    found = {full.classes[item.label] for item in items}
    found |= {row.rpartition("/")[0] for row in absent}
    if len(found) != CLASSES:
        raise InputError(
            f"{root}: the listed videos have {len(found)} classes, not {CLASSES}",
            hint=f"put the official validation csv of Kinetics-400 into {root / 'annotations'}",
        )
    return sorted(found)


def _moved(item: Item, full: Listing, classes: list[str], splits: dict[str, str]) -> Item:
    return replace(
        item,
        split=splits[_youtube_id(item.source)],
        label=classes.index(full.classes[item.label]),
    )
