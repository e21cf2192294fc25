"""Colour jitter as TokenShift's released code has it: brightness, saturation, gamma and hue.

Each is changed with some probability, to a value that all frames of a clip share, one after the
other. It works on float frames of a batch, on their device.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from shards.stream.dice import Dice

_BOUNDS = np.array([[0.5, 2.0], [0.5, 3.0], [0.8, 1.2], [-0.5, 0.5]])
NEUTRAL = (1.0, 1.0, 1.0, 0.0)  # brightness, saturation, gamma, and hue in turns of the circle
_LUMA = (0.299, 0.587, 0.114)  # BT.601, as PIL's grey


def draw_colours(chance: float, dice: Dice) -> NDArray[np.float32]:
    """Return each sample's four values (N, 4), of which each differs from neutral by `chance`."""
    throws = dice.throw("colour", 8)
    low, high = _BOUNDS.T
    drawn = low + throws[:, 4:] * (high - low)
    return np.where(throws[:, :4] < chance, drawn, NEUTRAL).astype(np.float32)


def jitter(frames: Tensor, colours: Tensor) -> Tensor:
    """Change the colours of frames in place and return them.

    Args:
        frames: float (N, 3, H, W) or (N, T, 3, H, W) in 0..1.
        colours: float32 (N, 4) on the CPU, so that only samples that change cost time.
    """
    clips = frames if frames.ndim == 5 else frames.unsqueeze(1)
    for change, values, neutral in zip(_CHANGES, colours.unbind(1), NEUTRAL, strict=True):
        rows = (values != neutral).nonzero().flatten().tolist()
        for row in rows:
            clips[row] = change(clips[row], float(values[row]))
    return frames


def normalise(frames: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """Turn frames (..., 3, H, W) in 0..1 into (x - mean) / std, in place, and return them."""
    for channel, (centre, scale) in enumerate(zip(mean, std, strict=True)):
        frames[..., channel, :, :].sub_(centre).div_(scale)
    return frames


def _brighten(x: Tensor, factor: float) -> Tensor:
    return (x * factor).clamp(max=1)


def _saturate(x: Tensor, factor: float) -> Tensor:
    """Move frames (T, 3, H, W) away from their grey, or towards it."""
    red, green, blue = x.unbind(1)  # a tensor of the weights would be a copy that blocks
    grey = (_LUMA[0] * red + _LUMA[1] * green + _LUMA[2] * blue)[:, None]
    return (grey + factor * (x - grey)).clamp(0, 1)


def _bend(x: Tensor, gamma: float) -> Tensor:
    return x.clamp(0, 1).pow(gamma)


def _turn(x: Tensor, turns: float) -> Tensor:
    """Turn the hue of frames (T, 3, H, W), their value and saturation (of HSV) staying."""
    red, green, blue = x.unbind(1)
    value, chroma = x.amax(1), x.amax(1) - x.amin(1)
    sixths = torch.where(
        value == red,
        (green - blue) / chroma,
        torch.where(value == green, (blue - red) / chroma + 2, (red - green) / chroma + 4),
    )
    sixths = sixths.nan_to_num(0, 0, 0) + 6 * turns  # grey has no hue
    parts = [(n + sixths) % 6 for n in (5, 3, 1)]
    return torch.stack([value - chroma * torch.minimum(k, 4 - k).clamp(0, 1) for k in parts], 1)


_CHANGES: tuple[Callable[[Tensor, float], Tensor], ...] = (_brighten, _saturate, _bend, _turn)
