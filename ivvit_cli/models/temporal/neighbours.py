"""The shift of MSCA: parts of queries, keys or values change places with the frames around them."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

Boundary = Literal["zero", "self"]
Layout = Literal["paper", "official", "adjacent"]

_TENSORS = {  # where they are among q, k and v
    "Q": slice(0, 1),
    "K": slice(1, 2),
    "V": slice(2, 3),
    "QK": slice(0, 2),
    "KV": slice(1, 3),
    "QV": slice(0, 3, 2),
    "QKV": slice(0, 3),
}
VARIANTS = tuple(_TENSORS)


@dataclass(frozen=True)
class NeighbourShift:
    """Which part of which of q, k and v comes from a neighbouring frame; see `msca`.

    It is a map of q, k or v, and a `FrameMap` of the three in one tensor.

    Args:
        heads: how many heads there are.
        by_token: tokens are shifted, not heads.
    """

    tensors: str
    heads: int
    by_token: bool
    backward: int
    forward: int
    boundary: Boundary
    layout: Layout

    def __call__(self, x: Tensor, frames: int) -> Tensor:
        """Shift q, k or v (B*T, heads, N, head width) of clips of `frames` frames."""
        dim = 3 if self.by_token else 2
        clips = x.reshape(-1, frames, *x.shape[1:])  # (B, T, heads, N, head width)
        steps = self._steps(clips.shape[dim])
        parts = torch.split(clips, [size for size, _ in steps], dim=dim)
        moved = [self._moved(part, step) for part, (_, step) in zip(parts, steps, strict=True)]
        return torch.cat(moved, dim=dim).flatten(0, 1)

    def write(self, x: Tensor, frames: int) -> None:
        """Shift what has to be shifted of q, k and v in one tensor (B*T, N, 3*D), in place."""
        for part, step in self._moving(x, frames):
            _move(part, step)
            if self.boundary == "zero":
                _end(part, step).zero_()  # with `self`, it stays what it is

    def write_transposed(self, x: Tensor, frames: int) -> None:
        """Give the gradients in (B*T, N, 3*D) back to the frames where they belong, in place."""
        for part, step in self._moving(x, frames):
            own = _end(part, step).clone()
            _move(part, -step)
            _end(part, -step).zero_()
            if self.boundary == "self":
                _end(part, step).add_(own)

    def _moving(self, x: Tensor, frames: int) -> Iterator[tuple[Tensor, int]]:
        """Yield the parts of (B*T, N, 3*D) that move, (B, T, ...), and the step to their frame."""
        clips = x.view(-1, frames, x.shape[1], 3, self.heads, x.shape[2] // (3 * self.heads))
        chosen = clips[:, :, :, _TENSORS[self.tensors]]  # (B, T, N, tensors, heads, head width)
        dim, start = 2 if self.by_token else 4, 0
        for size, step in self._steps(clips.shape[dim]):
            if size and step:
                yield chosen.narrow(dim, start, size), step
            start += size

    def _steps(self, size: int) -> tuple[tuple[int, int], ...]:
        """Return the size of each part of the shifted dimension, and the step to its frame."""
        back, ahead = (self.backward, -1), (self.forward, 1)
        rest = (size - self.backward - self.forward, 0)
        match self.layout:
            case "paper":
                return back, ahead, rest
            case "official":
                return ahead, rest, back
            case "adjacent":
                return ahead, back, rest

    def _moved(self, part: Tensor, step: int) -> Tensor:
        """Return (B, T, ...) with frame t + step in the place of frame t."""
        if step == 0:
            return part
        end = _end(part, step)
        if self.boundary == "zero":
            end = torch.zeros_like(end)
        return torch.cat((part[:, 1:], end) if step > 0 else (end, part[:, :-1]), dim=1)


def _move(part: Tensor, step: int) -> None:
    """Put frame t + step of (B, T, ...) in the place of frame t, where there is one."""
    if step > 0:
        part[:, :-1] = part[:, 1:].clone()
    else:
        part[:, 1:] = part[:, :-1].clone()


def _end(part: Tensor, step: int) -> Tensor:
    """Return the frame of (B, T, ...) that has no neighbour at this step, (B, 1, ...)."""
    return part[:, -1:] if step > 0 else part[:, :1]
