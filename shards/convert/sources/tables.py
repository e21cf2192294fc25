"""A user's own lists: where they are, which split they stand for, how labels are numbered."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from shards.convert.items import Extracted, Listing
from shards.convert.sources.folders import dataset_name
from shards.convert.sources.listed import Entry, list_entries
from shards.convert.sources.scan import files, read_lines
from shards.errors import InputError
from shards.manifest import Kind

_ENDINGS = (".csv", ".tsv", ".txt")
_DIGITS = 6  # of a label; a longer number is a mistake, and none of the classes
_CLASS_LIST = re.compile(r"(classes|class_?names|labels|label_?map|categories).*\.txt")
_SPLIT = re.compile(r"(?<![a-z])(train|val|test)(?:ing|id|idation|idate)?(?![a-z])")


@dataclass(frozen=True)
class Table:
    """A list file, the split of its rows if its name tells, and the folder that paths start at."""

    path: Path
    split: str
    root: Path

    def lines(self) -> Iterator[tuple[str, str]]:
        """Yield FILE:NUMBER and the text of each line that is not empty.

        Raises:
            InputError: the file cannot be read as text.
        """
        try:
            lines = self.path.read_text(encoding="utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{self.path}: cannot be read: {error}") from None
        for number, line in enumerate(lines, start=1):
            if line.strip():
                yield f"{self.path}:{number}", line.strip()

    def resolve(self, name: str) -> Path:
        """Return the place of a listed path: in the folder, else in the folder of the split."""
        direct, in_split = self.root / name, self.root / self.split / name
        return in_split if in_split.exists() and not direct.exists() else direct


@dataclass(frozen=True)
class Row:
    """What a line of a list says; `place` is FILE:NUMBER, for messages."""

    place: str
    path: Path
    split: str
    label: str
    segment: tuple[float, float] | None = None
    frames: Extracted | None = None


def find_tables(root: Path, layout: str) -> list[Table]:
    """Return `root` itself if it is a list, else the lists in it whose names tell their split.

    Raises:
        InputError: there is none.
    """
    if root.is_file():
        return [Table(root, split_of(root.stem) or "train", root.parent)]
    if not root.is_dir():
        raise InputError(f"{root}: no such file or folder", hint=layout)
    found = [
        Table(path, split, root)
        for path in files(root)
        if path.suffix in _ENDINGS and path.is_file() and (split := split_of(path.stem))
    ]
    if not found:
        raise InputError(f"{root}: holds no list of train, val or test", hint=layout)
    return found


def list_rows(
    source: str, kind: Kind, root: Path, rows: list[Row], layout: str, notes: Iterable[str] = ()
) -> Listing:
    """List what the rows name; the dataset is named after the list or its folder.

    Classes are in the order of a file such as classes.txt or label_map.txt beside the lists;
    labels are then its lines, or their numbers from 0. Without one, labels that are numbers are
    the order, and names are sorted.

    Raises:
        InputError: a label is none of the classes, or nothing that is listed is on the disk.
    """
    folder = root.parent if root.is_file() else root
    classes, order = _classes(folder, {row.label for row in rows})
    labels = {name: label for label, name in enumerate(classes)}
    if all(row.label.isdecimal() for row in rows):
        labels = {str(label): label for label in range(len(classes))}
    for row in rows:
        if row.label not in labels:
            raise InputError(f"{row.place}: `{row.label}` is none of the {len(classes)} classes")
    entries = (
        Entry(row.path, row.split, labels[row.label], row.segment, row.frames) for row in rows
    )
    name = dataset_name(root, source)
    return list_entries(name, kind, folder, classes, order, entries, layout=layout, notes=notes)


def find_classes(folder: Path) -> tuple[list[str], str] | None:
    """Return the class names of a file such as classes.txt, and where they are from; None: no file.

    Raises:
        InputError: there are several such files, or one that cannot be read or repeats a name.
    """
    named = [path for path in files(folder) if _CLASS_LIST.fullmatch(path.name.lower())]
    found = [path for path in named if path.is_file()]
    if len(found) > 1:
        several = ", ".join(path.name for path in found)
        raise InputError(f"{folder}: has several lists of classes: {several}", hint="keep one")
    if not found:
        return None
    names = read_lines(found[0])
    if len(set(names)) < len(names):
        raise InputError(f"{found[0]}: names a class twice")
    return names, f"{found[0].name}, in its order"


def _classes(folder: Path, used: set[str]) -> tuple[list[str], str]:
    listed = find_classes(folder)
    if listed:
        return listed
    if all(label.isdecimal() for label in used):
        count = max((int(label) for label in used if len(label) <= _DIGITS), default=-1) + 1
        return [str(label) for label in range(count)], "numbers of the lists"
    return sorted(used), "labels of the lists, sorted"


def split_of(name: str) -> str | None:
    """Return the one split, train, val or test, that a file's name tells, if it does."""
    found = set(_SPLIT.findall(name.lower()))
    return found.pop() if len(found) == 1 else None
