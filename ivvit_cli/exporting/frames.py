"""Frames to try a model on, like those of a film: smooth, in motion, with the noise of a camera."""

import torch
import torch.nn.functional as F
from torch import Tensor

_NOISE = 3.0  # grey levels
_STEP = 2  # pixels per frame


def moving_frames(clips: int, frames: int, size: int, seed: int = 0) -> Tensor:
    """Return uint8 (clips, frames, 3, size, size): a window that moves over a random picture."""
    rng = torch.Generator().manual_seed(seed)
    shapes = torch.rand(clips, 3, 6, 6, generator=rng)
    side = size + _STEP * (frames - 1)
    pictures = 255 * F.interpolate(shapes, size=(side, side), mode="bicubic")
    windows = [
        pictures[..., start : start + size, start : start + size]
        for start in range(0, _STEP * frames, _STEP)
    ]
    film = torch.stack(windows, dim=1)
    noisy = film + _NOISE * torch.randn(film.shape, generator=rng)
    return noisy.round().clamp(0, 255).to(torch.uint8)
