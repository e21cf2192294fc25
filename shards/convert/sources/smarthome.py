"""Toyota Smarthome, trimmed (Das et al. 2019): the file names tell all, the protocol chooses."""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from shards.convert.items import Item, Listing
from shards.convert.keys import assign_keys
from shards.convert.sources.scan import file_item, files, first_folder, require_folder
from shards.errors import InputError, UsageError

LAYOUT = "expected: FOLDER/mp4/ACTIVITY_p02_r00_v02_c03.mp4, or these files in FOLDER"

_NAME = re.compile(r"(?P<activity>[A-Za-z.]+)_p(?P<p>\d+)_r\d+_v\d+_c(?P<c>\d+)\.(mp4|avi)")

_SUBJECT = """
    Cook.Cleandishes Cook.Cleanup Cook.Cut Cook.Stir Cook.Usestove Cutbread Drink.Frombottle
    Drink.Fromcan Drink.Fromcup Drink.Fromglass Eat.Attable Eat.Snack Enter Getup Laydown Leave
    Makecoffee.Pourgrains Makecoffee.Pourwater Maketea.Boilwater Maketea.Insertteabag
    Pour.Frombottle Pour.Fromcan Pour.Fromkettle Readbook Sitdown Takepills Uselaptop Usetablet
    Usetelephone Walk WatchTV
"""
_VIEW = """
    Cutbread Drink.Frombottle Drink.Fromcan Drink.Fromcup Drink.Fromglass Eat.Attable Eat.Snack
    Enter Getup Leave Pour.Frombottle Pour.Fromcan Readbook Sitdown Takepills Uselaptop
    Usetablet Usetelephone Walk
"""


@dataclass(frozen=True)
class _Protocol:
    """Which activities count, and the split of a subject (p) or a camera (c)."""

    title: str
    classes: list[str]
    by: str
    splits: Mapping[int, str]
    others: str | None = None


PROTOCOLS = {
    "cs": _Protocol(
        "cross-subject", _SUBJECT.split(), "p",
        dict.fromkeys((3, 4, 6, 7, 9, 12, 13, 15, 17, 19, 25), "train"), "test",
    ),
    "cv1": _Protocol("cross-view 1", _VIEW.split(), "c", {1: "train", 5: "val", 2: "test"}),
    "cv2": _Protocol(
        "cross-view 2", _VIEW.split(), "c",
        {**dict.fromkeys((1, 3, 4, 6, 7), "train"), 5: "val", 2: "test"},
    ),
}  # fmt: skip


def list_items(source: str, root: Path, *, protocol: str = "cs") -> Listing:
    """List the clips of a protocol: `cs` (31 classes), `cv1` or `cv2` (19 classes).

    Raises:
        UsageError: there is no such protocol.
        InputError: the folder is missing, or has no clip of the protocol.
    """
    if protocol not in PROTOCOLS:
        raise UsageError(f"protocol {protocol}: use one of {', '.join(PROTOCOLS)}")
    require_folder(root, LAYOUT)
    chosen = PROTOCOLS[protocol]
    items, left_out = _sort_out(root, chosen)
    if not items:
        raise InputError(f"{root}: holds no clip of the {chosen.title} protocol", hint=LAYOUT)
    return Listing(
        name=source,
        kind="video",
        classes=tuple(chosen.classes),
        class_source=f"the {len(chosen.classes)} activities of the {chosen.title} protocol, sorted",
        items=assign_keys(items),
        notes=(f"protocol {protocol}: {chosen.title}", *_sentences(left_out)),
    )


def _sort_out(root: Path, chosen: _Protocol) -> tuple[list[Item], Counter[str]]:
    """Return the clips of a protocol, and how many files of what kind are none."""
    labels = {name: label for label, name in enumerate(chosen.classes)}
    items, left_out = list[Item](), Counter[str]()
    for path in files(first_folder((root / "mp4", root / "Smarthome" / "mp4")) or root):
        name = _NAME.fullmatch(path.name)
        split = chosen.splits.get(int(name[chosen.by]), chosen.others) if name else None
        if name is None:
            left_out["files without a name of the dataset"] += 1
        elif name["activity"] not in labels:
            left_out[f"clips of {name['activity']}, which the protocol does not use"] += 1
        elif split is None:
            left_out[f"clips of camera {int(name['c'])}, which the protocol does not use"] += 1
        else:
            items.append(file_item(root, path, split, labels[name["activity"]]))
    return items, left_out


def _sentences(left_out: Counter[str]) -> list[str]:
    return [f"not sharded: {count} {what}" for what, count in sorted(left_out.items())]
