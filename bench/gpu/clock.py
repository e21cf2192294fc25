"""Timing on any device: repeated steps between two points at which the device is idle."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

Step = Callable[[], object]


@dataclass(frozen=True)
class Clock:
    """Measures steps on a device.

    Args:
        seconds: how long a measurement lasts at least; it has one step at least.
        warmup: steps before it.
    """

    device: torch.device
    seconds: float
    warmup: int

    def rate(self, step: Step) -> float:
        """Return steps per second."""
        for _ in range(self.warmup):
            step()
        self.wait()
        start, count = time.perf_counter(), 0
        while not count or time.perf_counter() - start < self.seconds:
            step()
            count += 1
            if count % 4 == 0:  # else the steps queue up far beyond the time
                self.wait()
        self.wait()
        return count / (time.perf_counter() - start)

    def wait(self) -> None:
        """Wait until the device is idle."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def forget_memory(self) -> None:
        """Begin to look for the most memory anew, with nothing kept that nobody holds."""
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(self.device)

    def peak_memory(self) -> float | None:
        """Return the most memory since, in GB; None where it is not counted."""
        if self.device.type != "cuda":
            return None
        return torch.cuda.max_memory_allocated(self.device) / 1e9


def ceiling(clock: Clock, side: int) -> float:
    """Return the TFLOP/s of a product of square matrices in the precision of the training."""
    dtype = torch.bfloat16 if clock.device.type == "cuda" else torch.float32
    left, right = (torch.randn(side, side, device=clock.device, dtype=dtype) for _ in range(2))
    out = torch.empty_like(left)
    return 2 * side**3 * clock.rate(lambda: torch.mm(left, right, out=out)) / 1e12


def fitting(batch: int, measure: Callable[[int], dict[str, object]]) -> dict[str, object]:
    """Return the measurement of the largest batch that fits into memory, halved from `batch` on."""
    while True:
        try:
            return measure(batch)
        except torch.OutOfMemoryError:
            if batch == 1:
                raise
            batch //= 2
