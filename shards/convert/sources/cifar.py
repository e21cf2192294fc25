"""CIFAR-10 and CIFAR-100 in their python version (Krizhevsky 2009): pickled arrays."""

import pickle
from pathlib import Path
from typing import Any, BinaryIO, ClassVar

import numpy as np
from numpy.typing import NDArray

from shards.convert.items import Item, Listing
from shards.convert.sources.scan import require_folder
from shards.errors import InputError

LAYOUT = {
    "cifar10": "expected: the folder cifar-10-batches-py with data_batch_1 to 5 and test_batch",
    "cifar100": "expected: the folder cifar-100-python with train, test and meta",
}
_INNER = {"cifar10": "cifar-10-batches-py", "cifar100": "cifar-100-python"}
_BATCHES: dict[str, dict[str, tuple[str, ...]]] = {
    "cifar10": {"train": tuple(f"data_batch_{n}" for n in range(1, 6)), "test": ("test_batch",)},
    "cifar100": {"train": ("train",), "test": ("test",)},
}
_META = {"cifar10": ("batches.meta", "label_names"), "cifar100": ("meta", "fine_label_names")}
_LABELS = {"cifar10": "labels", "cifar100": "fine_labels"}
_SIDE = 32


def list_items(source: str, root: Path, *, fold: int = 1) -> Listing:
    """List CIFAR-10 or CIFAR-100 (fine labels); keys count the pictures of a split in order.

    Raises:
        InputError: a file is missing, or holds anything but the dataset.
    """
    require_folder(root, LAYOUT[source])
    folder = root / _INNER[source] if (root / _INNER[source]).is_dir() else root
    file, field = _META[source]
    classes = _load(folder / file, LAYOUT[source]).get(field)
    if not isinstance(classes, list) or not all(isinstance(name, str) for name in classes):
        raise InputError(f"{folder / file}: has no list {field}", hint=LAYOUT[source])
    items = [
        item
        for split, batches in _BATCHES[source].items()
        for item in _split(source, folder, split, batches, len(classes))
    ]
    return Listing(
        source, "image", tuple(classes), f"{field} in {file}, in its order", tuple(items)
    )


def _split(
    source: str, folder: Path, split: str, batches: tuple[str, ...], classes: int
) -> list[Item]:
    items: list[Item] = []
    for name in batches:
        pixels, labels = _batch(folder / name, _LABELS[source], classes, LAYOUT[source])
        for place, (picture, label) in enumerate(zip(pixels, labels, strict=True)):
            key = f"{split}-{len(items):05d}"
            items.append(Item(key, split, label, f"{name}:{place}", picture.nbytes, pixels=picture))
    return items


def _batch(
    path: Path, field: str, classes: int, layout: str
) -> tuple[NDArray[np.uint8], list[int]]:
    document = _load(path, layout)
    data, labels = getattr(document.get("data"), "values", None), document.get(field)
    if not isinstance(data, np.ndarray) or data.ndim != 2:
        raise InputError(f"{path}: holds no array of pictures", hint=layout)
    if data.shape[1] != 3 * _SIDE * _SIDE:
        raise InputError(f"{path}: has pictures of {data.shape[1]} bytes, not 3072", hint=layout)
    if not isinstance(labels, list) or len(labels) != len(data):
        raise InputError(f"{path}: its {field} do not fit its pictures", hint=layout)
    if not all(isinstance(label, int) and 0 <= label < classes for label in labels):
        raise InputError(f"{path}: has {field} beyond its {classes} classes", hint=layout)
    pixels = data.reshape(-1, 3, _SIDE, _SIDE).transpose(0, 2, 3, 1)  # (N, 3, H, W) -> (N, H, W, 3)
    return np.ascontiguousarray(pixels), labels


def _load(path: Path, layout: str) -> dict[str, Any]:
    if not path.is_file():
        raise InputError(f"{path}: no such file", hint=layout)
    try:
        with path.open("rb") as file:
            document = _Unpickler(file).load()
    except Exception as error:  # a hostile pickle can raise anything
        raise InputError(f"{path}: cannot be read as a CIFAR pickle: {error}") from None
    if not isinstance(document, dict):
        raise InputError(f"{path}: does not hold a dictionary", hint=layout)
    return document


class _Bytes:
    """Stands for a numpy array of bytes: numpy's own classes would trust what the pickle says."""

    values: NDArray[np.uint8]

    def __setstate__(self, state: tuple[int, tuple[int, ...], object, bool, str | bytes]) -> None:
        _, shape, _, fortran, data = state
        flat = np.frombuffer(data.encode("latin1") if isinstance(data, str) else data, np.uint8)
        self.values = flat.reshape(shape, order="F" if fortran else "C")


class _ByteType:
    """Stands for numpy's dtype of a byte."""

    def __init__(self, name: str, *_: object) -> None:
        if name != "u1":
            raise pickle.UnpicklingError(f"it holds an array of {name}")

    def __setstate__(self, state: object) -> None:
        """Take nothing over."""


# All that a pickle of these datasets refers to; anything else is refused.
_ALLOWED: dict[tuple[str, str], Any] = {
    ("numpy.core.multiarray", "_reconstruct"): lambda *_: _Bytes(),
    ("numpy._core.multiarray", "_reconstruct"): lambda *_: _Bytes(),
    ("numpy", "ndarray"): None,  # only ever handed to _reconstruct
    ("numpy", "dtype"): _ByteType,
    ("_codecs", "encode"): lambda text, _: text.encode("latin1"),
}


class _Unpickler(pickle._Unpickler):
    """Builds numbers, text, lists, dictionaries and byte arrays, and refuses everything else.

    Python's own unpickler, because the one in C allots as much memory as a pickle claims to need:
    a table of 4 GB for a file of ten bytes. Its one opcode that does so, too, is taken out.
    """

    dispatch: ClassVar = {
        code: load
        for code, load in pickle._Unpickler.dispatch.items()
        if code != pickle.BYTEARRAY8[0]
    }

    def __init__(self, file: BinaryIO) -> None:
        super().__init__(file, encoding="latin1")  # written by Python 2

    def find_class(self, module: str, name: str) -> Any:
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"it refers to {module}.{name}") from None
