"""Validation during training, with the code that `ivvit eval` runs."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

import torch
from torch import nn

from ivvit_cli.evaluation.protocol import Protocol
from ivvit_cli.evaluation.results import figures
from ivvit_cli.evaluation.runner import evaluate
from ivvit_cli.training.distributed import Ranks
from shards.stream.device import DeviceDecoder
from shards.stream.reader import Split


class ValidationCut(Exception):
    """A signal came while a single process validated."""


@dataclass(frozen=True)
class Validation:
    """What each dataset is validated on, and how.

    Args:
        splits: by dataset; one without a split is not validated.
        protocols: by dataset.
        batch: the most views per forward pass.
    """

    splits: Mapping[str, Split]
    protocols: Mapping[str, Protocol]
    mean: Sequence[float]
    std: Sequence[float]
    batch: int
    threads: int | None
    decoder: DeviceDecoder | None

    def run(
        self,
        model: nn.Module,
        *,
        device: torch.device,
        ranks: Ranks,
        on_sample: Callable[[str, int, int], object],
    ) -> dict[str, dict[str, Any]]:
        """Return each dataset's protocol, sample count and accuracies (percent).

        `on_sample(dataset, done, total)` is called after each sample of this process.
        """
        return {
            name: {
                "split": split.name,
                "views": str(self.protocols[name].views),
                "protocol": str(self.protocols[name]),
                **self._scores(model, name, device=device, ranks=ranks, on_sample=on_sample),
            }
            for name, split in self.splits.items()
        }

    def _scores(
        self,
        model: nn.Module,
        name: str,
        *,
        device: torch.device,
        ranks: Ranks,
        on_sample: Callable[[str, int, int], object],
    ) -> dict[str, int | float]:
        split = self.splits[name]
        done = count(ranks.world, ranks.world)  # the other processes are about as far
        scores = evaluate(
            model,
            split,
            dataset=name,
            protocol=self.protocols[name],
            mean=self.mean,
            std=self.std,
            batch=self.batch,
            device=device,
            threads=self.threads,
            decoder=self.decoder,
            rank=ranks.rank,
            world=ranks.world,
            on_sample=lambda: on_sample(name, min(next(done), len(split)), len(split)),
        )
        return figures(scores)
