"""FSDP2: weights, gradients and moments divided among the processes, for what DDP cannot hold.

Zhao et al., PyTorch FSDP, VLDB 2023, in the form of `torch.distributed.fsdp.fully_shard`: parameter
by parameter along its first dimension, gathered block by block for as long as a block runs.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.nn.utils import get_total_norm

from ivvit_cli.errors import UsageError
from ivvit_cli.models import JointModel
from ivvit_cli.models.adapters.encoder import AdaptedEncoder
from ivvit_cli.training.distributed import Ranks


def refuse_adapters(model: JointModel) -> None:
    """Refuse a model that runs its blocks in parts, for only whole blocks are gathered.

    Raises:
        UsageError: it has adapters.
    """
    if isinstance(model.encoder, AdaptedEncoder):
        raise UsageError(
            "train.parallel=fsdp: adapters run the parts of blocks, and FSDP gathers whole blocks",
            hint="train.parallel=ddp: beside a frozen backbone, gradients and moments are small",
        )


def shard(model: JointModel, ranks: Ranks, device: torch.device) -> None:
    """Divide a model's parameters among all processes: each block for itself, then the rest.

    A parameter is a DTensor from here on; its gradient is the mean over the processes, and None
    where none has any. Blocks arrive at the device one after the other, so that it never holds the
    whole model.
    """
    mesh = init_device_mesh(device.type, (ranks.world,))
    for module in (*model.encoder.stages(), model):
        fully_shard(module, mesh=mesh, reshard_after_forward=True)


@contextmanager
def gathered(model: nn.Module) -> Iterator[None]:
    """Have the whole weights in every process, which then need not run as often as the others."""
    parts = [module for module in model.modules() if isinstance(module, FSDPModule)]
    for part in parts:
        part.set_reshard_after_forward(False, recurse=False)
        part.unshard()
    try:
        yield
    finally:
        for part in parts:
            part.set_reshard_after_forward(True, recurse=False)
            part.reshard()


def total_norm(gradients: Sequence[Tensor]) -> Tensor:
    """Return the norm of all gradients, divided or not, as a plain tensor ()."""
    norm: Tensor = get_total_norm(gradients)
    if isinstance(norm, DTensor):
        norm = norm.full_tensor()
    return norm


def whole(value: Any, ranks: Ranks) -> Any:
    """Return nested values with every divided tensor whole, in the leader's memory of the CPU.

    All processes take part, with values of one structure; those of the others come to nothing.
    """
    if isinstance(value, Mapping):
        return {key: whole(each, ranks) for key, each in value.items()}
    if isinstance(value, list):
        return [whole(each, ranks) for each in value]
    if isinstance(value, DTensor):
        full: Tensor = value.full_tensor().detach()
        return full.cpu() if ranks.leads else None
    return value


def share(value: Tensor, like: Tensor) -> Tensor:
    """Return a process's share of a whole tensor that all of them have, divided as another is."""
    if not isinstance(like, DTensor) or value.shape != like.shape:
        return value
    value = value.to(like.device)
    return distribute_tensor(value, like.device_mesh, like.placements, src_data_rank=None)
