"""The manifest of a folder of shards, `dataset.json`: its classes, its splits and their files.

With the index of each split (`shards.index`) it is the contract between the writing wing and the
reading wing.
"""

import json
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError

from shards.errors import InputError
from shards.files import open_plain, write_atomically

SCHEMA = 1  # of the manifest and of the indices
DATASET_FILE = "dataset.json"
SKIPPED_FILE = "skipped.jsonl"

Kind = Literal["image", "video"]


class _Manifest(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


def _check_file_name(name: str) -> str:
    if Path(name).name != name or name in ("", "..") or "\0" in name:
        raise ValueError(f"{name!r} is not a file's name")
    return name


FileName = Annotated[str, AfterValidator(_check_file_name)]  # within the folder, nowhere else


class ShardInfo(_Manifest):
    """One tar file of a split; `sha256` is None of another's that was not read as a whole."""

    file: FileName
    samples: int
    bytes: int
    sha256: str | None


class SplitInfo(_Manifest):
    """One split: its shards in order, its index, and what became of the items listed for it.

    `duplicate` counts lines that named again what was listed already; they are not in `listed`.
    """

    samples: int
    frames: int
    bytes: int
    index: FileName
    index_sha256: str
    shards: tuple[ShardInfo, ...]
    listed: int
    written: int
    missing: int
    skipped: int
    duplicate: int = 0


class DatasetInfo(_Manifest):
    """The content of `dataset.json`. Class names are in label order."""

    schema_version: int = SCHEMA
    name: str
    kind: Kind
    classes: tuple[str, ...]
    class_source: str
    splits: dict[str, SplitInfo]
    options: dict[str, Any]
    tools: dict[str, str]
    flip_unsafe: tuple[str, ...] = ()


def read_dataset_info(folder: Path) -> DatasetInfo:
    """Read and check `folder/dataset.json`.

    Raises:
        InputError: there is none, it is not valid, or another schema version wrote it.
    """
    path = folder / DATASET_FILE
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder of shards", hint="ivvit shard --help")
    try:
        with open_plain(path) as file:
            text = file.read()
    except FileNotFoundError:
        raise InputError(
            f"{folder}: holds no {DATASET_FILE}, so it is not a finished folder of shards",
            hint="run `ivvit shard` again with the same options: it converts only what is missing; "
            "with --finalize it tells which parts are",
        ) from None
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read: {error}") from None
    return parse_dataset_info(text, str(path))


def parse_dataset_info(text: bytes, where: str) -> DatasetInfo:
    """Check the content of a `dataset.json`; `where` names it in messages.

    Raises:
        InputError: it is not valid, or another schema version wrote it.
    """
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where}: cannot be read: {error}") from None
    version = document.get("schema_version") if isinstance(document, dict) else None
    if version != SCHEMA:
        raise InputError(
            f"{where}: schema version {version}, but this ivvit reads version {SCHEMA}",
            hint="convert the dataset again with `ivvit shard`",
        )
    try:
        return DatasetInfo.model_validate(document)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise InputError(f"{where}: {place}: {first['msg']}") from None


def write_dataset_info(folder: Path, info: DatasetInfo) -> None:
    """Write `folder/dataset.json` atomically; its presence marks the folder as finished."""
    write_atomically(folder / DATASET_FILE, (info.model_dump_json(indent=1) + "\n").encode())
