"""The seal of a shard's record: what a later run believes must be what was written."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shards.convert.errors import DamagedRecord
from shards.index import Layout

_ROWS, _SEAL = "rows", "seal"  # sha256 of the rows; of the header, that one included
_COUNTS = ("samples", "frames")  # which every index has; the file's size tells them


def sealed(
    header: dict[str, Any], samples: NDArray[np.void], frames: NDArray[np.void]
) -> dict[str, Any]:
    """Add a seal to a record's header; `samples` is (S,) of SAMPLE, `frames` (F,) of FRAME."""
    rows = hashlib.sha256(samples.tobytes() + frames.tobytes()).hexdigest()
    whole = {**header, _ROWS: rows}
    return {**whole, _SEAL: _digest(whole)}


def is_sealed(header: dict[str, Any]) -> bool:
    """Return whether a record's header is what was written; of its rows this says nothing."""
    whole = {key: value for key, value in header.items() if key not in (_SEAL, *_COUNTS)}
    return header.get(_SEAL) == _digest(whole)


def check_seal(path: Path, layout: Layout) -> None:
    """Read a record whole.

    Raises:
        DamagedRecord: it is not what was written.
    """
    with path.open("rb") as file:
        file.seek(layout.sample_place)
        rows = hashlib.file_digest(file, "sha256").hexdigest()
    if not is_sealed(layout.header) or layout.header[_ROWS] != rows:
        raise DamagedRecord(
            f"{path}: is damaged", hint="remove it; the same command then makes it anew"
        )


def _digest(header: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(header, sort_keys=True).encode()).hexdigest()
