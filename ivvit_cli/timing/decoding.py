"""The bound of reading: what decoding alone takes of the frames that a training draws."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count

import numpy as np
from numpy.typing import NDArray

from shards.index import CODECS
from shards.stream.decode import decode_frame
from shards.stream.draws import Draw
from shards.stream.room import room_for_frames
from shards.stream.train import TrainStream

_FRAMES = 256  # at least: tens of milliseconds of decoding

Frame = tuple[bytes, str, NDArray[np.uint8]]  # encoded, its codec, and memory for its pixels


@dataclass(frozen=True)
class Probe:
    """Some drawn samples of a dataset, in memory; a frame that a clip repeats is there once.

    Attributes:
        codec: of the first sample.
        short_side: the median over the samples, in pixels.
    """

    frames: list[Frame]
    samples: int
    codec: str
    short_side: int

    @property
    def sample_bytes(self) -> float:
        """How many encoded bytes a sample has on average."""
        return sum(len(data) for data, _, _ in self.frames) / self.samples

    def decode(self) -> float:
        """Decode every frame in this thread, and return the seconds of a sample."""
        start = time.perf_counter()
        for data, codec, room in self.frames:
            decode_frame(data, codec, room)
        return (time.perf_counter() - start) / self.samples


def steps_from(stream: TrainStream, first: int) -> Iterator[int]:
    """Yield the steps, from this one on, in which a dataset has samples: a quota may be none."""
    return (step for step in count(first) if stream.plan.span(step))


def draw_probe(stream: TrainStream, step: int) -> Probe:
    """Read the samples of a step and of those after it, until there are enough frames.

    Raises:
        InputError: a sample cannot be read; names dataset, shard and key.
    """
    frames: list[Frame] = []
    sides: list[int] = []
    rooms: dict[int, NDArray[np.uint8]] = {}
    for draw, record in _draws_from(stream, step):
        width, height = int(record["width"]), int(record["height"])
        room = rooms.setdefault(width * height, room_for_frames(3 * width * height))
        encoded = stream.split.read(draw.index, np.unique(draw.frames))
        frames += [(data, CODECS[record["codec"]], room) for data in encoded]
        sides.append(min(width, height))
        if len(frames) >= _FRAMES:
            break
    return Probe(frames, len(sides), frames[0][1], int(np.median(sides)))


def _draws_from(stream: TrainStream, first: int) -> Iterator[tuple[Draw, np.void]]:
    for step in steps_from(stream, first):
        draws = stream.draw(step, range(len(stream.plan.span(step))))
        yield from zip(draws, draws.records, strict=True)
