"""Which part of a frame is seen: boxes in source pixels, for training and for test-time views.

A crop is a box of the frame that is scaled to the model's square input, and the integer cut that
has to travel to the device. Two orders of operation exist:

- crop, then resize (`random_resized`): the box is the cut, and the filter stops at its edge;
- resize, then crop (`short_side`, `none`, views): the cut keeps the margin around the box that the
  antialiasing filter reaches, so that the result is that of resizing the whole frame first.
"""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

Cropping = Literal["random_resized", "short_side", "none"]


@dataclass(frozen=True)
class Crop:
    """A part of a frame; places and lengths are pixels, as (top, left, height, width)."""

    cut: tuple[int, int, int, int]  # within the frame
    box: tuple[float, float, float, float]  # within the cut
    flip: bool = False


def random_resized(
    height: int,
    width: int,
    *,
    area: tuple[float, float],
    ratio: tuple[float, float],
    generator: np.random.Generator,
) -> Crop:
    """Draw a box of a share of the area and an aspect ratio (Inception; IV-ViT 5.3 for images).

    It is torchvision's RandomResizedCrop: ten tries, then the largest centred box whose aspect
    ratio is allowed.
    """
    bounds = math.log(ratio[0]), math.log(ratio[1])
    for _ in range(10):
        target = height * width * generator.uniform(*area)
        aspect = math.exp(generator.uniform(*bounds))
        w, h = round(math.sqrt(target * aspect)), round(math.sqrt(target / aspect))
        if 0 < w <= width and 0 < h <= height:
            top = int(generator.integers(height - h + 1))
            left = int(generator.integers(width - w + 1))
            return _exact(top, left, h, w)
    aspect = min(max(width / height, ratio[0]), ratio[1])
    w, h = min(width, round(height * aspect)), min(height, round(width / aspect))
    w, h = max(w, 1), max(h, 1)
    return _exact((height - h) // 2, (width - w) // 2, h, w)


def short_side(
    height: int,
    width: int,
    *,
    size: int,
    short_sides: tuple[int, int],
    generator: np.random.Generator,
) -> Crop:
    """Scale the short side to a random length, bounds included, and crop a square anywhere.

    Simonyan and Zisserman 2014's scale jitter, as in IV-ViT 5.3 for videos. `size` is the side of
    the square in scaled pixels, at most the smaller of `short_sides`.
    """
    short = int(generator.integers(short_sides[0], short_sides[1] + 1))
    tall, wide = scaled_size(height, width, short)
    top = int(generator.integers(tall - size + 1))
    left = int(generator.integers(wide - size + 1))
    return _scaled(height, width, (tall, wide), (top, left), size)


def view_crops(height: int, width: int, *, size: int, crops: int) -> list[Crop]:
    """Place test-time crops along the long side of a frame whose short side is scaled to `size`.

    Three crops are left, centre, right or top, centre, bottom (TimeSformer A, TokenShift 4.1); one
    is the centre; other counts are placed evenly from end to end.
    """
    tall, wide = scaled_size(height, width, size)
    room = max(tall, wide) - size
    turns = [k / (crops - 1) for k in range(crops)] if crops > 1 else [0.5]
    places = [round(room * turn) for turn in turns]
    corners = [(p, 0) if tall > wide else (0, p) for p in places]
    return [_scaled(height, width, (tall, wide), corner, size) for corner in corners]


def scaled_size(height: int, width: int, short: int) -> tuple[int, int]:
    """Return (height, width) with the short side scaled to `short`, as torchvision does."""
    if height <= width:
        return short, short * width // height
    return short * height // width, short


def _exact(top: int, left: int, height: int, width: int) -> Crop:
    return Crop((top, left, height, width), (0.0, 0.0, float(height), float(width)))


def _scaled(
    height: int, width: int, scaled: tuple[int, int], corner: tuple[int, int], size: int
) -> Crop:
    """Return the crop of `size` at `corner` of the frame scaled to `scaled`, in source pixels."""
    top, below, y, h = _scaled_axis(height, scaled[0], corner[0], size)
    left, beyond, x, w = _scaled_axis(width, scaled[1], corner[1], size)
    return Crop((top, left, below - top, beyond - left), (y, x, h, w))


def _scaled_axis(length: int, scaled: int, corner: int, size: int) -> tuple[int, int, float, float]:
    """Return the cut's start and end, and the box's start (within the cut) and length."""
    scale = length / scaled
    start, extent = corner * scale, size * scale
    margin = max(scale, 1.0)  # the reach of the triangle filter
    first = max(math.floor(start - margin), 0)
    last = min(math.ceil(start + extent + margin), length)
    return first, last, start - first, extent
