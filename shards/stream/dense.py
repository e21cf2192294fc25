"""Resampling on a GPU: a whole batch of different crops as two batched products."""

import torch
from torch import Tensor


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
    boxes = boxes.double()  # float32 places would cost 0.02 grey levels
    down = _weights(boxes[:, 0::2], cuts[:, 0::2], height, size)  # (N, S, H)
    across = _weights(boxes[:, 1::2], cuts[:, 1::2], width, size)  # (N, S, W)
    across = torch.where(flips[:, None, None], across.flip(1), across)
    planes = clips.permute(0, 2, 1, 4, 3).contiguous().float()  # (N, H, T, 3, W)
    rows = torch.bmm(down, planes.view(n, height, -1)).view(n, -1, width)  # (N, S*T*3, W)
    pixels = torch.bmm(rows, across.transpose(1, 2)).view(n, size, t, 3, size)
    out = torch.empty(n, t, 3, size, size, device=clips.device)
    return torch.addcmul(shift, pixels.permute(0, 2, 3, 1, 4), gain, out=out)


def _weights(box: Tensor, cut: Tensor, length: int, size: int) -> Tensor:
    """Return float32 (N, size, length): each output pixel's share of every source pixel.

    `box` and `cut` (N, 2) are start and extent along this axis; source pixels beside the cut count
    for nothing, and what is left sums to 1, as at the edge of an image.
    """
    scale = (box[:, 1] / size)[:, None, None]
    steps = torch.arange(size, device=box.device, dtype=torch.float64) + 0.5
    centres = box[:, 0, None, None] + steps[:, None] * scale  # (N, size, 1)
    places = torch.arange(length, device=box.device)
    distances = (places + 0.5 - centres).float().abs()  # small ones are exact enough
    weights = (1 - distances / scale.clamp(min=1.0).float()).clamp(min=0)
    first, extent = cut[:, 0, None, None], cut[:, 1, None, None]
    weights = weights * ((places >= first) & (places < first + extent))
    return weights / weights.sum(-1, keepdim=True)
