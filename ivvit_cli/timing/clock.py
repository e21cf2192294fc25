"""Clocks: repeats and their spread, and the phases of a device's work."""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch

_REPEATS = 5


@dataclass(frozen=True)
class Spread:
    """What several measurements of one thing say."""

    median: float
    least: float
    most: float


def spread(values: Sequence[float]) -> Spread:
    """Return the median, the least and the most of at least one value."""
    return Spread(statistics.median(values), min(values), max(values))


def wait_for(device: torch.device) -> None:
    """Wait until a device is idle."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


@dataclass(frozen=True)
class Clock:
    """Times work between two points at which the device is idle.

    Args:
        seconds: how long a measurement lasts, unless a single call lasts longer.
    """

    device: torch.device
    seconds: float

    def time(self, work: Callable[[], object]) -> list[float]:
        """Return the seconds of a call, for each of some repeats; the first call does not count."""
        self._run(work, 1)
        once = self._run(work, 1)
        if once >= self.seconds:
            return [once]
        repeats = min(int(self.seconds / once), _REPEATS)
        calls = max(int(self.seconds / repeats / once), 1)
        return [self._run(work, calls) / calls for _ in range(repeats)]

    def _run(self, work: Callable[[], object], calls: int) -> float:
        wait_for(self.device)
        start = time.perf_counter()
        for _ in range(calls):
            work()
        wait_for(self.device)
        return time.perf_counter() - start


class Timeline:
    """Phases that follow one another without a gap, as long as the device is busy with each.

    On a GPU the end of a phase is an event in the stream of its work, so that nothing waits for the
    clock; a phase in which the host prepares something lasts as long as the GPU idles for it.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._phases: list[str] = []
        self._moments: list[Any] = []  # seconds, or events of a GPU

    def begin(self) -> None:
        """Forget all phases, and begin the first."""
        self._phases, self._moments = [], [self._now()]

    def mark(self, phase: str) -> None:
        """End a phase of this name."""
        self._phases.append(phase)
        self._moments.append(self._now())

    def spans(self) -> list[tuple[str, float]]:
        """Return every phase with its seconds, in order."""
        wait_for(self._device)
        lengths = [self._between(a, b) for a, b in pairwise(self._moments)]
        return list(zip(self._phases, lengths, strict=True))

    def _now(self) -> Any:
        if self._device.type != "cuda":
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        event.record(torch.cuda.current_stream(self._device))
        return event

    def _between(self, start: Any, end: Any) -> float:
        if self._device.type != "cuda":
            return float(end - start)
        return float(start.elapsed_time(end)) / 1e3
