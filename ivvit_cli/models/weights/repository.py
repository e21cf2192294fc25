"""A repository of Hugging Face's hub as a folder: weights, in parts or not, and config.json."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from ivvit_cli.errors import InputError
from ivvit_cli.models.weights.files import read_tensors

CONFIG_FILE = "config.json"
_INDEX = ".index.json"
# In the order in which they are looked for; an index names the files of weights in parts.
WEIGHT_FILES = (
    "model.safetensors",
    f"model.safetensors{_INDEX}",
    "pytorch_model.bin",
    f"pytorch_model.bin{_INDEX}",
)


def find_weights(folder: Path) -> Path | None:
    """Return the file of weights in a folder, or the index of several; None if there is none."""
    return next((folder / name for name in WEIGHT_FILES if (folder / name).is_file()), None)


def list_parts(path: Path) -> list[str]:
    """Return the names of the files that an index of weights in parts names.

    Raises:
        InputError: the index is damaged, or names a file elsewhere.
    """
    names = sorted(set(_read_index(path).values()))
    for name in names:
        if Path(name).name != name or not name.endswith((".safetensors", ".bin")):
            raise InputError(f"{path}: names {name!r}, which is no file of weights beside it")
    return names


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read a file of weights, or all parts that an index names.

    Raises:
        InputError: a file is damaged or absent, or a part lacks a tensor that the index has in it.
    """
    if not path.name.endswith(_INDEX):
        return read_tensors(path)
    tensors: dict[str, Tensor] = {}
    for name in list_parts(path):
        if not (path.parent / name).is_file():
            raise InputError(f"{path.parent / name}: no such file, but {path.name} names it")
        tensors |= read_tensors(path.parent / name)
    if absent := sorted(_read_index(path).keys() - tensors.keys()):
        raise InputError(f"{path}: {absent[0]} is in none of its parts")
    return tensors


def weight_files(path: Path) -> list[Path]:
    """Return the files that hold the tensors of a file of weights or of an index."""
    if not path.name.endswith(_INDEX):
        return [path]
    return [path.parent / name for name in list_parts(path)]


def read_config(folder: Path) -> Mapping[str, Any]:
    """Return the config.json of a folder; nothing where there is none.

    Raises:
        InputError: it is damaged.
    """
    path = folder / CONFIG_FILE
    return _read_json(path) if path.is_file() else {}


def class_names(config: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the names of the classes that a config.json states, in the order of labels."""
    labels = config.get("id2label")
    if not isinstance(labels, Mapping) or not labels:
        return ()
    names = tuple(str(labels.get(str(number), "")) for number in range(len(labels)))
    # Where its authors named none, the library has made some up.
    return () if "" in names or names[0] == "LABEL_0" else names


def _read_index(path: Path) -> Mapping[str, str]:
    places = _read_json(path).get("weight_map")
    if not isinstance(places, Mapping) or not all(isinstance(p, str) for p in places.values()):
        raise InputError(f"{path}: names no files of weights")
    return places


def _read_json(path: Path) -> Mapping[str, Any]:
    try:
        document = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: is damaged: {error}") from None
    if not isinstance(document, Mapping):
        raise InputError(f"{path}: is damaged: not a mapping")
    return document
