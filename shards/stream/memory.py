"""Batch memory that is used again, so that its pages need not be made again."""

import math
import weakref
from collections import deque
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from shards.stream.room import room_for_frames

Empty = Callable[[tuple[int, ...]], Tensor]  # gives uint8 memory of a shape

_KEPT = 2  # blocks at rest: one comes back for each that is taken


class Recycler:
    """Hands out memory for batches, and takes back what nothing refers to any more.

    The first touch of fresh memory costs up to a tenth of the time to decode a batch into it. A
    tensor keeps its block as long as it, a slice of it or an array made from it is alive.
    """

    def __init__(self) -> None:
        self._free: deque[NDArray[np.uint8]] = deque(maxlen=_KEPT)

    def empty(self, shape: tuple[int, ...]) -> Tensor:
        """Return a uint8 tensor (*shape) whose content is left over from whatever was before."""
        size = math.prod(shape)
        try:
            block = self._free.popleft()  # tried, not asked for: other threads take some, too
        except IndexError:
            block = room_for_frames(size)
        if block.size < size:
            block = room_for_frames(size)
        lent = block[:size].reshape(shape)  # what the tensor refers to, and all that shares with it
        weakref.finalize(lent, self._free.append, block).atexit = False
        return torch.from_numpy(lent)


def frame_memory(*, pin: bool) -> Empty:
    """Return what hands out memory for frames: page-locked if asked for, and used again."""
    return _empty_pinned if pin else Recycler().empty


def _empty_pinned(shape: tuple[int, ...]) -> Tensor:
    """Return memory that torch recycles by itself; `room_for_frames` says why it is not aligned."""
    return torch.empty(math.prod(shape) + 16, dtype=torch.uint8, pin_memory=True)[16:].view(shape)
