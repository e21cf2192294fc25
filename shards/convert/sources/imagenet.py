"""ImageNet-1k (Russakovsky et al. 2015): synset folders, and a list for a flat val folder."""

import re
from collections.abc import Iterator
from pathlib import Path

from shards.convert.items import Listing
from shards.convert.sources.listed import Entry, list_entries
from shards.convert.sources.scan import files, first_folder, folders, read_lines, require_folder
from shards.convert.sources.tiny_imagenet import class_names
from shards.errors import InputError

LAYOUT = (
    "expected: train/SYNSET/*.JPEG and val/SYNSET/*.JPEG, or val/*.JPEG with LOC_val_solution.csv "
    "or val.txt, in FOLDER or FOLDER/ILSVRC/Data/CLS-LOC; and LOC_synset_mapping.txt"
)

_SYNSET = re.compile(r"n\d{8}")
_VAL_LISTS = ("LOC_val_solution.csv", "val.txt", "imagenet_2012_validation_synset_labels.txt")


def list_items(source: str, root: Path, *, fold: int = 1) -> Listing:
    """List train and val; classes are in the order of their synsets, as everywhere.

    The lists of val name a synset, or its place, for each image; one that names synsets alone
    goes by the numbers of the images.

    Raises:
        InputError: a folder is missing, a list is damaged, or no image is on the disk.
    """
    require_folder(root, LAYOUT)
    top = first_folder((root / "ILSVRC" / "Data" / "CLS-LOC",)) or root
    synsets, names, order = _classes(root, top)
    entries = [*_in_folders(top, "train", synsets), *_val(root, top, synsets)]
    notes = [] if (top / "train").is_dir() else ["train is not there"]
    return list_entries(source, "image", root, names, order, entries, layout=LAYOUT, notes=notes)


def _classes(root: Path, top: Path) -> tuple[list[str], tuple[str, ...], str]:
    """Return the synsets in order, their names, and where these come from."""
    mapping = root / "LOC_synset_mapping.txt"
    if mapping.is_file():
        pairs = [line.partition(" ") for line in read_lines(mapping)]
        words = {synset: text for synset, _, text in pairs}
        synsets = sorted(words)
        return synsets, class_names(synsets, words), f"synsets sorted, words of {mapping.name}"
    train = first_folder((top / "train", top / "val"))
    names = [path.name for path in folders(train)] if train else []
    synsets = [name for name in names if _SYNSET.fullmatch(name)]
    if not synsets:
        raise InputError(f"{root}: has no synset folder and no {mapping.name}", hint=LAYOUT)
    return synsets, tuple(synsets), "synset folders, sorted"


def _in_folders(top: Path, split: str, synsets: list[str]) -> Iterator[Entry]:
    labels = {synset: label for label, synset in enumerate(synsets)}
    for folder in folders(top / split) if (top / split).is_dir() else ():
        if folder.name not in labels:
            raise InputError(f"{folder}: is not the folder of a synset of the dataset", hint=LAYOUT)
        for path in files(folder):
            yield Entry(path, split, labels[folder.name])


def _val(root: Path, top: Path, synsets: list[str]) -> Iterator[Entry]:
    table = next((root / name for name in _VAL_LISTS if (root / name).is_file()), None)
    if table is None or ((top / "val").is_dir() and folders(top / "val")):
        yield from _in_folders(top, "val", synsets)
        return
    labels = {synset: label for label, synset in enumerate(synsets)}
    labels |= {str(label): label for label in range(len(synsets))}
    lines = [line for line in read_lines(table) if not line.startswith("ImageId")]
    for number, line in enumerate(lines, start=1):
        fields = re.split(r"[,\s]+", line)
        if _SYNSET.fullmatch(fields[0]):
            fields = [f"ILSVRC2012_val_{number:08d}", *fields]
        if len(fields) < 2 or fields[1] not in labels or "/" in fields[0]:
            raise InputError(f"{table}: `{line}` is not an image and its synset")
        yield Entry(top / "val" / f"{Path(fields[0]).stem}.JPEG", "val", labels[fields[1]])
