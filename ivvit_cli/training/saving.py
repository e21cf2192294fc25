"""From the state of a run to its checkpoints: what they hold, and which of them stay."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.distributed.fsdp import FSDPModule

from ivvit_cli.training.average import WeightAverage, averaged
from ivvit_cli.training.checkpoint import link, prune, save_checkpoint
from ivvit_cli.training.distributed import Ranks
from ivvit_cli.training.fsdp import whole
from ivvit_cli.training.progress import RunProgress


@dataclass(frozen=True)
class Saver:
    """Writes the checkpoints of a run.

    Args:
        meta: meta.json without iteration, metrics and hashes.
        unsaved: the names of frozen parameters that checkpoints do not hold.
        data: per dataset, what tells its training samples from others (for `--resume`).
        keep: how many checkpoints stay, beside the best ones.
    """

    run: Path
    meta: Mapping[str, Any]
    unsaved: frozenset[str]
    data: Mapping[str, str]
    keep: int
    ranks: Ranks

    def save(
        self,
        model: nn.Module,
        optimiser: torch.optim.Optimizer,
        progress: RunProgress,
        average: WeightAverage | None,
        *,
        metrics: Mapping[str, Any],
        better: Sequence[str],
    ) -> None:
        """Save the state of all processes after an iteration; the leader writes it.

        Args:
            average: of the weights, which is saved in place of them.
            metrics: of each dataset, where this iteration was validated.
            better: the datasets that were never better.

        Raises:
            EnvironmentFault: the disk is full or cannot be written; earlier checkpoints are intact.
        """
        if not (self.ranks.leads or isinstance(model, FSDPModule)):
            return
        state = snapshot(optimiser, progress, self.data, self.ranks, average)
        with averaged(average):
            weights = model.state_dict()
            kept = {name: value for name, value in weights.items() if name not in self.unsaved}
            kept, state = whole(kept, self.ranks), whole(state, self.ranks)
            if not self.ranks.leads:
                return
            meta = {**self.meta, "metrics": metrics}
            folder = save_checkpoint(
                self.run, progress.iteration, weights=kept, state=state, meta=meta
            )
        for name in better:
            link(self.run, f"best-{name}", folder)
        prune(self.run, self.keep)


def snapshot(
    optimiser: torch.optim.Optimizer,
    progress: RunProgress,
    data: Mapping[str, str],
    ranks: Ranks,
    average: WeightAverage | None = None,
) -> dict[str, Any]:
    """Return what state.pt holds: tensors and plain values (`resume.read_saved` is the inverse)."""
    own = {"average": _cloned(average.state())} if average else {}
    return own | {
        "optimiser": optimiser.state_dict(),
        "progress": progress.state(),
        "data": dict(data),
        "threads": torch.get_num_threads(),
        "world": ranks.world,
    }


def _cloned(state: dict[str, Any]) -> dict[str, Any]:
    """Return the weights of training apart from the parameters, which the average replaces."""
    return state | {"weights": [weight.clone() for weight in state["weights"]]}
