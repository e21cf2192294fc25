"""Kinetics-400, -600 and -700 with the whole, official label order (Kay et al. 2017)."""

from dataclasses import replace
from pathlib import Path

from shards.convert.items import Listing
from shards.convert.sources import kinetics
from shards.convert.sources.scan import read_lines, relative
from shards.errors import InputError


def list_items(source: str, root: Path, *, fold: int = 1) -> Listing:
    """List `kinetics400`, `kinetics600` or `kinetics700` as `kinetics`, with all its classes.

    The official order is alphabetical. It is that of label_map_k400.txt in the folder or in
    annotations if there is one, which a part of the dataset needs, else of the labels found.

    Raises:
        InputError: as `kinetics`; or the classes are not 400 (600, 700), or lack a label.
    """
    count = int(source.removeprefix("kinetics"))
    listing = kinetics.list_items(source, root)
    label_map = f"label_map_k{count}.txt"
    places = (root / label_map, root / "annotations" / label_map)
    path = next((path for path in places if path.is_file()), None)
    classes = read_lines(path) if path else sorted(map(_spaced, listing.classes))
    if len(set(classes)) != count or len(classes) != count:
        raise InputError(
            f"{path or root}: has {len(set(classes))} classes, not {count}",
            hint=f"put {label_map}, all labels in order, into {places[1].parent}; or use kinetics",
        )
    order = relative(path, root) if path else listing.class_source
    return _relabelled(listing, classes, order)


def _relabelled(listing: Listing, classes: list[str], class_source: str) -> Listing:
    labels = {name: label for label, name in enumerate(classes)}
    unknown = [name for name in listing.classes if _spaced(name) not in labels]
    if unknown:
        raise InputError(f"{unknown[0]} is not a label of {class_source}")
    moved = [labels[_spaced(name)] for name in listing.classes]
    items = tuple(replace(item, label=moved[item.label]) for item in listing.items)
    return replace(listing, classes=tuple(classes), class_source=class_source, items=items)


def _spaced(name: str) -> str:
    return name.replace("_", " ")
