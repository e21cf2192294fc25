"""Views and writes whose backward passes copy nothing but what moves.

Autograd turns an assignment to a slice into copies of the whole gradient, and stacks the gradients
of views before it puts them in place. Here a gradient is written where it belongs, once; nothing is
kept for the backward pass. A compiler wants the opposite, functions that it can fuse: code that is
being compiled takes a map's other form, its call.
"""

from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor

Select = Callable[[Tensor], tuple[Tensor, ...]]


class FrameMap(Protocol):
    """A linear map of tokens that moves little, in clips of `frames` frames."""

    def write(self, x: Tensor, frames: int) -> None:
        """Replace x by its image."""

    def write_transposed(self, x: Tensor, frames: int) -> None:
        """Replace x by its image under the transposed map."""


def write(x: Tensor, frames: int, frame_map: FrameMap) -> Tensor:
    """Apply a map to `x` in place, and to the gradient on its way back.

    Args:
        x: what an operation made that does not need it for its own backward pass (a sum, a linear
            layer) and that nobody else reads. What is returned has to be read twice or through
            `views`: then autograd hands back a gradient that is nobody else's.
    """
    written: Tensor = _Write.apply(x, frames, frame_map)
    return written


def views(x: Tensor, select: Select) -> tuple[Tensor, ...]:
    """Return `select(x)`, disjoint views of x that together are all of it.

    Their gradients go straight into one tensor like x; a view that is not used weighs nothing.
    """
    if torch.compiler.is_compiling():
        return select(x)
    selected: tuple[Tensor, ...] = _Views.apply(x, select)
    return selected


class _Write(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, frames: int, frame_map: FrameMap) -> Tensor:
        ctx.frames, ctx.map = frames, frame_map
        # Not x, marked as changed: what a layer gives is a view under torch 2.11, and of a view
        # that changes autograd copies the whole gradient. Nobody else reads x.
        written = x.detach()
        frame_map.write(written, frames)
        return written

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        grad = grad.contiguous()
        ctx.map.write_transposed(grad, ctx.frames)
        return grad, None, None


class _Views(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, select: Select) -> tuple[Tensor, ...]:
        ctx.select, ctx.shape, ctx.dtype, ctx.device = select, x.shape, x.dtype, x.device
        ctx.set_materialize_grads(False)
        return select(x)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor, None]:
        whole = torch.empty(ctx.shape, dtype=ctx.dtype, device=ctx.device)
        for part, grad in zip(ctx.select(whole), grads, strict=True):
            part.zero_() if grad is None else part.copy_(grad)
        return whole, None
