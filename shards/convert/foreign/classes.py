"""The class names of tars of others, and the number of each label in them."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from shards.convert.sources.scan import read_lines
from shards.convert.sources.tables import find_classes
from shards.errors import InputError
from shards.labels import MAX_CLASSES, Label

_SEVERAL = "give the classes in the order of their numbers with --classes FILE"


@dataclass(frozen=True)
class Classes:
    """Class names in label order, where they are from, and a sentence on what was odd, or ""."""

    names: tuple[str, ...]
    source: str
    note: str = ""

    def numbers(self, labels: Iterable[Label]) -> list[int]:
        """Return the number of each label, all of which have one."""
        places = {name: number for number, name in enumerate(self.names)}
        return [
            places[str(label.name)] if label.number is None else label.number for label in labels
        ]


def given_classes(root: Path, file: Path | None) -> Classes | None:
    """Read class names from a file, one a line or a JSON list, else from one such as classes.txt.

    Raises:
        InputError: the file cannot be read, names no class, or one twice.
    """
    if file is None:
        found = find_classes(root)
        return Classes(tuple(found[0]), found[1]) if found else None
    names = _read_json(file) if file.suffix.lower() == ".json" else read_lines(file)
    if not names or len(names) > MAX_CLASSES:
        raise InputError(f"{file}: names {len(names)} classes")
    if len(set(names)) < len(names):
        raise InputError(f"{file}: names a class twice")
    return Classes(tuple(names), f"{file.name}, in its order")


def name_classes(labels: Iterable[Label]) -> Classes:
    """Return the classes that samples name, sorted, or number.

    Raises:
        InputError: some samples have only a name, others a number.
    """
    found = sorted(set(labels), key=_rank)
    numbered = [label for label in found if label.number is not None]
    if not numbered:
        return Classes(tuple(str(label.name) for label in found), "names in the tars, sorted")
    if len(numbered) < len(found):
        raise InputError(
            f"some labels are numbers, such as {numbered[0].number}, others only names, such as "
            f"{found[-1].name}",
            hint=_SEVERAL,
        )
    return _name_numbers(numbered)


def _rank(label: Label) -> tuple[bool, int, str]:
    return label.number is None, label.number or 0, label.name or ""


def _name_numbers(labels: list[Label]) -> Classes:
    count = max(label.number or 0 for label in labels) + 1
    names = [str(number) for number in range(count)]
    said = {label for label in labels if label.name is not None}
    plain = Classes(tuple(names), "numbers in the tars")
    if not said:
        return plain
    if len({label.number for label in said}) < len(said) or len({x.name for x in said}) < len(said):
        why = "class names in the tars do not fit the numbers one to one: numbers stand for them"
        return Classes(plain.names, plain.source, why)
    for label in said:
        names[label.number or 0] = str(label.name)
    if len(set(names)) < count:
        return plain
    return Classes(tuple(names), "names in the tars, by their numbers")


def _read_json(file: Path) -> list[str]:
    try:
        names = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{file}: cannot be read: {error}") from None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise InputError(f"{file}: is no list of class names")
    return names
