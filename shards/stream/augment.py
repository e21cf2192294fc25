"""Crop, resize, flip and normalise on the device of the frames, as two batched matmuls.

Resampling is linear and separable: an output row is a weighted mean of source rows, an output
column one of source columns. The weights are those of ATen's antialiased bilinear filter (a
triangle, widened by the scale when shrinking), so a crop box, a flip and the padding of a ragged
batch are nothing but different weights, and a whole batch of different crops is two products.
"""

from collections.abc import Sequence

import torch
from torch import Tensor


def render(
    frames: Tensor,
    boxes: Tensor,
    extents: Tensor,
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
        extents: (N, 2): height and width of what is valid; the rest is padding and is not read.
        flips: (N,) bool: mirror left and right.
        size: S, the output's side in pixels.
        mean, std: per channel, for values in 0..1.

    Returns:
        float32 (N, 3, S, S) or (N, T, 3, S, S).
    """
    clips = frames if frames.dim() == 5 else frames.unsqueeze(1)
    n, t, height, width, _ = clips.shape
    boxes, extents = boxes.double(), extents.double()  # float32 places would cost 0.02 grey levels
    down = _weights(boxes[:, 0], boxes[:, 2], extents[:, 0], height, size)  # (N, S, H)
    across = _weights(boxes[:, 1], boxes[:, 3], extents[:, 1], width, size)  # (N, S, W)
    across = torch.where(flips[:, None, None], across.flip(1), across)
    with torch.autocast(frames.device.type, enabled=False):
        planes = clips.permute(0, 2, 1, 4, 3).contiguous().float()  # (N, H, T, 3, W)
        rows = torch.bmm(down, planes.view(n, height, -1)).view(n, -1, width)  # (N, S*T*3, W)
        pixels = torch.bmm(rows, across.transpose(1, 2)).view(n, size, t, 3, size)
    gain = 1 / (255 * torch.tensor(std, dtype=torch.float32, device=frames.device))
    shift = -255 * gain * torch.tensor(mean, dtype=torch.float32, device=frames.device)
    out = torch.empty(n, t, 3, size, size, device=frames.device)
    gain, shift = gain[:, None, None], shift[:, None, None]
    torch.addcmul(shift, pixels.permute(0, 2, 3, 1, 4), gain, out=out)
    return out if frames.dim() == 5 else out.squeeze(1)


def _weights(start: Tensor, extent: Tensor, limit: Tensor, length: int, size: int) -> Tensor:
    """Return float32 (N, size, length): each output pixel's share of every source pixel.

    `start` and `extent` (N,) are the box along this axis; source pixels from `limit` (N,) on count
    for nothing, and what is left sums to 1, as at the edge of an image.
    """
    device = start.device
    scale = (extent / size)[:, None, None]
    reach = scale.clamp(min=1.0)
    steps = torch.arange(size, device=device, dtype=torch.float64) + 0.5
    centres = start[:, None, None] + steps[:, None] * scale  # (N, size, 1)
    places = torch.arange(length, device=device, dtype=torch.float64) + 0.5
    distances = (places - centres).float().abs()  # (N, size, length); small ones are exact enough
    weights = (1 - distances / reach.float()).clamp(min=0)
    weights = weights * (places < limit[:, None, None])
    return weights / weights.sum(-1, keepdim=True)
