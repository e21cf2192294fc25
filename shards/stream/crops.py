"""Which part of a frame is seen: boxes in source pixels, for training and for test-time views.

A crop is a box of the frame that is scaled to the model's square input, and the integer cut that
has to travel to the device. Two orders of operation exist:

- crop, then resize (`random_resized`): the box is the cut, and the filter stops at its edge;
- resize, then crop (`short_side`, `none`, views): the cut keeps the margin around the box that the
  antialiasing filter reaches, so that the result is that of resizing the whole frame first.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from shards.stream.dice import Dice, whole

Cropping = Literal["random_resized", "short_side", "none"]
Lengths = NDArray[np.int64]  # (N,) pixels

_TRIES = 10


@dataclass(frozen=True)
class Crop:
    """A part of a frame; places and lengths are pixels, as (top, left, height, width)."""

    cut: tuple[int, int, int, int]  # within the frame
    box: tuple[float, float, float, float]  # within the cut


@dataclass(frozen=True)
class Crops:
    """The crops of N frames, as rows of (top, left, height, width)."""

    cuts: NDArray[np.int64]  # (N, 4)
    boxes: NDArray[np.float64]  # (N, 4)

    def __len__(self) -> int:
        return len(self.cuts)

    def __iter__(self) -> Iterator[Crop]:
        return map(Crop, map(tuple, self.cuts.tolist()), map(tuple, self.boxes.tolist()))

    def __getitem__(self, some: slice) -> "Crops":
        return Crops(self.cuts[some], self.boxes[some])


def random_resized(
    heights: Lengths,
    widths: Lengths,
    *,
    area: tuple[float, float],
    ratio: tuple[float, float],
    dice: Dice,
) -> Crops:
    """Draw boxes of a share of the area and an aspect ratio (Inception; IV-ViT 5.3 for images).

    It is torchvision's RandomResizedCrop: ten tries, then the largest centred box whose aspect
    ratio is allowed.
    """
    turns = dice.throw("crop", 2 * _TRIES + 2)
    low, high = math.log(ratio[0]), math.log(ratio[1])
    targets = (heights * widths)[:, None] * (area[0] + (area[1] - area[0]) * turns[:, :_TRIES])
    aspects = np.exp(low + (high - low) * turns[:, _TRIES:-2])  # (N, tries)
    wide, tall = np.rint(np.sqrt(targets * aspects)), np.rint(np.sqrt(targets / aspects))
    fits = (wide > 0) & (wide <= widths[:, None]) & (tall > 0) & (tall <= heights[:, None])
    first = np.arange(len(fits)), fits.argmax(1)
    h, w = tall[first].astype(np.int64), wide[first].astype(np.int64)
    tops, lefts = whole(turns[:, -2], heights - h + 1), whole(turns[:, -1], widths - w + 1)
    if not (some := fits[first]).all():
        height, width = _largest(heights, widths, ratio)
        h, w = np.where(some, h, height), np.where(some, w, width)
        tops = np.where(some, tops, (heights - height) // 2)
        lefts = np.where(some, lefts, (widths - width) // 2)
    boxes = np.stack([np.zeros_like(h), np.zeros_like(w), h, w], 1).astype(np.float64)
    return Crops(np.stack([tops, lefts, h, w], 1), boxes)


def _largest(
    heights: Lengths, widths: Lengths, ratio: tuple[float, float]
) -> tuple[Lengths, Lengths]:
    """Return the height and width of the largest boxes whose aspect ratio is allowed."""
    aspects = np.clip(widths / heights, *ratio)
    h = np.minimum(heights, np.rint(widths / aspects).astype(np.int64))
    w = np.minimum(widths, np.rint(heights * aspects).astype(np.int64))
    return np.maximum(h, 1), np.maximum(w, 1)


def short_side(
    heights: Lengths,
    widths: Lengths,
    *,
    size: int,
    short_sides: tuple[int, int],
    dice: Dice,
) -> Crops:
    """Scale the short sides to random lengths, bounds included, and crop squares anywhere.

    Simonyan and Zisserman 2014's scale jitter, as in IV-ViT 5.3 for videos. `size` is the side of
    the square in scaled pixels, at most the smaller of `short_sides`.
    """
    turns = dice.throw("crop", 3)
    short = short_sides[0] + whole(turns[:, 0], short_sides[1] - short_sides[0] + 1)
    tall, wide = scaled_size(heights, widths, short)
    corners = whole(turns[:, 1], tall - size + 1), whole(turns[:, 2], wide - size + 1)
    return _scaled(heights, widths, (tall, wide), corners, size)


def centred(heights: Lengths, widths: Lengths, *, size: int) -> Crops:
    """Scale the short sides to `size` and crop the squares in the middle."""
    return _along(heights, widths, np.full(len(heights), 0.5), size)


def view_crops(height: int, width: int, *, size: int, crops: int) -> list[Crop]:
    """Place test-time crops along the long side of a frame whose short side is scaled to `size`.

    Three crops are left, centre, right or top, centre, bottom (TimeSformer A, TokenShift 4.1); one
    is the centre; other counts are placed evenly from end to end.
    """
    turns = np.arange(crops) / (crops - 1) if crops > 1 else np.array([0.5])
    heights, widths = np.full(crops, height), np.full(crops, width)
    return list(_along(heights, widths, turns, size))


def _along(heights: Lengths, widths: Lengths, turns: NDArray[np.float64], size: int) -> Crops:
    """Place squares at `turns` (N,), 0 to 1, of the way along the long sides."""
    tall, wide = scaled_size(heights, widths, np.full_like(heights, size))
    places = np.rint((np.maximum(tall, wide) - size) * turns).astype(np.int64)
    corners = np.where(tall > wide, places, 0), np.where(tall > wide, 0, places)
    return _scaled(heights, widths, (tall, wide), corners, size)


def scaled_size(heights: Lengths, widths: Lengths, shorts: Lengths) -> tuple[Lengths, Lengths]:
    """Return heights and widths with the short sides scaled to `shorts`, as torchvision does."""
    least = np.minimum(heights, widths)
    return shorts * heights // least, shorts * widths // least


def _scaled(
    heights: Lengths,
    widths: Lengths,
    scaled: tuple[Lengths, Lengths],
    corners: tuple[Lengths, Lengths],
    size: int,
) -> Crops:
    """Return the crops of `size` at `corners` of frames scaled to `scaled`, in source pixels."""
    top, tall, y, h = _scaled_axis(heights, scaled[0], corners[0], size)
    left, wide, x, w = _scaled_axis(widths, scaled[1], corners[1], size)
    return Crops(np.stack([top, left, tall, wide], 1), np.stack([y, x, h, w], 1))


def _scaled_axis(
    lengths: Lengths, scaled: Lengths, corners: Lengths, size: int
) -> tuple[Lengths, Lengths, NDArray[np.float64], NDArray[np.float64]]:
    """Return the cuts' starts and lengths, and the boxes' starts (within the cuts) and lengths."""
    scale = lengths / scaled
    starts, extents = corners * scale, size * scale
    margins = np.maximum(scale, 1.0)  # the reach of the triangle filter
    firsts = np.maximum(np.floor(starts - margins).astype(np.int64), 0)
    lasts = np.minimum(np.ceil(starts + extents + margins).astype(np.int64), lengths)
    return firsts, lasts - firsts, starts - firsts, extents
