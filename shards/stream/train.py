"""One dataset's training samples: drawn from the plan, read, decoded and cut into a batch."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from shards.errors import UsageError
from shards.stream.batch import Batch
from shards.stream.clips import Frames, Sampling, sample_clip
from shards.stream.crops import Crop, Cropping, random_resized, short_side, view_crops
from shards.stream.plan import Plan
from shards.stream.reader import Split

Empty = Callable[[tuple[int, ...]], Tensor]

_TASK_FRAMES = 32  # enough decoding for a task to outweigh its handling


@dataclass(frozen=True)
class Draw:
    """What the plan and the dice chose for one place of a batch."""

    index: int
    frames: Frames  # (T,)
    crop: Crop
    flip: bool


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

    def draw(self, index: int, generator: np.random.Generator) -> Draw:
        """Choose the clip, the crop and the flip of sample `index`."""
        record = self.split.samples[index]
        height, width = int(record["height"]), int(record["width"])
        with self.split.naming(index):
            frames = self._clip(int(record["frames"]), float(record["fps"]), generator)
            crop = self._crop(height, width, generator)
            flip = generator.random() < self.flip and self._may_flip(int(record["label"]))
            return Draw(index, frames, crop, flip)

    def _clip(self, frames: int, fps: float, generator: np.random.Generator) -> Frames:
        if self.split.kind == "image":
            return np.zeros(1, np.int64)
        return sample_clip(
            frames,
            fps,
            sample=self.sample,
            length=self.length,
            seconds=self.seconds,
            stride=self.stride,
            generator=generator,
        )

    def _crop(self, height: int, width: int, generator: np.random.Generator) -> Crop:
        default: Cropping = "random_resized" if self.split.kind == "image" else "short_side"
        match self.crop or default:
            case "random_resized":
                return random_resized(
                    height, width, area=self.area, ratio=self.ratio, generator=generator
                )
            case "short_side":
                bounds = self._short_sides()
                return short_side(
                    height, width, size=self.size, short_sides=bounds, generator=generator
                )
            case "none":
                return view_crops(height, width, size=self.size, crops=1)[0]

    def _short_sides(self) -> tuple[int, int]:
        return self.short_sides or (self.size, self.size * 10 // 7)

    def _may_flip(self, label: int) -> bool:
        return self.split.classes[label] not in self.split.flip_unsafe


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
    slots = slots[: len(draws)]
    size = max(_TASK_FRAMES // stream.clip_length, 1)
    tasks: list[Callable[[], None]] = [
        partial(_fill, stream.split, draws[k : k + size], slots[k : k + size])
        for k in range(0, len(draws), size)
    ]
    return batch, tasks


def lay_out(
    name: str, stream: TrainStream, step: int, *, rank: int, world: int, empty: Empty
) -> tuple[Batch, list[Draw]]:
    """Draw one rank's samples of a step, and return them with a batch that lacks their frames."""
    plan = stream.plan
    positions = range(rank * plan.batch // world, (rank + 1) * plan.batch // world)
    chosen = plan.indices(step)
    draws = [stream.draw(int(chosen[p]), plan.generator(step, p)) for p in positions]
    return _empty_batch(name, stream, draws, -(-plan.batch // world), empty), draws


def _empty_batch(
    name: str, stream: TrainStream, draws: list[Draw], rows: int, empty: Empty
) -> Batch:
    split, fillers = stream.split, rows - len(draws)
    cuts = [draw.crop.cut[2:] for draw in draws] + [(1, 1)] * fillers
    boxes = [draw.crop.box for draw in draws] + [(0.0, 0.0, 1.0, 1.0)] * fillers
    height, width = (max(sides) for sides in zip(*cuts, strict=True))
    shape = (rows, stream.clip_length, height, width, 3)
    return Batch(
        dataset=name,
        kind=split.kind,
        frames=empty(shape),
        boxes=torch.tensor(boxes, dtype=torch.float64),
        cuts=torch.tensor([(0, 0, *cut) for cut in cuts]),
        flips=torch.tensor([draw.flip for draw in draws] + [False] * fillers),
        labels=torch.tensor([split.label(draw.index) for draw in draws] + [0] * fillers),
        weights=torch.tensor([1.0] * len(draws) + [0.0] * fillers),
        count=stream.plan.batch,
        keys=tuple(split.key(draw.index) for draw in draws) + ("",) * fillers,
    )


def _fill(split: Split, draws: list[Draw], slots: NDArray[np.uint8]) -> None:
    """Decode the samples of `draws` into `slots` (n, T, H, W, 3); what is beside a cut is 0."""
    for draw, slot in zip(draws, slots, strict=True):
        top, left, height, width = draw.crop.cut
        places: dict[int, list[int]] = {}  # of each distinct frame: short videos repeat some
        for place, number in enumerate(draw.frames.tolist()):
            places.setdefault(number, []).append(place)
        numbers = sorted(places)
        frames = split.pixels(draw.index, numbers, reuse=True)
        for number, frame in zip(numbers, frames, strict=True):
            for place in places[number]:
                slot[place, :height, :width] = frame[top : top + height, left : left + width]
        slot[:, height:] = 0
        slot[:, :height, width:] = 0
