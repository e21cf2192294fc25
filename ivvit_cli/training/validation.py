"""Validation during training, with the code that `ivvit eval` runs."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn

from ivvit_cli.evaluation.results import figures
from ivvit_cli.evaluation.runner import evaluate
from ivvit_cli.training.distributed import Ranks
from shards.stream.reader import Split
from shards.stream.views import Views


@dataclass(frozen=True)
class Validation:
    """What each dataset is validated on, and how.

    Args:
        splits: by dataset; one without a split is not validated.
        clips: by dataset, its recipe's clip section; None for images.
        batch: the most views per forward pass.
    """

    splits: Mapping[str, Split]
    clips: Mapping[str, Mapping[str, Any] | None]
    views: Views
    size: int
    mean: Sequence[float]
    std: Sequence[float]
    average: Literal["logits", "probabilities"]
    batch: int
    threads: int | None

    def run(
        self,
        model: nn.Module,
        *,
        device: torch.device,
        ranks: Ranks,
        on_sample: Callable[[], object] | None,
    ) -> dict[str, dict[str, Any]]:
        """Return each dataset's split, views, sample count and accuracies (percent)."""
        return {
            name: {
                "split": split.name,
                "views": str(self.views),
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
        on_sample: Callable[[], object] | None,
    ) -> dict[str, int | float]:
        scores = evaluate(
            model,
            self.splits[name],
            dataset=name,
            views=self.views,
            clip=self.clips[name],
            size=self.size,
            mean=self.mean,
            std=self.std,
            average=self.average,
            batch=self.batch,
            device=device,
            threads=self.threads,
            rank=ranks.rank,
            world=ranks.world,
            on_sample=on_sample,
        )
        return figures(scores)


def accuracies(figures: Mapping[str, Any]) -> dict[str, float]:
    """Return the percentages among a validation's figures."""
    return {name: figures[name] for name in ("top1", "top5", "mean_class")}
