"""The records of a split's shards, one after another, as the split's index."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shards.convert.seal import check_seal
from shards.files import HashingFile, atomic_file
from shards.index import FRAME, SAMPLE, Layout, encode_header


@dataclass(frozen=True)
class Record:
    """A shard's completion record: its file, and where its rows lie."""

    path: Path
    layout: Layout

    def samples(self) -> NDArray[np.void]:
        """Return the rows of the shard's samples, (S,) of SAMPLE."""
        return np.fromfile(self.path, SAMPLE, self.layout.samples, offset=self.layout.sample_place)

    def frames(self) -> NDArray[np.void]:
        """Return the rows of the shard's frames, (F,) of FRAME."""
        return np.fromfile(self.path, FRAME, self.layout.frames, offset=self.layout.frame_place)


@dataclass(frozen=True)
class Merged:
    """What a merged index holds: how many samples and frames, which labels, and its sha256.

    `short_side` is the longest short side, in pixels.
    """

    samples: int
    frames: int
    labels: set[int]
    short_side: int
    sha256: str


def merge_records(path: Path, header: dict[str, Any], records: Sequence[Record]) -> Merged:
    """Write a split's index from the records of its shards, a record at a time.

    Raises:
        DamagedRecord: a record is not what was written.
        OSError: a record is gone, or the index cannot be written.
    """
    for record in records:
        check_seal(record.path, record.layout)
    samples = sum(record.layout.samples for record in records)
    frames = sum(record.layout.frames for record in records)
    labels: set[int] = set()
    first_frame = short_side = 0
    with atomic_file(path) as plain:
        file = HashingFile(plain)
        file.write(encode_header(header, samples, frames))
        for shard, record in enumerate(records):
            rows = record.samples()
            rows["shard"] = shard
            rows["first_frame"] += first_frame
            first_frame += record.layout.frames
            labels.update(rows["label"].tolist())
            sides = np.minimum(rows["width"], rows["height"])
            short_side = max(short_side, int(sides.max(initial=0)))
            file.write(rows.tobytes())
        for record in records:
            file.write(record.frames().tobytes())
    return Merged(samples, frames, labels, short_side, file.sha256.hexdigest())
