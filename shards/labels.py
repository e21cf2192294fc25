"""The label of a sample of a tar of others: a number, a class name, or both."""

import json
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from shards.headers import Read
from shards.members import Group, SampleFault

MAX_CLASSES = 1 << 20

_MAX_TEXT = 1 << 24  # bytes: the offsets of a million frames
_MAX_NAME = 200  # characters of a class
_NUMBER = re.compile(r"-?[0-9]+")


class Label(NamedTuple):
    """What a sample says of its class: its number, its name, or both."""

    number: int | None
    name: str | None


_NONE = Label(None, None)


class ClassList:
    """Class names in label order, and the number of each."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names = tuple(names)
        self._numbers = {name: number for number, name in enumerate(self.names)}

    def number(self, label: Label) -> int:
        """Return the position of a label's class; its number counts, not its name, if it has both.

        Raises:
            SampleFault: there is no such class.
        """
        if label.number is None:
            found = self._numbers.get(str(label.name))
        else:
            found = label.number if 0 <= label.number < len(self.names) else None
        if found is None:
            name = label.name if label.number is None else label.number
            raise SampleFault("label", f"label {name} is none of the {len(self.names)} classes")
        return found


def read_json(group: Group, read: Read) -> dict[str, Any]:
    """Return the mapping in a sample's .json, or an empty one without such a member.

    Raises:
        SampleFault: it is damaged, or no mapping.
    """
    if "json" not in group.members:
        return {}
    try:
        about = json.loads(_text(group, "json", read))
    except (ValueError, RecursionError) as error:
        raise SampleFault("bad_media", f"its .json cannot be read: {error}") from None
    if not isinstance(about, dict):
        raise SampleFault("bad_media", "its .json holds no mapping")
    return about


def read_label(group: Group, read: Read, about: dict[str, Any]) -> Label:
    """Return the label of .cls, else of .json, else of .txt; .json can add a class name.

    Raises:
        SampleFault: there is none, it is no class, or .cls and .json disagree.
    """
    label = _label(about.get("label"))
    if "cls" in group.members:
        label = _agreed(_label(_text(group, "cls", read)), label)
    named = about.get("class")
    if label.number is not None and isinstance(named, str):
        label = Label(label.number, _name(named))
    elif label == _NONE:
        label = _label(named)
    if label == _NONE and "txt" in group.members:
        label = _label(_text(group, "txt", read))
    if label == _NONE:
        raise SampleFault("missing_member", "has no label: no .cls, no .txt, none in .json")
    if label.number is not None and not 0 <= label.number < MAX_CLASSES:
        raise SampleFault("label", f"label {str(label.number)[:20]} is out of range")
    return label


def _label(value: object) -> Label:
    if isinstance(value, float) and value.is_integer():
        return Label(int(value), None)
    if isinstance(value, int) and not isinstance(value, bool):
        return Label(value, None)
    text = value.strip() if isinstance(value, str) else ""
    if _NUMBER.fullmatch(text[: _MAX_NAME + 1]):
        return Label(int(text[:_MAX_NAME]), None)
    return Label(None, _name(text))


def _name(text: str) -> str | None:
    name = text.strip()
    if len(name) > _MAX_NAME or not name.isprintable():
        raise SampleFault("label", f"its label is no class: {name[:40]}…")
    return name or None


def _agreed(label: Label, other: Label) -> Label:
    """Return the label of .cls, with what .json adds to it."""
    if None not in (label.number, other.number) and label.number != other.number:
        raise SampleFault("label", f".cls says {label.number}, .json says {other.number}")
    number = other.number if label.number is None else label.number
    return Label(number, label.name or other.name)


def _text(group: Group, extension: str, read: Read) -> str:
    member = group.members[extension]
    if member.size > _MAX_TEXT:
        raise SampleFault("bad_media", f"its .{extension} is larger than {_MAX_TEXT} bytes")
    return read(member.offset, member.size).decode("utf-8", "replace")
