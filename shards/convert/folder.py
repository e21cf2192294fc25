"""The folder of shards as a whole: what may be in it, and what an older conversion left."""

import re
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from shards.convert.claims import CLAIM, bury_dead, claim
from shards.convert.division import DIVISION_FILE
from shards.errors import InputError
from shards.manifest import DATASET_FILE, SKIPPED_FILE

CONTACT_SHEET = "contact-sheet.png"

_ANY = "[A-Za-z0-9_-]+"  # a dataset's name
_FIXED = "|".join(map(re.escape, (DATASET_FILE, SKIPPED_FILE, CONTACT_SHEET, DIVISION_FILE)))
_BY_FILE_SYSTEM = re.compile(r"\.nfs[0-9a-f]+|lost\+found")  # a file removed while open; ext4's


@contextmanager
def claimed(folder: Path, name: str, part: str, plan: str) -> Iterator[None]:
    """Make the folder and claim a part of the conversion into it, as `shards.convert.claims` says.

    Raises:
        InputError: a file is in the folder's place, a conversion that this one would disturb is
            writing into it, or it holds something that no conversion of this dataset wrote.
        OSError: the folder cannot be made or written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise InputError(f"{folder}: cannot be made: a file is in its place") from None
    _refuse_foreign(folder, name)
    _remove_abandoned(folder)
    try:
        with claim(folder, part, plan):
            _refuse_foreign(folder, name)  # another dataset may have been quicker
            yield
    finally:
        with suppress(OSError):
            _remove_abandoned(folder)


def _refuse_foreign(folder: Path, name: str) -> None:
    """Raise if there is something of others, but for what a killed conversion of them left.

    Without a tar and a manifest there is nothing in a folder of shards that is of use to anyone.
    """
    names = [path.name for path in folder.iterdir() if not _BY_FILE_SYSTEM.fullmatch(path.name)]
    empty = not any(file.endswith(".tar") or file == DATASET_FILE for file in names)
    foreign = sorted(file for file in names if not _is_ours(file, _ANY if empty else name))
    if foreign:
        raise InputError(
            f"{folder}: holds {foreign[0]}, which is not part of the shards of {name}",
            hint="choose a new or an empty folder with -o",
        )


def _remove_abandoned(folder: Path) -> None:
    """Remove the temporary files of killed processes, once no process is left that may write some.

    What was there before the last claim had gone is of a process that has gone, too.
    """
    temporary = [path for path in folder.iterdir() if _is_temporary(path.name)]
    if bury_dead(folder):
        for path in temporary:
            path.unlink(missing_ok=True)


def remove_stale(folder: Path, name: str, keep: Collection[str]) -> None:
    """Remove what older plans left: shards, records, the note of a division; all ours but `keep`.

    Claims and temporary files stay, as other processes may be at work.
    """
    for path in folder.iterdir():
        ours = _is_shard(path.name, name if path.suffix == ".tar" else _ANY)
        if ours and path.name not in keep and path.name != CONTACT_SHEET:
            path.unlink(missing_ok=True)


def index_name(name: str, split: str) -> str:
    """Return the name of a split's merged index."""
    return f"{name}-{split}.index"


def _is_ours(file: str, name: str) -> bool:
    """Return whether a conversion of `name`, a pattern, writes such a file."""
    return _is_shard(file, name) or _is_temporary(file) or bool(CLAIM.fullmatch(file))


def _is_shard(file: str, name: str) -> bool:
    shard = rf"(?:{name})-(train|val|test)(-\d{{6,}}\.(tar|index)|\.index)"
    return bool(re.fullmatch(rf"{shard}|{_FIXED}", file))


def _is_temporary(file: str) -> bool:
    return bool(re.fullmatch(r"\..+\.[0-9a-f]+\.tmp", file))
