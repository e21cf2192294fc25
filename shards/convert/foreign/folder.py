"""The folder that an index of tars of others lies in: theirs, or one with links to them."""

import os
import re
import time
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

from shards.convert.folder import CONTACT_SHEET
from shards.convert.foreign.record import record_name
from shards.convert.foreign.tars import Tar
from shards.convert.sources.scan import size_and_time
from shards.errors import InputError
from shards.index import is_index
from shards.manifest import DATASET_FILE, SKIPPED_FILE, DatasetInfo, read_dataset_info

INDEXED = "indexed"  # the option that tells an index of tars of others from a conversion

_OURS = re.compile(r".+\.(index|tar)|\..+\.tmp|\.part-.+")
_TEMPORARY = re.compile(r"\..+\.(index|json|jsonl)\.[0-9a-f]{16}\.tmp")
_ABANDONED = 60.0  # seconds since anyone wrote to a temporary file
_FIXED = (DATASET_FILE, SKIPPED_FILE, CONTACT_SHEET)


def check_folder(root: Path, out: Path, tars: Collection[Tar]) -> None:
    """Check that the index of the tars in `root` can lie in `out`.

    Raises:
        InputError: `out` holds converted shards or something else, or cannot be written; or it is
            `root`, and there are tars in folders below it, which an index does not reach.
    """
    previous = _read_info(out)
    if previous and not previous.options.get(INDEXED):
        raise InputError(
            f"{out}: is a folder of shards already", hint=f"check it: ivvit data verify {out}"
        )
    for tar in tars:
        record = out / record_name(tar)
        if record.exists() and not is_index(record):
            raise InputError(f"{record}: is in the way, and no index of ivvit", hint="move it")
    if out == root:
        nested = [tar.source for tar in tars if tar.file != tar.source]
        if nested:
            raise InputError(
                f"{root}: {nested[0]} is in a folder below it, where an index does not reach",
                hint="an index elsewhere, with links to the tars: -o FOLDER",
            )
    elif root.resolve() in out.resolve().parents:
        raise InputError(f"{out}: lies within {root}", hint="choose a folder outside of it with -o")
    elif out.exists():
        _refuse_foreign(out)
    folder = next(path for path in (out, *out.parents) if path.exists())
    if not os.access(folder, os.W_OK):
        raise InputError(
            f"{folder}: cannot be written",
            hint="an index elsewhere, with links to the tars: -o FOLDER",
        )


def link_tars(root: Path, out: Path, tars: Iterable[Tar]) -> None:
    """Make `out` and, unless it is `root`, links in it to the tars.

    Raises:
        OSError: that cannot be done.
    """
    if out == root:
        return
    out.mkdir(parents=True, exist_ok=True)
    for tar in tars:
        link, target = out / tar.file, tar.path.absolute()
        if not link.is_symlink() or link.readlink() != target:
            link.unlink(missing_ok=True)
            link.symlink_to(target)


def remove_stale(root: Path, out: Path, tars: Collection[Tar]) -> None:
    """Remove what an older index left in `out`, and what a killed process left.

    These are the records of tars that are gone, links to them, and temporary files.

    Raises:
        OSError: that cannot be done.
    """
    keep = {record_name(tar) for tar in tars} | {tar.file for tar in tars}
    for path in out.iterdir():
        record = path.name.endswith(".tar.index") and is_index(path)
        link = out != root and path.is_symlink()
        if (path.name not in keep and (record or link)) or _is_abandoned(path):
            path.unlink(missing_ok=True)


def _is_abandoned(path: Path) -> bool:
    if not _TEMPORARY.fullmatch(path.name):
        return False
    _, modified = size_and_time(path)
    return time.time() - modified / 1e9 > _ABANDONED


def drop_manifest(out: Path, info: DatasetInfo) -> None:
    """Remove an older manifest that says something else, and the indexes that it names alone."""
    previous = _read_info(out)
    if previous is None or _described(previous) == _described(info):
        return
    (out / DATASET_FILE).unlink(missing_ok=True)
    for name in {split.index for split in previous.splits.values()}:
        if is_index(out / name):
            (out / name).unlink()


def _described(info: DatasetInfo) -> dict[str, Any]:
    """Return a manifest without what is known only when its indexes are written."""
    document = info.model_dump()
    for split in document["splits"].values():
        del split["index_sha256"]
    return document


def _read_info(out: Path) -> DatasetInfo | None:
    try:
        return read_dataset_info(out)
    except InputError:
        return None


def _refuse_foreign(out: Path) -> None:
    for path in out.iterdir():
        ours = path.name in _FIXED or _OURS.fullmatch(path.name)
        if not ours or (path.suffix == ".tar" and not path.is_symlink()):
            raise InputError(
                f"{out}: holds {path.name}, which is not part of an index",
                hint="choose a new or an empty folder with -o",
            )
