"""Checkpoints that are either whole or absent, whenever the process or the machine stops.

A checkpoint is written into a folder with a hidden name, every file flushed to the disk and hashed
into meta.json, and gets its name by one rename. The links `last` and `best-DATASET` are replaced by
renames too; a reader that needs certainty goes by the names of the folders, not by `last`.
"""

import contextlib
import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor

from ivvit_cli.errors import EnvironmentFault, InputError
from ivvit_cli.meta import SCHEMA
from ivvit_cli.models.weights.files import save_tensors
from ivvit_cli.runs import (
    CHECKPOINTS,
    META_FILE,
    STATE_FILE,
    WEIGHTS_FILE,
    DamagedCheckpoint,
    check_files,
    digest_document,
    digest_file,
    list_checkpoints,
    read_meta,
    step_name,
)
from shards.files import sync_folder

_NEW, _OLD, _GONE, _DAMAGED = ".new-", ".old-", ".gone-", "damaged-"


def save_checkpoint(
    run: Path,
    iteration: int,
    *,
    weights: Mapping[str, Tensor],
    state: Mapping[str, Any],
    meta: Mapping[str, Any],
) -> Path:
    """Write a checkpoint, move `last` to it, and return its folder.

    Args:
        state: what a resumed run needs beside the weights: tensors and plain values only.
        meta: meta.json without `schema`, `iteration`, `files` and `sha256`.

    Raises:
        EnvironmentFault: the disk is full or cannot be written; earlier checkpoints are intact.
    """
    folder = run / CHECKPOINTS / step_name(iteration)
    new = folder.with_name(_NEW + folder.name)
    try:
        new.mkdir(parents=True)
        _write_files(new, weights, state, {"schema": SCHEMA, "iteration": iteration, **meta})
        _put_in_place(new, folder)
        link(run, "last", folder)
    except (OSError, RuntimeError, SafetensorError) as error:
        shutil.rmtree(new, ignore_errors=True)
        raise EnvironmentFault(
            f"{folder}: cannot be written: {' '.join(str(error).split())}",
            hint="earlier checkpoints are intact; make room, then --resume",
        ) from error
    return folder


def _write_files(
    folder: Path, weights: Mapping[str, Tensor], state: Mapping[str, Any], meta: dict[str, Any]
) -> None:
    save_tensors({k: v.contiguous() for k, v in weights.items()}, folder / WEIGHTS_FILE)
    with (folder / STATE_FILE).open("wb") as file:
        torch.save(dict(state), file)
    write_meta(folder, meta, (WEIGHTS_FILE, STATE_FILE))


def write_meta(folder: Path, meta: Mapping[str, Any], files: Sequence[str]) -> None:
    """Flush the files of a checkpoint to the disk, and write meta.json with their hashes.

    Raises:
        OSError: the disk is full or fails.
    """
    document = dict(meta) | {"files": {name: _settle(folder / name) for name in files}}
    document["sha256"] = digest_document(document)
    (folder / META_FILE).write_text(json.dumps(document, indent=1) + "\n")
    _settle(folder / META_FILE)
    sync_folder(folder)


def _settle(path: Path) -> str:
    """Flush a file to the disk and return its sha256."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    return digest_file(path)


def _put_in_place(new: Path, folder: Path) -> None:
    old = folder.with_name(_OLD + folder.name)
    if folder.exists():  # saved before its validation, which is now done
        folder.rename(old)
    new.rename(folder)
    sync_folder(folder.parent)
    shutil.rmtree(old, ignore_errors=True)


def link(run: Path, name: str, folder: Path) -> None:
    """Let the link `name` of a run's checkpoints point to `folder`, atomically."""
    temporary = run / CHECKPOINTS / f".{name}"
    with contextlib.suppress(FileNotFoundError):
        temporary.unlink()
    temporary.symlink_to(folder.name)
    temporary.replace(temporary.with_name(name))
    sync_folder(temporary.parent)


def prune(run: Path, keep: int) -> None:
    """Delete all checkpoints but the newest `keep` and those that a `best-…` link points to."""
    best = {path.resolve() for path in run.joinpath(CHECKPOINTS).glob("best-*")}
    for checkpoint in list_checkpoints(run)[:-keep]:
        if checkpoint.resolve() not in best:
            gone = checkpoint.with_name(_GONE + checkpoint.name)
            checkpoint.rename(gone)  # so that a half deleted one does not keep its name
            shutil.rmtree(gone)


def recover(run: Path) -> None:
    """Finish or undo what a process that was killed in the middle of a save has left behind."""
    folder = run / CHECKPOINTS
    for old in folder.glob(f"{_OLD}*"):
        place = old.with_name(old.name.removeprefix(_OLD))
        if not place.exists():  # killed between the two renames of `_put_in_place`
            old.rename(place)
    for rest in (_NEW, _OLD, _GONE):
        for path in folder.glob(f"{rest}*"):
            shutil.rmtree(path)


def newest_intact(run: Path, warn: Callable[[str], None]) -> Path | None:
    """Return the newest checkpoint whose files fit their hashes; None if the run never saved one.

    Those after it are renamed to `damaged-…`, so that no reader takes them for the last.

    Raises:
        InputError: all checkpoints are damaged.
    """
    recover(run)
    for checkpoint in reversed(list_checkpoints(run)):
        try:
            check_files(checkpoint, read_meta(checkpoint))
        except DamagedCheckpoint as error:
            warn(f"{error.message}; going on from the checkpoint before it")
            _set_aside(checkpoint)
        else:
            link(run, "last", checkpoint)
            _drop_dangling_links(run)
            return checkpoint
    if not any(run.joinpath(CHECKPOINTS).glob(f"{_DAMAGED}*")):
        return None
    raise InputError(f"{run}: holds no intact checkpoint", hint="start a new run")


def _set_aside(checkpoint: Path) -> None:
    place = checkpoint.with_name(_DAMAGED + checkpoint.name)
    shutil.rmtree(place, ignore_errors=True)
    checkpoint.rename(place)


def _drop_dangling_links(run: Path) -> None:
    for path in run.joinpath(CHECKPOINTS).glob("best-*"):
        if not path.exists():
            path.unlink()
