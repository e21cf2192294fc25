"""The optimiser, and its learning rate as a pure function of the iteration."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from ivvit_cli.models import JointModel

_BLOCK = re.compile(r"encoder\.vit\.blocks\.(\d+)\.")
_EMBEDDING = re.compile(
    r"encoder\.(vit\.(patch_embed|cls_token|dist_token|reg_token|pos_embed|norm_pre)"
    r"|clip_stem|tubelet_|time_embed)"
)


@dataclass(frozen=True)
class LearningRate:
    """The learning rate at every iteration, so that a resumed run needs no scheduler's state.

    Args:
        base: the rate after warm-up.
        kind: `constant`, `cosine` (half a period, from `base` to 0) or `step`.
        total: iterations of the run.
        warmup: iterations over which the rate rises linearly; the first is base / warmup.
        milestones: `step` multiplies the rate by `gamma` from each of these iterations on.
    """

    base: float
    kind: str = "constant"
    total: int = 1
    warmup: int = 0
    milestones: Sequence[int] = ()
    gamma: float = 0.1

    def at(self, iteration: int) -> float:
        """Return the rate of an iteration; the first is 0."""
        if iteration < self.warmup:
            return self.base * (iteration + 1) / self.warmup
        if self.kind == "cosine":
            progress = (iteration - self.warmup) / max(self.total - self.warmup, 1)
            return self.base * (1 + math.cos(math.pi * min(progress, 1.0))) / 2
        if self.kind == "step":
            return self.base * self.gamma ** sum(iteration >= m for m in self.milestones)
        return self.base


def parameter_groups(model: JointModel, layer_decay: float | None) -> list[dict[str, Any]]:
    """Return a model's trained parameters, in groups of one learning rate each.

    With `layer_decay`, block n of L has the rate times layer_decay^(L + 1 - n), embeddings have
    that of a block 0, and what comes after the blocks or beside the backbone the whole rate (Bao
    et al., BEiT, ICLR 2022).
    """
    scales: dict[float, list[nn.Parameter]] = {}
    depth = len(model.encoder.vit.blocks) if layer_decay else 0
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            scale = (layer_decay or 1.0) ** (depth + 1 - _place(name, depth))
            scales.setdefault(scale, []).append(parameter)
    return [{"params": params, "scale": scale} for scale, params in scales.items()]


def _place(name: str, depth: int) -> int:
    """Return which block a parameter is of: 0 before the first, depth + 1 after the last."""
    if match := _BLOCK.match(name):
        return int(match[1]) + 1
    return 0 if _EMBEDDING.match(name) else depth + 1


def build_optimiser(
    groups: Sequence[nn.Parameter] | Sequence[dict[str, Any]],
    *,
    name: str,
    lr: float,
    weight_decay: float,
    betas: tuple[float, float] = (0.9, 0.999),
    momentum: float = 0.9,
    nesterov: bool = False,
) -> torch.optim.Optimizer:
    """Return AdamW or SGD over parameters, or over the groups of `parameter_groups`.

    A parameter whose gradient is None is skipped whole: no decay, no moments, no count of steps.
    That leaves the heads of the datasets that an update does not see bitwise unchanged.
    """
    if name == "sgd":  # its fused form wants all momenta to begin at the same step
        return torch.optim.SGD(
            groups, lr=lr, weight_decay=weight_decay, momentum=momentum, nesterov=nesterov
        )
    return torch.optim.AdamW(groups, lr=lr, weight_decay=weight_decay, betas=betas, fused=True)


def set_rate(optimiser: torch.optim.Optimizer, rate: float) -> None:
    """Give every parameter group this learning rate, times its scale."""
    for group in optimiser.param_groups:
        group["lr"] = rate * group.get("scale", 1.0)
