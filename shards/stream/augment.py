"""Crop, resize, flip and normalise on the device of the frames, as two matrix products.

Resampling is linear and separable: an output row is a weighted mean of source rows, an output
column one of source columns. The weights are those of ATen's antialiased bilinear filter (a
triangle, widened by the scale when shrinking), so a crop box, a flip and the padding of a ragged
batch are nothing but different weights.

Most weights are 0. A GPU multiplies them all the same, a whole batch of different crops in two
products (`shards.stream.dense`); a CPU takes only what counts (`shards.stream.banded`), which is
five times faster there.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from shards.stream import banded, dense


def render(
    frames: Tensor,
    boxes: Tensor,
    cuts: Tensor,
    flips: Tensor,
    *,
    size: int,
    mean: Sequence[float],
    std: Sequence[float],
) -> Tensor:
    """Turn uint8 frames into the model's normalised float32 input, on the frames' device.

    Equals `interpolate(mode="bilinear", antialias=True)` of the box, without rounding to whole grey
    levels, then a flip, then (x / 255 - mean) / std.

    Args:
        frames: uint8 (N, H, W, 3), or (N, T, H, W, 3) of clips whose frames share a crop.
        boxes: (N, 4): top, left, height, width in pixels; what fills the output.
        cuts: int64 (N, 4): top, left, height, width of what may be read, around the box: the
            filter stops at its edges as at those of an image.
        flips: (N,) bool: mirror left and right.
        size: S, the output's side in pixels.
        mean, std: per channel, for values in 0..1.

    Returns:
        float32 (N, 3, S, S) or (N, T, 3, S, S).
    """
    clips = frames if frames.dim() == 5 else frames.unsqueeze(1)
    gain = 1 / (255 * torch.tensor(std, dtype=torch.float32))
    shift = -255 * gain * torch.tensor(mean, dtype=torch.float32)
    # Every copy that blocks makes a GPU run dry.
    moved = torch.stack((gain, shift)).to(frames.device, non_blocking=True)
    gain, shift = moved[..., None, None].unbind()
    resample = banded.resample if frames.device.type == "cpu" else dense.resample
    with torch.autocast(frames.device.type, enabled=False):
        out = resample(clips, boxes, cuts, flips, gain, shift, size)
    return out if frames.dim() == 5 else out.squeeze(1)
