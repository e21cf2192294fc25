"""Mixup and CutMix: pairs of samples as one, with both labels.

Zhang et al., mixup: Beyond Empirical Risk Minimization, ICLR 2018; Yun et al., CutMix, ICCV 2019.
One share is drawn per batch, and all frames of a clip are mixed alike.
"""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Mixing:
    """How a dataset's batches are mixed: the alphas of Beta(alpha, alpha), 0 for not at all.

    With both, each batch has one of the two, either as often.
    """

    mixup: float = 0.0
    cutmix: float = 0.0

    def __bool__(self) -> bool:
        return self.mixup > 0 or self.cutmix > 0


@dataclass(frozen=True)
class Mixed:
    """A batch whose samples have a part of another.

    Attributes:
        x: like the batch.
        partners: (B,) int64: whose part it is.
        share: how much is the sample's own.
    """

    x: Tensor
    partners: Tensor
    share: float


def mix(x: Tensor, count: int, mixing: Mixing) -> Mixed:
    """Mix the first `count` samples of a batch, the first with the last, and so on.

    Uses torch's generator of the CPU.

    Args:
        x: images (B, 3, H, W) or clips (B, T, 3, H, W), normalised; it is left as it is.
        count: how many of them are samples, and not fillers.
    """
    partners = torch.arange(len(x), device=x.device)
    partners[:count] = partners[:count].flip(0)
    cut = mixing.cutmix > 0 and (mixing.mixup == 0 or torch.rand(()).item() < 0.5)
    alpha = mixing.cutmix if cut else mixing.mixup
    share = torch.distributions.Beta(alpha, alpha).sample().item()
    if not cut:
        return Mixed(share * x + (1 - share) * x[partners], partners, share)
    top, bottom, left, right = _box(x.shape[-2], x.shape[-1], share)
    mixed = x.clone()
    mixed[..., top:bottom, left:right] = x[partners][..., top:bottom, left:right]
    area = (bottom - top) * (right - left) / (x.shape[-2] * x.shape[-1])
    return Mixed(mixed, partners, 1 - area)


def _box(height: int, width: int, share: float) -> tuple[int, int, int, int]:
    """Return a box of 1 - share of the area around a random centre, cut at the edges."""
    side = (1 - share) ** 0.5
    bounds = []
    for length in (height, width):
        centre, half = int(torch.randint(length, ())), int(length * side) // 2
        bounds += [max(centre - half, 0), min(centre + half, length)]
    return bounds[0], bounds[1], bounds[2], bounds[3]
