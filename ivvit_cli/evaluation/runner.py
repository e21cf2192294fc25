"""One split through one head: what validation during training, `ivvit eval` and tests call."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, distributed, nn

from ivvit_cli.evaluation.forward import ViewForward, pass_size
from ivvit_cli.evaluation.metrics import Scores
from ivvit_cli.evaluation.order import ordered
from ivvit_cli.evaluation.protocol import Protocol, clip_arguments, most_views
from shards.errors import InputError
from shards.stream.device import DeviceDecoder
from shards.stream.reader import Split
from shards.stream.views import ViewLoader


def evaluate(
    model: nn.Module,
    split: Split,
    *,
    dataset: str,
    protocol: Protocol,
    mean: Sequence[float],
    std: Sequence[float],
    batch: int = 16,
    device: torch.device | str,
    threads: int | None = None,
    decoder: DeviceDecoder | None = None,
    rank: int = 0,
    world: int = 1,
    on_sample: Callable[[], object] | None = None,
) -> Scores:
    """Score every sample of `split` in order with the head `dataset`, under a protocol.

    Rank r of `world` scores the samples r, r + world, …; every rank gets all scores (`all_gather`).

    Args:
        batch: the most views per forward pass; it changes scores by rounding only.
        threads, decoder: as in `ViewLoader`.
        on_sample: called once per sample of this rank.

    Raises:
        InputError: the split is empty, or a sample cannot be read.
        EnvironmentFault: `batch` views do not fit into memory.
    """
    count = len(split)
    if not count:
        raise InputError(f"{dataset}: the split {split.name} holds no sample to evaluate on")
    per_rank = -(-count // world)
    rows = pass_size(batch, per_rank * most_views(split.kind, protocol.views))
    forward = ViewForward(model, dataset, size=rows, average=protocol.average, bf16=protocol.bf16)
    own = torch.zeros(per_rank, len(split.classes), device=device)  # a rank may have fewer samples
    with (
        torch.no_grad(),  # not inference_mode: what a model caches has to stay usable in training
        evaluation_mode(model),
        ViewLoader(
            split,
            views=protocol.views,
            size=protocol.size,
            indices=range(rank, count, world),
            threads=threads,
            pin=torch.device(device).type == "cuda",
            decoder=decoder,
            **clip_arguments(protocol.clip),
        ) as loader,
    ):
        rendered = (
            ordered(each, protocol.order).render(protocol.size, mean, std, device)
            for each in loader
        )
        _score(rendered, forward, own, on_sample)
    return Scores(
        scores=_gathered(own, world)[:count].cpu().numpy(),
        labels=split.samples["label"].astype(np.int64),
        keys=[split.key(i) for i in range(count)],
    )


@contextmanager
def evaluation_mode(model: nn.Module) -> Iterator[None]:
    """Switch every module to evaluation and back to the mode that each was in."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


def _score(
    samples: Iterable[Tensor],
    forward: ViewForward,
    own: Tensor,
    on_sample: Callable[[], object] | None,
) -> None:
    """Write the scores of samples into the first rows of `own`, which may have more."""
    scores: list[Tensor] = []
    for views in samples:
        scores += forward.add(views)
        if on_sample:
            on_sample()
    scores += forward.finish()
    for row, score in enumerate(scores):
        own[row] = score


def _gathered(own: Tensor, world: int) -> Tensor:  # (S / world, C) of each rank -> (S, C)
    if world == 1:
        return own
    parts = [torch.empty_like(own) for _ in range(world)]
    distributed.all_gather(parts, own)
    return torch.stack(parts, dim=1).flatten(0, 1)  # row j of rank r is sample j · world + r
