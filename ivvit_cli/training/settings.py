"""What the loop is told beside the model: when things happen, and how batches are read."""

from dataclasses import dataclass

from shards.stream.device import DeviceDecoder


@dataclass(frozen=True)
class Periods:
    """After how many iterations what happens; None for never before the end."""

    log: int
    validate: int | None
    save: int | None


@dataclass(frozen=True)
class Loading:
    """How batches are read: threads (None: all cores), updates decoded ahead, by which device."""

    threads: int | None
    prefetch: int
    decoder: DeviceDecoder | None
