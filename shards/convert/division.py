"""What a folder's conversion in parts was begun with, so that every part does the same."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from shards.errors import InputError
from shards.files import open_plain, write_atomically

DIVISION_FILE = "parts.json"


@dataclass(frozen=True)
class Division:
    """A plan, told by its digest and by what it was made of, and the number of its parts."""

    plan: str
    parts: int
    items: int
    options: dict[str, Any]
    tools: dict[str, str]


def read_division(folder: Path) -> Division | None:
    """Return the division that a folder was begun with, if it is one and is not finished."""
    try:
        with open_plain(folder / DIVISION_FILE) as file:
            return Division(**json.load(file))
    except (OSError, ValueError, TypeError, RecursionError):
        return None


def join_division(folder: Path, mine: Division) -> None:
    """Note what the first part of a conversion was begun with, or check that mine is the same.

    Another number of parts is no other conversion: which shards there are does not depend on it.

    Raises:
        InputError: the folder was begun with other options, files or tools.
        OSError: it cannot be written to.
    """
    if read_division(folder) is None:
        write_atomically(folder / DIVISION_FILE, json.dumps(asdict(mine), indent=1).encode())
    check_division(folder, mine)  # of another, if two began at the same time


def check_division(folder: Path, mine: Division) -> None:
    """Check that a folder was not begun in parts with another plan.

    Raises:
        InputError: it was.
    """
    begun = read_division(folder)
    if begun is not None and begun.plan != mine.plan:
        raise InputError(
            f"{folder}: other parts were begun with {_difference(begun, mine)}",
            hint="give every part the same options, files and ffmpeg (IVVIT_FFMPEG); "
            "`--part all` begins anew",
        )


def leave_division(folder: Path, plan: str) -> None:
    """Forget a division of another plan: a whole conversion begins anew, by itself."""
    begun = read_division(folder)
    if begun is not None and begun.plan != plan:
        (folder / DIVISION_FILE).unlink(missing_ok=True)


def _difference(begun: Division, mine: Division) -> str:
    """Say in words what another conversion was begun with."""
    theirs, ours = begun.options | begun.tools, mine.options | mine.tools
    for name in sorted(theirs.keys() & ours.keys() - {"ivvit"}):
        if theirs[name] != ours[name]:
            return f"{name.replace('_', ' ')} {theirs[name]} instead of {ours[name]}"
    if begun.items != mine.items:
        return f"{begun.items} items instead of {mine.items}"
    return "other files"
