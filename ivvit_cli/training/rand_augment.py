"""RandAugment on clips: all frames of a clip go through the same operations.

Cubuk et al., RandAugment, NeurIPS 2020; the operations are torchvision's.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torchvision.transforms import v2


@dataclass(frozen=True)
class RandAugment:
    """How many operations each sample goes through, and how strong they are, from 0 to 30."""

    ops: int
    magnitude: int

    def __call__(self, x: Tensor) -> Tensor:
        """Change images (B, 3, H, W) or clips (B, T, 3, H, W), float in 0..1, each by itself.

        Uses torch's generator of the CPU. The result is in 256 levels.
        """
        change = v2.RandAugment(self.ops, self.magnitude)
        levels = (x * 255).round().clamp(0, 255).to(torch.uint8)
        return torch.stack([change(sample) for sample in levels]).to(x.dtype) / 255
