"""Forward passes of one fixed size over samples that have any number of views."""

from collections import deque
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from shards.errors import EnvironmentFault

Average = Literal["logits", "probabilities"]


def pass_size(batch: int, views: int) -> int:
    """Return the fewest rows per pass that need no more passes over `views` than `batch` would.

    Evenly filled passes keep the shapes static at the price of less padding than there are passes.
    """
    passes = -(-views // batch)
    return -(-views // passes)


class ViewForward:
    """Runs views through one head in passes of `size` rows and averages them sample by sample.

    A pass holds views of several samples, and a sample's views may fall into several passes; the
    last pass is padded, so that all have the same shape.

    Args:
        model: called as `model(x, dataset)`, x of (size, 3, H, W) or (size, T, 3, H, W).
        dataset: the head.
        size: rows per forward pass.
        average: what is averaged over a sample's views: `logits` (TokenShift, TimeSformer) or
            their softmax, `probabilities`.
        bf16: run the model under bf16 autocast; its scores are averaged in float32.
    """

    def __init__(
        self,
        model: Callable[[Tensor, str], Tensor],
        dataset: str,
        *,
        size: int,
        average: Average,
        bf16: bool = False,
    ) -> None:
        self._model = model
        self._dataset = dataset
        self._size = size
        self._average = average
        self._bf16 = bf16
        self._parts: list[Tensor] = []  # views that wait for a pass
        self._filled = 0  # rows in them
        self._logits: list[Tensor] = []  # of views whose sample is not complete
        self._counts: deque[int] = deque()  # views of each sample that is not complete

    def add(self, views: Tensor) -> list[Tensor]:
        """Take one sample's views, (V, ...); return the samples done by now, (C,) float32 each.

        Samples come out in the order in which they went in.

        Raises:
            EnvironmentFault: a pass does not fit into the device's memory.
        """
        self._counts.append(len(views))
        while len(views):
            room = self._size - self._filled
            self._parts.append(views[:room])
            self._filled += len(self._parts[-1])
            views = views[room:]
            if self._filled == self._size:
                self._run()
        return self._completed()

    def finish(self, *, pad: bool = True) -> list[Tensor]:
        """Run what waits and return the samples that were not done, as `add`; more may follow.

        Args:
            pad: whether the pass is filled up with zeros, to the shape of all others.

        Raises:
            EnvironmentFault: the pass does not fit into the device's memory.
        """
        if self._filled and not pad:
            self._run()
        elif self._filled:
            padding = self._parts[0].new_zeros(self._size - self._filled, *self._parts[0].shape[1:])
            self._parts.append(padding)
            self._run()
        return self._completed()

    def _run(self) -> None:
        x = torch.cat(self._parts)  # (size, [T,] 3, H, W)
        try:
            with torch.autocast(x.device.type, torch.bfloat16, enabled=self._bf16):
                logits = self._model(x, self._dataset)  # (size, C)
        except torch.OutOfMemoryError:
            raise EnvironmentFault(
                f"{self._dataset}: a forward pass of {self._size} views does not fit into memory",
                hint="evaluate with a smaller batch",
            ) from None
        self._logits.append(logits[: self._filled].float())
        self._parts, self._filled = [], 0

    def _completed(self) -> list[Tensor]:
        done = []
        logits = torch.cat(self._logits) if self._logits else torch.empty(0)
        while self._counts and self._counts[0] <= len(logits):
            count = self._counts.popleft()
            done.append(self._averaged(logits[:count]))
            logits = logits[count:]
        self._logits = [logits] if len(logits) else []
        return done

    def _averaged(self, logits: Tensor) -> Tensor:  # (V, C) -> (C,)
        return (logits if self._average == "logits" else logits.softmax(1)).mean(0)
