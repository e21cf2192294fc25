"""Reading shards by index: a sample's frames are `pread` from their places, without a tar walk."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from shards.errors import EnvironmentFault, InputError, IvvitError
from shards.index import CODECS, FRAME, SAMPLE, read_layout
from shards.manifest import DatasetInfo, Kind, SplitInfo
from shards.stream.decode import Pixels, decode_frame
from shards.stream.files import VERIFY
from shards.stream.records import Descriptor, Records
from shards.stream.remote.shards import RemoteShards
from shards.stream.room import room_for_frames
from shards.stream.store import Store

Numbers = Sequence[int] | NDArray[np.int64]


@dataclass(frozen=True)
class Sample:
    """One encoded sample: an image is one frame, a video all of its frames in order."""

    key: str
    label: int
    class_name: str
    fps: float  # stored frames per second; 0 for an image
    codec: str  # one of shards.index.CODECS
    frames: list[bytes]
    width: int  # pixels
    height: int


class Split:
    """One split of a dataset as a sequence of samples; safe to use from many threads.

    Of its index, a handful of records is in memory. One that names what the manifest does not have
    raises InputError at once; so does, when it is read, a shard whose size is no longer the
    recorded one, or that ends before a frame does.
    """

    def __init__(self, folder: Path | str, store: Store, name: str) -> None:
        info = store.info
        split = info.splits[name]
        path = store.index(split)
        layout = read_layout(path)
        if layout.samples != split.samples:
            raise InputError(
                f"{path}: lists {layout.samples} samples, "
                f"but the dataset's manifest says {split.samples}"
            )
        file = Descriptor(path)
        self.samples = Records(file, SAMPLE, layout.sample_place, layout.samples)
        _check_records(path, self.samples, layout.frames, info, split)
        self.folder = folder
        self.dataset = info.name
        self.name = name
        self.kind: Kind = info.kind
        self.classes = info.classes
        self.flip_unsafe = frozenset(info.flip_unsafe)
        self._frames = Records(file, FRAME, layout.frame_place, layout.frames)
        self._shards = split.shards
        self._files = store.shards(split)

    def __len__(self) -> int:
        return len(self.samples)

    @property
    def is_remote(self) -> bool:
        """Whether the shards are at a URL."""
        return isinstance(self._files, RemoteShards)

    def expect(self, indices: Numbers) -> None:
        """Fetch the shards of samples that will be read soon, in this order, if they are remote."""
        if isinstance(self._files, RemoteShards):
            self._files.expect(self.records(np.asarray(indices, np.int64))["shard"].tolist())

    def key(self, i: int) -> str:
        """Return sample `i`'s key."""
        return bytes(self.samples[i]["key"]).decode("ascii", "replace")

    def label(self, i: int) -> int:
        """Return sample `i`'s label, a position in `classes`."""
        return int(self.samples[i]["label"])

    def place(self, i: int) -> str:
        """Name sample `i` for a message: its dataset, shard and key."""
        shard = int(self.samples[i]["shard"])
        file = self._shards[shard].file if shard < len(self._shards) else f"shard {shard}"
        return f"{self.dataset}: {file}: sample {self.key(i)}"

    def read(self, i: int, frames: Numbers | None = None) -> list[bytes]:
        """Read the encoded frames `frames` (all of them by default) of sample `i`.

        Raises:
            InputError: the shard is missing, was changed or was cut; names shard and key.
        """
        with self.naming(i):
            return self._read(i, frames)

    def pixels(
        self, i: int, frames: Numbers | None = None, *, reuse: bool = False
    ) -> Iterator[Pixels]:
        """Yield sample `i`'s decoded frames `frames` (all by default), each (H, W, 3).

        With `reuse` a frame lasts only until the next one, which takes its memory.

        Raises:
            InputError: as in `read`, or a frame is damaged or not of the recorded size.
        """
        record = self.samples[i]
        codec, size = CODECS[record["codec"]], (int(record["height"]), int(record["width"]))
        room = room_for_frames(3 * size[0] * size[1]) if reuse else None
        with self.naming(i):
            for data in self._read(i, frames):
                pixels = decode_frame(data, codec, room)
                if pixels.shape[:2] != size:
                    raise InputError(f"a frame is {pixels.shape[:2]} high and wide, not {size}")
                yield pixels

    @contextmanager
    def naming(self, i: int) -> Iterator[None]:
        """Name sample `i` in whatever goes wrong within: an InputError, or the machine's fault."""
        try:
            yield
        except Exception as error:
            raise self.fault(i, error) from error

    def fault(self, i: int, error: Exception) -> IvvitError:
        """Return what to raise when `error` befell sample `i`."""
        kind = EnvironmentFault if isinstance(error, EnvironmentFault) else InputError
        hint = error.hint if isinstance(error, kind) else None
        return kind(f"{self.place(i)}: {error}", hint=hint)

    def records(self, indices: NDArray[np.int64]) -> NDArray[np.void]:
        """Return the records (N,) of SAMPLE of samples."""
        with self._naming_dataset():
            return self.samples.take(indices)

    def places_of(self, records: NDArray[np.void], frames: NDArray[np.int64]) -> NDArray[np.void]:
        """Return where the frames (N, T) of N samples lie: (N, T) of FRAME."""
        lows, counts = frames.min(1), np.ptp(frames, 1) + 1
        with self._naming_dataset():
            rows = self._frames.take(records["first_frame"].astype(np.int64) + lows, counts)
        chosen: NDArray[np.void] = rows[(np.cumsum(counts) - counts - lows)[:, None] + frames]
        return chosen

    @contextmanager
    def _naming_dataset(self) -> Iterator[None]:
        try:
            yield
        except InputError as error:
            raise InputError(f"{self.dataset}: {error}") from None

    def places(self, i: int, frames: Numbers | None = None) -> NDArray[np.void]:
        """Return where the frames `frames` (all by default) of sample `i` lie: (T,) of FRAME."""
        record = self.samples[i]
        rows = self._frames.rows(int(record["first_frame"]), int(record["frames"]))
        return rows if frames is None else rows[np.asarray(frames, dtype=np.int64)]

    def _read(self, i: int, frames: Numbers | None) -> list[bytes]:
        return self.read_places(int(self.samples[i]["shard"]), self.places(i, frames))

    def read_places(self, shard: int, places: NDArray[np.void]) -> list[bytes]:
        """Read the encoded frames that lie at `places` (T,) of FRAME in a shard.

        Raises:
            InputError: the shard is missing, was changed or was cut.
        """
        return self._files.read(shard, places)

    def __getitem__(self, i: int) -> Sample:
        if not -len(self) <= i < len(self):
            raise IndexError(i)
        record = self.samples[i]
        label = int(record["label"])
        return Sample(
            key=self.key(i),
            label=label,
            class_name=self.classes[label],
            fps=float(record["fps"]),
            codec=CODECS[record["codec"]],
            frames=self.read(i),
            width=int(record["width"]),
            height=int(record["height"]),
        )


def _check_records(
    path: Path, samples: Records, frames: int, info: DatasetInfo, split: SplitInfo
) -> None:
    """Compare the ranges of all samples with the manifest."""
    for first, rows in samples.blocks():
        ends = frames - rows["frames"].astype(np.int64)
        wrong = {
            "codec": rows["codec"] >= len(CODECS),
            "shard": rows["shard"] >= len(split.shards),
            "label": (rows["label"] < 0) | (rows["label"] >= len(info.classes)),
            "frames": (rows["frames"] < 1) | (ends < 0),
            "first_frame": rows["first_frame"] > ends,
            "width": rows["width"] < 1,
            "height": rows["height"] < 1,
        }
        for field, faults in wrong.items():
            if faults.any():
                i = int(faults.argmax())
                fault = f"sample {first + i}: there is no {field} {rows[field][i]}"
                raise InputError(f"{path}: {fault}", hint=VERIFY)
