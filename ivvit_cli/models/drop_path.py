"""timm's drop path, in a form that lets compiled blocks share their code."""

import torch
from timm.layers import DropPath
from torch import Tensor, nn


class SharedDropPath(DropPath):  # type: ignore[misc]  # timm is not typed
    """timm's drop path; where it is compiled, its probability is a value and not a constant.

    Every block has a probability of its own, and a constant would make a compilation of every
    block: past the eighth the compiler gives up without a word.
    """

    keep: Tensor

    def __init__(self, drop_prob: float, scale_by_keep: bool) -> None:
        super().__init__(drop_prob, scale_by_keep)
        self.register_buffer("keep", torch.tensor(1 - drop_prob), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """In training, zero whole rows of x (B, ...) and scale the others: the mean stays."""
        if not self.training:
            return x
        if not torch.compiler.is_compiling():
            out: Tensor = super().forward(x)
            return out
        kept = torch.rand(len(x), *[1] * (x.ndim - 1), device=x.device) < self.keep
        return x * (kept / self.keep if self.scale_by_keep else kept).to(x.dtype)

    def extra_repr(self) -> str:
        """Say nothing of the probability: blocks that differ in it alone are of one kind."""
        return ""


def share_drop_paths(model: nn.Module) -> None:
    """Replace every drop path of a model."""
    for parent in list(model.modules()):
        for name, child in parent.named_children():
            if isinstance(child, DropPath):
                setattr(parent, name, SharedDropPath(child.drop_prob, child.scale_by_keep))
