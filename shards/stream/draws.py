"""What the plan and the dice chose for a batch, as arrays over its samples."""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Self

import numpy as np
from numpy.typing import NDArray

from shards.stream.clips import Frames
from shards.stream.crops import Crop, Crops, Lengths

_WHOLE = 2  # frames of one size travel whole if they are at most so many times as large as the cuts


@dataclass(frozen=True)
class Draw:
    """One sample: its number, its frames (T,), and its crop, whose cut is what travels."""

    index: int
    frames: Frames
    crop: Crop


@dataclass(frozen=True)
class Draws:
    """The samples of a batch; `draws[a:b]` are some of them."""

    indices: NDArray[np.int64]  # (N,)
    records: NDArray[np.void]  # (N,) of SAMPLE
    frames: Frames  # (N, T)
    crops: Crops  # whose cuts are what travels to the device
    seen: NDArray[np.int64]  # (N, 4): top, left, height, width of what of a cut may be read
    flips: NDArray[np.bool_]  # (N,)
    colours: NDArray[np.float32]  # (N, 4): brightness, saturation, gamma, hue

    def __len__(self) -> int:
        return len(self.indices)

    def __iter__(self) -> Iterator[Draw]:
        return map(Draw, self.indices.tolist(), self.frames, self.crops)

    def __getitem__(self, some: slice) -> Self:
        return type(self)(**{field.name: getattr(self, field.name)[some] for field in fields(self)})


def frame_sizes(records: NDArray[np.void]) -> tuple[Lengths, Lengths]:
    """Return the heights and widths (N,) of samples' frames, in pixels."""
    return records["height"].astype(np.int64), records["width"].astype(np.int64)


def travelling(heights: Lengths, widths: Lengths, crops: Crops) -> tuple[Crops, NDArray[np.int64]]:
    """Return crops of which the cuts are what is sent to the device, and what of them may be read.

    Frames of one size travel whole, unless that is much more than their cuts: they are decoded
    right into the batch, and a copy of each saves a twentieth of the time.
    """
    sizes = crops.cuts[:, 2:]
    if not len(crops) or not _much_is_cut(heights, widths, sizes):
        whole = np.stack([np.zeros_like(heights), np.zeros_like(widths), heights, widths], 1)
        boxes = crops.boxes.copy()
        boxes[:, :2] += crops.cuts[:, :2]
        return Crops(whole, boxes), crops.cuts
    return crops, np.hstack([np.zeros_like(sizes), sizes])


def _much_is_cut(heights: Lengths, widths: Lengths, sizes: NDArray[np.int64]) -> bool:
    one_size = (heights == heights[0]).all() and (widths == widths[0]).all()
    return not one_size or heights[0] * widths[0] > _WHOLE * sizes.max(0).prod()
