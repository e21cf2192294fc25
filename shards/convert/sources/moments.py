"""Moments in Time (Monfort et al. 2019) with its official csv lists."""

from collections.abc import Iterator
from pathlib import Path

from shards.convert.items import Listing
from shards.convert.sources.listed import Entry, list_entries
from shards.convert.sources.scan import read_lines, require_folder
from shards.errors import InputError

LAYOUT = (
    "expected: moments_categories.txt, trainingSet.csv, validationSet.csv, and the videos in "
    "training/CLASS and validation/CLASS"
)

_SPLITS = {"train": "training", "val": "validation"}


def list_items(source: str, root: Path, *, fold: int = 1) -> Listing:
    """List training and validation; moments_categories.txt (`label,index`) numbers the classes.

    Raises:
        InputError: a list is missing or damaged, or no video is on the disk.
    """
    require_folder(root, LAYOUT)
    labels = _categories(root / "moments_categories.txt")
    tables = {split: root / f"{name}Set.csv" for split, name in _SPLITS.items()}
    found = {split: path for split, path in tables.items() if path.is_file()}
    if not found:
        raise InputError(f"{root}: has neither trainingSet.csv nor validationSet.csv", hint=LAYOUT)
    entries = (
        entry
        for split, path in found.items()
        for entry in _entries(path, split, root / _SPLITS[split], labels)
    )
    return list_entries(
        source, "video", root, labels, "moments_categories.txt, by its numbers", entries,
        layout=LAYOUT,
        notes=[f"{path.name} is not there" for path in tables.values() if not path.is_file()],
    )  # fmt: skip


def _categories(path: Path) -> dict[str, int]:
    """Return the label of each class, in the order of the labels, which count from 0."""
    if not path.is_file():
        raise InputError(f"{path}: no such file", hint=LAYOUT)
    pairs = [line.rpartition(",") for line in read_lines(path)]
    numbers = [number.strip() for _, _, number in pairs]
    if sorted(numbers) != sorted(map(str, range(len(pairs)))):
        raise InputError(f"{path}: expected lines `label,index` that count from 0 without gaps")
    labels = {name.strip(): int(number) for name, _, number in pairs}
    return dict(sorted(labels.items(), key=lambda pair: pair[1]))


def _entries(path: Path, split: str, videos: Path, labels: dict[str, int]) -> Iterator[Entry]:
    for number, line in enumerate(read_lines(path), start=1):
        file, label, *_ = (*line.rsplit(",", 3), "")  # file, label, votes for it, votes against
        place = Path(file if "/" in file else f"{label}/{file}")
        if label not in labels or ".." in place.parts or place.is_absolute():
            raise InputError(f"{path}:{number}: `{label}` is not in moments_categories.txt")
        yield Entry(videos / place, split, labels[label], key=place.with_suffix("").as_posix())
