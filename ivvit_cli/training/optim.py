"""The optimiser, and its learning rate as a pure function of the iteration."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import nn


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


def build_optimiser(
    parameters: Iterable[nn.Parameter],
    *,
    name: str,
    lr: float,
    weight_decay: float,
    betas: tuple[float, float] = (0.9, 0.999),
    momentum: float = 0.9,
    nesterov: bool = False,
) -> torch.optim.Optimizer:
    """Return AdamW or SGD over all parameters that want a gradient.

    A parameter whose gradient is None is skipped whole: no decay, no moments, no count of steps.
    That leaves the heads of the datasets that an update does not see bitwise unchanged.
    """
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    if name == "sgd":  # its fused form wants all momenta to begin at the same step
        return torch.optim.SGD(
            trained, lr=lr, weight_decay=weight_decay, momentum=momentum, nesterov=nesterov
        )
    return torch.optim.AdamW(trained, lr=lr, weight_decay=weight_decay, betas=betas, fused=True)


def set_rate(optimiser: torch.optim.Optimizer, rate: float) -> None:
    """Give every parameter group this learning rate."""
    for group in optimiser.param_groups:
        group["lr"] = rate
