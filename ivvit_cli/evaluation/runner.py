"""One split through one head: what validation during training, `ivvit eval` and tests call."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, distributed, nn

from ivvit_cli.evaluation.forward import Average, ViewForward, pass_size
from ivvit_cli.evaluation.metrics import Scores
from ivvit_cli.evaluation.protocol import clip_arguments
from shards.errors import InputError
from shards.stream.reader import Split
from shards.stream.views import ViewLoader, Views


def evaluate(
    model: nn.Module,
    split: Split,
    *,
    dataset: str,
    views: Views,
    clip: Mapping[str, Any] | None,
    size: int,
    mean: Sequence[float],
    std: Sequence[float],
    average: Average = "logits",
    batch: int = 16,
    device: torch.device | str,
    threads: int | None = None,
    rank: int = 0,
    world: int = 1,
    on_sample: Callable[[], object] | None = None,
) -> Scores:
    """Score every sample of `split` with the head `dataset`, averaged over its views in order.

    With `world` > 1 each rank scores the samples rank, rank + world, … and all ranks return the
    scores of the whole split (one `all_gather` over `torch.distributed`). The model is put into
    evaluation mode and left as it was.

    Args:
        clip: a recipe's clip section as plain values; None for images.
        size: the side of a square view, in pixels.
        batch: the most views per forward pass; it changes scores by rounding only.
        on_sample: called once per sample of this rank.

    Raises:
        InputError: the split is empty, or a sample cannot be read or decoded.
        EnvironmentFault: `batch` views do not fit into the device's memory.
    """
    count = len(split)
    if not count:
        raise InputError(f"{dataset}: the split {split.name} holds no sample to evaluate on")
    per_sample = views.crops if split.kind == "image" else views.clips * views.crops
    per_rank = -(-count // world)
    rows = pass_size(batch, per_rank * per_sample)
    forward = ViewForward(model, dataset, size=rows, average=average)
    scores: list[Tensor] = []
    loader = ViewLoader(
        split,
        views=views,
        size=size,
        indices=range(rank, count, world),
        threads=threads,
        **clip_arguments(clip),
    )
    # no_grad, not inference_mode: what a model caches on the way must stay usable in training
    with torch.no_grad(), evaluation_mode(model), loader:
        for sample in loader:
            scores += forward.add(sample.render(size, mean, std, device))
            if on_sample:
                on_sample()
        scores += forward.finish()
    own = torch.zeros(per_rank, len(split.classes), device=device)
    if scores:  # a rank beyond the last sample has none
        own[: len(scores)] = torch.stack(scores)
    return Scores(
        scores=_gathered(own, world)[:count].cpu().numpy(),
        labels=split.samples["label"].astype("int64"),
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


def _gathered(own: Tensor, world: int) -> Tensor:  # (S / world, C) of each rank -> (S, C)
    if world == 1:
        return own
    parts = [torch.empty_like(own) for _ in range(world)]
    distributed.all_gather(parts, own)
    return torch.stack(parts, dim=1).flatten(0, 1)  # row j of rank r is sample j · world + r
