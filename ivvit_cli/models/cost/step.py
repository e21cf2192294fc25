"""What a training step takes of each of its GPUs: memory by what it holds, and FLOPs."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil
from typing import Literal

import torch
from torch.utils.flop_counter import FlopCounterMode

from ivvit_cli.models.cost.fake import fake_state, run
from ivvit_cli.models.cost.memory import FLOAT, MOMENTS, Activations
from ivvit_cli.models.cost.operations import OPERATORS
from ivvit_cli.models.joint import JointModel

Parallel = Literal["ddp", "fsdp"]


@dataclass(frozen=True)
class Layout:
    """How a training is spread over processes and micro-batches."""

    parallel: Parallel
    gpus: int
    checkpointing: bool
    accumulate: int

    def samples(self, batch: int) -> int:
        """Return the most samples of a batch that a GPU sees at once."""
        return ceil(ceil(batch / self.gpus) / self.accumulate)


@dataclass(frozen=True)
class StepMemory:
    """The bytes of one GPU; all but activations are float32.

    Attributes:
        exchange: the buckets in which DDP sums gradients; or the blocks that FSDP has together:
            two with their weights, one with its gradient, which is sent, and what is in no block.
        validation: the weights that FSDP has together while it validates.
    """

    weights: int
    gradients: int
    moments: int
    average: int
    exchange: int
    activations: int
    validation: int

    @property
    def total(self) -> int:
        """Return the most that lies there at once."""
        state = self.weights + self.gradients + self.moments + self.average
        return state + max(self.exchange + self.activations, self.validation)


def step_memory(
    model: JointModel,
    layout: Layout,
    *,
    optimiser: str,
    averaged: bool,
    activations: int,
) -> StepMemory:
    """Estimate the memory of a GPU in a training step.

    Args:
        averaged: an average of the weights is kept.
        activations: their bytes, as `peak_activations` gives them.
    """
    total, trained = (FLOAT * count for count in _count(model))
    divided = layout.parallel == "fsdp" and layout.gpus > 1
    share = layout.gpus if divided else 1
    exchange = _gathered(model) if divided else trained if layout.gpus > 1 else 0
    return StepMemory(
        weights=ceil(total / share),
        gradients=ceil(trained / share),
        moments=ceil(MOMENTS[optimiser] * trained / share),
        average=ceil(trained / share) if averaged else 0,
        exchange=exchange,
        activations=activations,
        validation=total if divided else 0,
    )


def _count(model: JointModel) -> tuple[int, int]:
    parameters = [*model.parameters()]
    return (
        sum(parameter.numel() for parameter in parameters),
        sum(parameter.numel() for parameter in parameters if parameter.requires_grad),
    )


def _gathered(model: JointModel) -> int:
    blocks = [
        sum(parameter.numel() for parameter in block.parameters())
        for block in model.encoder.stages()
    ]
    rest = _count(model)[0] - sum(blocks)
    return FLOAT * (4 * max(blocks) + 2 * rest)


def peak_activations(
    kept: Mapping[str, Activations], batches: Mapping[str, int], layout: Layout
) -> int:
    """Estimate the activations of an update in one GPU, whose backward pass is one.

    Gradients on their way through a block take up to half of what the block keeps.

    Args:
        kept: of each dataset.
        batches: samples of each dataset in the update, over all GPUs.
    """
    counts = {name: layout.samples(batch) for name, batch in batches.items()}
    held = sum(
        kept[name].until_backward(count, checkpointing=layout.checkpointing)
        for name, count in counts.items()
    )
    blocks = 1.5 if layout.checkpointing else 0.5  # recomputed, one at a time
    return held + ceil(blocks * max(kept[name].of_block(n) for name, n in counts.items()))


def training_flops(
    model: JointModel, shape: tuple[int, ...], dataset: str, *, checkpointing: bool
) -> int:
    """Count the FLOPs of one input of a shape in a training step; a multiply-add is two.

    Args:
        checkpointing: the forward pass is computed twice.
    """
    training = model.training
    model.train()
    forward = FlopCounterMode(display=False, custom_mapping=OPERATORS)
    backward = FlopCounterMode(display=False, custom_mapping=OPERATORS)
    with fake_state(model, trained=True) as state:
        with forward:
            loss = run(model, state, (1, *shape), dataset).sum()
        with backward:
            torch.autograd.backward(loss)
    model.train(training)
    return (1 + checkpointing) * forward.get_total_flops() + backward.get_total_flops()
