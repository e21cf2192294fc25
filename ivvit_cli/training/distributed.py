"""The processes of one run: who they are, what they agree on, and what happens when one is lost."""

import atexit
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import torch
from torch import distributed

from ivvit_cli.errors import IvvitError, RunInterrupted
from ivvit_cli.evaluation.device import choose_device

Value = TypeVar("Value")

# A process that dies closes its connections, which the others see at once; this is for one that
# hangs, and must outlast the leader's longest save.
_PATIENCE = timedelta(minutes=10)
_SIGNS_OF_LOSS = ("gloo", "nccl", "peer", "socket", "tcpstore")


@dataclass(frozen=True)
class Ranks:
    """This process among those that torchrun started: `rank` of `world`, `local` on its machine."""

    rank: int = 0
    world: int = 1
    local: int = 0

    @property
    def leads(self) -> bool:
        """Whether this process prints and writes for all."""
        return self.rank == 0


def ranks_of_environment() -> Ranks:
    """Return what torchrun's variables say; without them, the only process."""
    return Ranks(
        rank=int(os.environ.get("RANK", 0)),
        world=int(os.environ.get("WORLD_SIZE", 1)),
        local=int(os.environ.get("LOCAL_RANK", 0)),
    )


def own_device(ranks: Ranks, wanted: str) -> torch.device:
    """Return this process's device: the wanted one (`auto`: the best); of several GPUs, its own.

    Raises:
        UsageError, EnvironmentFault: as `choose_device`.
    """
    device = choose_device(None if wanted == "auto" else wanted)
    if device.type == "cuda":
        number = ranks.local if ranks.world > 1 else device.index or 0
        device = choose_device(f"cuda:{number}")  # set_device refuses one without a number
        torch.cuda.set_device(device)
    return device


@contextmanager
def joined(ranks: Ranks, device: torch.device) -> Iterator[None]:
    """Connect the processes (nccl on CUDA, gloo elsewhere) for the length of a `with` block.

    Raises:
        IvvitError: inside the block, another process was lost.
    """
    if ranks.world == 1:
        yield
        return
    backend = "nccl" if device.type == "cuda" else "gloo"
    distributed.init_process_group(backend, timeout=_PATIENCE)
    try:
        yield
    except RunInterrupted:  # which all have agreed on
        distributed.destroy_process_group()
        raise
    except Exception as error:
        # To take nccl down waits for the others, and they wait for this process in a collective.
        atexit.register(os._exit, error.exit_code if isinstance(error, IvvitError) else 1)
        if not (isinstance(error, RuntimeError) and _is_loss(error)):
            raise
        raise IvvitError(
            f"process {ranks.rank} of {ranks.world} stops: another one ended or hangs",
            hint="its own message says why; --resume goes on from the last checkpoint, if any",
        ) from error
    else:
        distributed.destroy_process_group()


def _is_loss(error: RuntimeError) -> bool:
    return any(sign in str(error).lower() for sign in _SIGNS_OF_LOSS)


def sum_over(ranks: Ranks, values: torch.Tensor) -> torch.Tensor:
    """Return the sum of a tensor over all processes, the same in each."""
    if ranks.world > 1:
        distributed.all_reduce(values)
    return values


def from_leader(ranks: Ranks, value: Value) -> Value:
    """Return the leader's value in every process."""
    box = [value]
    if ranks.world > 1:
        distributed.broadcast_object_list(box, src=0)
    return box[0]


def gather_all(ranks: Ranks, value: Value) -> list[Value]:
    """Return every process's value, in the order of ranks."""
    if ranks.world == 1:
        return [value]
    values: list[Value | None] = [None] * ranks.world
    distributed.all_gather_object(values, value)
    return [value for value in values if value is not None]
