"""Files of tensors, read so that a hostile one cannot run code."""

from argparse import Namespace
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from ivvit_cli.bounded import bounded_memory
from ivvit_cli.errors import InputError

_TORCH = (".pth", ".pt", ".pyth", ".bin", ".ckpt", ".tar")
# Where trainers keep weights; TimeSformer's in model_state, VideoMAE's in model or module.
_NESTED = ("state_dict", "model_state", "model_state_dict", "model", "module")


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read the named tensors of a safetensors file, or of one that torch or numpy saved.

    Pickles go through torch's `weights_only` reader, which builds tensors and plain values only;
    numpy's are refused. Memory is bounded by the size of the file.

    Raises:
        InputError: another format, a damaged file, or one that holds more than that.
    """
    for suffixes, read in _READERS.items():
        if path.suffix in suffixes:
            with bounded_memory(path):
                return read(path)
    raise InputError(
        f"{path}: weights are read from .safetensors, .npz and {', '.join(_TORCH)} files"
    )


def save_tensors(
    tensors: Mapping[str, Tensor], path: Path, metadata: dict[str, str] | None = None
) -> None:
    """Write a safetensors file that others may read as they may any file of this process.

    Its own writer makes one for its owner alone.

    Raises:
        OSError, SafetensorError: it cannot be written.
    """
    path.touch()
    mode = path.stat().st_mode
    save_file(dict(tensors), path, metadata=metadata)
    path.chmod(mode)


def read_notes(path: Path) -> dict[str, str]:
    """Return what stands beside the tensors of a safetensors file; nothing for other formats.

    Raises:
        InputError: the file is damaged.
    """
    if path.suffix != ".safetensors":
        return {}
    try:
        with safe_open(path, framework="pt") as file:
            return file.metadata() or {}
    except (OSError, SafetensorError) as error:
        raise _unreadable(path, error) from None


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise _unreadable(path, error) from None


def _unreadable(path: Path, error: Exception) -> InputError:
    return InputError(f"{path}: cannot be read as safetensors: {error}")


def _read_torch(path: Path) -> dict[str, Tensor]:
    try:
        # A namespace, as VideoMAE's trainer saves its options in, holds values and runs nothing.
        with torch.serialization.safe_globals([Namespace]):
            document = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # crafted bytes can raise anything in an unpickler
        raise InputError(
            f"{path}: refused: it is damaged, or holds more than tensors and could run code",
            hint="where you trust it, convert it to safetensors",
        ) from error
    tensors = _tensors(document)
    if not tensors:
        raise InputError(f"{path}: holds no named tensors")
    return tensors


def _read_npz(path: Path) -> dict[str, Tensor]:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            return {name: torch.from_numpy(archive[name]) for name in archive.files}
    except Exception as error:  # as above, from zipfile and numpy
        raise InputError(
            f"{path}: refused: it is damaged, or holds more than arrays of numbers"
        ) from error


def _tensors(document: object) -> dict[str, Tensor]:
    weights = _inner(_inner(document))
    items = weights.items() if isinstance(weights, Mapping) else ()
    return {key: value for key, value in items if isinstance(key, str) and _is_plain(value)}


def _inner(document: object) -> object:
    """Return what a trainer's checkpoint holds as weights, or the document itself."""
    if isinstance(document, Mapping):
        for key in _NESTED:
            if isinstance(document.get(key), Mapping):
                return document[key]
    return document


def _is_plain(value: object) -> bool:
    """Tell whether a value is a dense tensor that owns as many bytes as it shows."""
    if not isinstance(value, Tensor) or value.layout != torch.strided:
        return False
    if value.is_quantized or value.is_nested or value.device.type != "cpu":
        return False
    return value.untyped_storage().nbytes() >= value.nbytes


_READERS: dict[tuple[str, ...], Callable[[Path], dict[str, Tensor]]] = {
    (".safetensors",): _read_safetensors,
    _TORCH: _read_torch,
    (".npz",): _read_npz,
}
