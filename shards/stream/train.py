"""One dataset's training samples: drawn from the plan, and laid out as a batch to be filled."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from shards.errors import InputError, UsageError
from shards.stream.batch import Batch
from shards.stream.clips import Frames, Sampling, sample_clips
from shards.stream.colour import NEUTRAL, draw_colours
from shards.stream.crops import Cropping, Crops, Lengths, centred, random_resized, short_side
from shards.stream.dice import Dice
from shards.stream.draws import Draws, frame_sizes, travelling
from shards.stream.fill import fill
from shards.stream.memory import Empty
from shards.stream.plan import Plan
from shards.stream.reader import Split

_TASK_PIXELS = 1 << 20  # enough decoding for a task to outweigh its handling
_REMOTE_PIXELS = 1 << 14  # a task waits for one sample after another, so many tasks wait together


@dataclass(frozen=True)
class TrainStream:
    """A dataset's training samples: their order, their clips and their crops.

    Args:
        split: the shards.
        plan: the order of the samples.
        size: the side of the model's square input, in pixels.
        sample, length, seconds, stride: the clip (`shards.stream.clips`); an image is one frame.
        crop: `random_resized`, `short_side` or `none` (the centre at short side = size); by
            default the first for images and the second for videos, as in IV-ViT 5.3.
        area, ratio: of `random_resized`.
        short_sides: bounds in pixels for `short_side`; by default size to 10/7 of it (224 to 320).
        flip: the probability of mirroring; classes that the dataset calls unsafe never are.
        colour: the probability of changing each of brightness, saturation, gamma and hue.

    Raises:
        UsageError: a bound of `short_sides` is below `size`, or the plan is of another split.
    """

    split: Split
    plan: Plan
    size: int
    sample: Sampling = "window"
    length: int = 1
    seconds: float | None = None
    stride: int | None = None
    crop: Cropping | None = None
    area: tuple[float, float] = (0.08, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    short_sides: tuple[int, int] | None = None
    flip: float = 0.5
    colour: float = 0.0

    def __post_init__(self) -> None:
        if self.plan.samples != len(self.split):
            raise UsageError(
                f"a plan of {self.plan.samples} samples does not fit {self.split.dataset}, "
                f"whose split {self.split.name} has {len(self.split)}"
            )
        low, high = self._short_sides()
        if not self.size <= low <= high:
            raise UsageError(f"short_side [{low}, {high}] has to lie above the size {self.size}")

    @property
    def clip_length(self) -> int:
        """T: the frames of a sample."""
        return 1 if self.split.kind == "image" else self.length

    def draw(self, step: int, positions: range) -> Draws:
        """Choose the samples at some positions of a step, their clips, crops and flips."""
        indices = self.plan.indices(step)[positions.start : positions.stop]
        records = self.split.records(indices)
        dice = self.plan.dice(step, positions)
        sizes = frame_sizes(records)
        crops, seen = travelling(*sizes, self._crops(*sizes, dice))
        flips = (dice.throw("flip")[:, 0] < self.flip) & self._may_flip[records["label"]]
        clips, colours = self._clips(indices, records, dice), draw_colours(self.colour, dice)
        return Draws(indices, records, clips, crops, seen, flips, colours)

    def _clips(self, indices: NDArray[np.int64], records: NDArray[np.void], dice: Dice) -> Frames:
        if self.split.kind == "image":
            return np.zeros((len(records), 1), np.int64)
        try:
            return sample_clips(
                records["frames"],
                records["fps"],
                sample=self.sample,
                length=self.length,
                seconds=self.seconds,
                stride=self.stride,
                dice=dice,
            )
        except InputError as error:
            unknown = int(indices[~(records["fps"] > 0)][0])
            raise self.split.fault(unknown, error) from None

    def _crops(self, heights: Lengths, widths: Lengths, dice: Dice) -> Crops:
        default: Cropping = "random_resized" if self.split.kind == "image" else "short_side"
        match self.crop or default:
            case "random_resized":
                return random_resized(heights, widths, area=self.area, ratio=self.ratio, dice=dice)
            case "short_side":
                bounds = self._short_sides()
                return short_side(heights, widths, size=self.size, short_sides=bounds, dice=dice)
            case "none":
                return centred(heights, widths, size=self.size)

    def _short_sides(self) -> tuple[int, int]:
        return self.short_sides or (self.size, self.size * 10 // 7)

    @cached_property
    def _may_flip(self) -> NDArray[np.bool_]:
        """Whether samples of each class may be mirrored."""
        return np.array([name not in self.split.flip_unsafe for name in self.split.classes])


def plan_batch(
    name: str, stream: TrainStream, step: int, *, rank: int, world: int, empty: Empty
) -> tuple[Batch, list[Callable[[], None]]]:
    """Lay out one rank's batch of a step, and return the tasks that fill in its frames.

    The ranks' slices of the step's positions, one after the other, are the whole batch; all have
    the shape of the largest, filled up with samples of weight 0. `empty` gives uint8 memory.
    """
    batch, draws = lay_out(name, stream, step, rank=rank, world=world, empty=empty)
    slots = batch.frames.numpy()
    slots[len(draws) :] = 0
    heights, widths = frame_sizes(draws.records)
    pixels = stream.clip_length * int((heights * widths).max(initial=1))
    size = max((_REMOTE_PIXELS if stream.split.is_remote else _TASK_PIXELS) // pixels, 1)
    tasks: list[Callable[[], None]] = [
        partial(fill, stream.split, draws[k : k + size], slots[k : k + size])
        for k in range(0, len(draws), size)
    ]
    return batch, tasks


def lay_out(
    name: str, stream: TrainStream, step: int, *, rank: int, world: int, empty: Empty
) -> tuple[Batch, Draws]:
    """Draw one rank's samples of a step, and return them with a batch that lacks their frames."""
    plan, count = stream.plan, len(stream.plan.span(step))
    draws = stream.draw(step, range(rank * count // world, (rank + 1) * count // world))
    rows = -(-max(count, plan.usual) // world)  # mostly the same, as compiled code asks for
    return _empty_batch(name, stream, draws, rows, count, empty), draws


def _empty_batch(
    name: str, stream: TrainStream, draws: Draws, rows: int, count: int, empty: Empty
) -> Batch:
    fillers, corner = rows - len(draws), [0, 0, 1, 1]
    height, width = draws.crops.cuts[:, 2:].max(0, initial=1).tolist()
    keys = [key.decode("ascii", "replace") for key in draws.records["key"].tolist()]
    return Batch(
        dataset=name,
        kind=stream.split.kind,
        frames=empty((rows, stream.clip_length, height, width, 3)),
        boxes=_rows(draws.crops.boxes, corner, fillers),
        cuts=_rows(draws.seen, corner, fillers),
        flips=_rows(draws.flips, False, fillers),
        colours=_rows(draws.colours, NEUTRAL, fillers),
        labels=_rows(draws.records["label"].astype(np.int64), 0, fillers),
        weights=_rows(np.ones(len(draws), np.float32), 0.0, fillers),
        count=count,
        keys=(*keys, *[""] * fillers),
    )


def _rows(values: NDArray[Any], filler: Any, fillers: int) -> Tensor:
    return torch.from_numpy(np.concatenate([values, *[np.array([filler], values.dtype)] * fillers]))
