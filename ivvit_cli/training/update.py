"""One update's losses: the module that DistributedDataParallel wraps."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ivvit_cli.evaluation.runner import evaluation_mode
from ivvit_cli.models import JointModel
from ivvit_cli.training.mixing import Mixing, mix
from ivvit_cli.training.rand_augment import RandAugment
from shards.stream.colour import normalise
from shards.stream.loader import Batch

Batches = dict[str, Batch]


class UpdateShare(NamedTuple):
    """This process's share of one dataset's part in an update; both add up over processes."""

    loss: Tensor  # (), its samples' losses over the global count
    correct: Tensor  # (), how many of its samples are classified correctly


class Update(nn.Module):
    """The losses of a whole update, {dataset: Batch} -> {dataset: UpdateShare}.

    A loss is the sum over this process's real samples, divided by the samples of all processes: so
    the sum of all processes' gradients is the gradient of one process with the joined batch,
    whatever the shares. Filler samples weigh 0; a process that has nothing else adds zeros.

    Args:
        size, mean, std: what the backbone is fed.
        weights: of the datasets' losses in an update's objective; 1 where there is none.
        mixing: how each dataset's samples are mixed; not at all where there is none.
        changes: what each dataset's samples go through; nothing where there is none.
        bf16: run the model under bf16 autocast; the loss stays float32.
    """

    def __init__(
        self,
        model: JointModel,
        *,
        size: int,
        mean: Sequence[float],
        std: Sequence[float],
        weights: Mapping[str, float] | None = None,
        mixing: Mapping[str, Mixing] | None = None,
        changes: Mapping[str, RandAugment | None] | None = None,
        label_smoothing: float = 0.0,
        bf16: bool = False,
    ) -> None:
        super().__init__()
        self.model = model
        self.size = size
        self.mean = tuple(mean)
        self.std = tuple(std)
        self.weights = dict(weights or {})
        self.mixing = {name: each for name, each in (mixing or {}).items() if each}
        self.changes = {name: each for name, each in (changes or {}).items() if each}
        self.label_smoothing = label_smoothing
        self.bf16 = bf16
        self._norms = any(isinstance(module, nn.BatchNorm1d) for module in model.modules())

    def forward(self, batches: Mapping[str, Batch]) -> dict[str, UpdateShare]:
        """Return each dataset's loss and correct count."""
        return {dataset: self._share(dataset, batch) for dataset, batch in batches.items()}

    def objective(self, shares: Mapping[str, UpdateShare]) -> Tensor:
        """Return what is minimised, (): the weighted sum of the datasets' losses (CoVeR 3.2)."""
        terms = [self.weights.get(name, 1.0) * share.loss for name, share in shares.items()]
        return torch.stack(terms).sum()

    def _share(self, dataset: str, batch: Batch) -> UpdateShare:
        if self._norms:  # whose statistics would be those of fillers, too
            batch = batch.without_fillers()
        x = self._render(dataset, batch)  # (B, 3, S, S) | (B, T, 3, S, S)
        mixed = (
            mix(x, sum(map(bool, batch.keys)), how) if (how := self.mixing.get(dataset)) else None
        )
        with self._precision(x.device):
            logits = self.model(mixed.x if mixed else x, dataset).float()  # (B, C)
        losses = self._losses(logits, batch.labels)
        if mixed:
            others = self._losses(logits, batch.labels[mixed.partners])
            losses = mixed.share * losses + (1 - mixed.share) * others
        hits = (logits.detach().argmax(1) == batch.labels) * batch.weights
        return UpdateShare((losses * batch.weights).sum() / batch.count, hits.sum())

    def _render(self, dataset: str, batch: Batch) -> Tensor:
        if change := self.changes.get(dataset):
            plain = batch.render(self.size, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
            return normalise(change(plain), self.mean, self.std)
        return batch.render(self.size, self.mean, self.std)

    def _losses(self, logits: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(
            logits, labels, reduction="none", label_smoothing=self.label_smoothing
        )

    def _precision(self, device: torch.device) -> AbstractContextManager[None]:
        # No cache: a pass uses each weight once, and copies would outlive their blocks.
        return torch.autocast(device.type, torch.bfloat16, self.bf16, cache_enabled=False)


def micro_batches(batches: Batches, parts: int) -> list[Batches]:
    """Cut an update into at most `parts` updates whose gradients add up to its own.

    The last one holds every dataset, also one with fewer samples than parts: from it
    DistributedDataParallel learns which parameters the update leaves without gradient.
    """
    cut = {name: batch.split(parts) for name, batch in batches.items()}
    longest = max(map(len, cut.values()))
    return [
        {name: pieces[-k] for name, pieces in cut.items() if k <= len(pieces)}
        for k in range(longest, 0, -1)
    ]


def suspects(update: Update, batches: Batches) -> list[str]:
    """Return the keys of the samples whose own loss is not finite; all keys if none is."""
    found: list[str] = []
    with torch.no_grad(), evaluation_mode(update):  # a batch norm has no statistics of one sample
        for name, batch in batches.items():
            for one in batch.split(len(batch.keys)):
                if not update({name: one})[name].loss.isfinite():
                    found += one.keys
    every = [key for batch in batches.values() for key in batch.keys]
    return [key for key in found or every if key]
