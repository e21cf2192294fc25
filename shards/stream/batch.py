"""A batch of one dataset, as decoded: uint8 frames and what the device has to do with them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise

import torch
from torch import Tensor

from shards.manifest import Kind
from shards.stream.augment import render
from shards.stream.colour import NEUTRAL, jitter, normalise

_MOVED = ("frames", "boxes", "cuts", "flips", "labels", "weights")
_TENSORS = (*_MOVED, "colours")


@dataclass
class Batch:
    """B samples of one dataset on one rank; every rank has the same B."""

    dataset: str
    kind: Kind
    frames: Tensor  # uint8 (B, T, H, W, 3), zero-padded to the largest cut; T = 1 for images
    boxes: Tensor  # float64 (B, 4): top, left, height, width within the frames, in pixels
    cuts: Tensor  # int64 (B, 4): top, left, height, width of what of the frames may be read
    flips: Tensor  # bool (B,)
    colours: Tensor  # float32 (B, 4): brightness, saturation, gamma, hue; stays on the CPU
    labels: Tensor  # int64 (B,)
    weights: Tensor  # float32 (B,): 1 for a sample, 0 for a filler
    count: int  # samples over all ranks and micro-batches: what a sum of losses is divided by
    keys: tuple[str, ...]  # "" for a filler

    def to(self, device: torch.device | str, non_blocking: bool = True) -> "Batch":
        """Return the batch with its tensors on `device`."""
        moved = {k: getattr(self, k).to(device, non_blocking=non_blocking) for k in _MOVED}
        return replace(self, **moved)

    def render(self, size: int, mean: Sequence[float], std: Sequence[float]) -> Tensor:
        """Return the model's input, float32: images (B, 3, S, S), videos (B, T, 3, S, S)."""
        frames = self.frames.squeeze(1) if self.kind == "image" else self.frames
        draw = partial(render, frames, self.boxes, self.cuts, self.flips, size=size)
        if (self.colours == torch.tensor(NEUTRAL)).all():
            return draw(mean=mean, std=std)
        return normalise(jitter(draw(mean=(0, 0, 0), std=(1, 1, 1)), self.colours), mean, std)

    def split(self, parts: int) -> "list[Batch]":
        """Cut into at most `parts` micro-batches of nearly equal size; `count` stays global."""
        parts = min(parts, len(self.keys))
        edges = [k * len(self.keys) // parts for k in range(parts + 1)]
        return [self._rows(slice(a, b)) for a, b in pairwise(edges)]

    def without_fillers(self) -> "Batch":
        """Return the batch's samples alone; with their fillers where they are fewer than two."""
        samples = sum(map(bool, self.keys))
        return self._rows(slice(samples if samples > 1 else None))

    def _rows(self, rows: slice) -> "Batch":
        tensors = {k: getattr(self, k)[rows] for k in _TENSORS}
        return replace(self, keys=self.keys[rows], **tensors)
