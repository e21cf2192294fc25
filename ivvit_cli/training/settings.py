"""What the loop is told beside the model: when things happen, and how batches are read."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch

from ivvit_cli.training.distributed import Ranks
from shards.stream.device import DeviceDecoder
from shards.stream.loader import TrainStream, UpdateLoader


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

    def open(
        self,
        streams: Mapping[str, TrainStream],
        updates: Iterable[Mapping[str, int]],
        *,
        ranks: Ranks,
        device: torch.device,
    ) -> UpdateLoader:
        """Return the loader of this process's share of the updates, for a device."""
        return UpdateLoader(
            streams,
            updates,
            rank=ranks.rank,
            world=ranks.world,
            threads=self.threads,
            prefetch=self.prefetch,
            pin=device.type == "cuda",
            decoder=self.decoder,
        )
