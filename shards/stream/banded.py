"""Resampling on a CPU: bands of output pixels, each made of the few source pixels that it sees."""

import math
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

_FRAMES = 4  # at a time: what one product leaves is in the cache for the next
_SEEN = 16  # source pixels that a band spans: fewer are too many small products, more are zeros
_BAND = 16, 64  # bounds of its outputs

Band = tuple[slice, slice, Tensor]  # outputs, sources, and the weights between them (out, in)


def resample(
    clips: Tensor,
    boxes: Tensor,
    cuts: Tensor,
    flips: Tensor,
    gain: Tensor,
    shift: Tensor,
    size: int,
) -> Tensor:
    """Resample uint8 clips (N, T, H, W, 3) to float32 (N, T, 3, S, S), as `augment.render` says.

    `gain` and `shift` (3, 1, 1) turn grey levels into the model's values.
    """
    n, t, height, width, _ = clips.shape
    out = _empty(n, t, 3, size, size)
    room = _empty(_FRAMES * 3 * height * (width + size))
    crops = zip(clips, boxes.tolist(), cuts.tolist(), flips.tolist(), out, strict=True)
    for clip, (y, x, tall, wide), (top, left, height, width), flip, place in crops:
        down = list(_bands(y - top, tall, False, height, size))
        across = list(_bands(x - left, wide, flip, width, size))
        cut = clip[:, top : top + height, left : left + width].permute(0, 3, 1, 2)
        for few, pixels in zip(cut.split(_FRAMES), place.split(_FRAMES), strict=True):
            values = room[: few.numel()].view(few.shape).copy_(few).mul_(gain).add_(shift)
            rest = room[few.numel() :]
            _multiply(values.flatten(0, 1), down, across, rest, pixels.flatten(0, 1))
    return out


def _multiply(
    planes: Tensor, down: Sequence[Band], across: Sequence[Band], room: Tensor, out: Tensor
) -> None:
    """Fill `out` (P, S, S) from `planes` (P, H, W), by way of (P, H, S) in `room`."""
    p, height, width = planes.shape
    size = out.shape[-1]
    lines, narrow = planes.view(-1, width), room[: p * height * size].view(-1, size)
    for outputs, sources, weights in across:
        torch.mm(lines[:, sources], weights.T, out=narrow[:, outputs])
    rows = narrow.view(p, height, size)
    for outputs, sources, weights in down:
        torch.bmm(weights.expand(p, -1, -1), rows[:, sources], out=out[:, outputs])


def _empty(*shape: int) -> Tensor:
    """Return float32 memory from numpy, which asks for huge pages, so its first touch is cheap."""
    return torch.from_numpy(np.empty(shape, np.float32))


def _bands(start: float, extent: float, flip: bool, length: int, size: int) -> Iterator[Band]:
    """Cut an axis into bands: of `size` outputs, which see a box in `length` source pixels."""
    scale = extent / size
    reach = max(scale, 1.0)
    steps = np.arange(size) + 0.5
    centres = start + (size - steps if flip else steps) * scale
    firsts = np.floor(centres - reach + 0.5).astype(np.int64)  # of the sources within reach
    taps = math.ceil(2 * reach)
    places = firsts[:, None] + np.arange(taps)  # (size, taps)
    shares = np.maximum(1 - np.abs(places + 0.5 - centres[:, None]) / reach, 0)
    shares *= (places >= 0) & (places < length)
    weights = np.zeros((size, length + 2 * taps), np.float32)  # with room for what is beside
    weights[np.arange(size)[:, None], places + taps] = shares / shares.sum(1, keepdims=True)
    whole = torch.from_numpy(weights[:, taps : taps + length])
    step = min(max(round(_SEEN / scale), _BAND[0]), _BAND[1])
    for k in range(0, size, step):
        some = firsts[k : k + step]
        seen = slice(max(int(some.min()), 0), min(int(some.max()) + taps, length))
        yield slice(k, k + len(some)), seen, whole[k : k + step, seen]
