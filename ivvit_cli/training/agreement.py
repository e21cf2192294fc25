"""What the processes of a run agree on in every update, and the random numbers that each has."""

import math
from hashlib import blake2b
from typing import NamedTuple

import torch
from torch import Tensor

from ivvit_cli.training.distributed import Ranks, sum_over
from ivvit_cli.training.interrupt import STOPPING


class Verdict(NamedTuple):
    """What all processes agree on after the backward pass of an update."""

    losses: list[float]  # per dataset
    hits: list[float]
    finite: bool  # the losses and the gradient
    signal: int  # that any of them was sent; 0 for none


def agree(ranks: Ranks, sums: Tensor, norm: Tensor, received: int) -> Verdict:
    """Sum over the processes what each has seen, and read it once.

    Args:
        sums: (datasets, 2): this process's loss and hits.
        norm: (), of the gradient, the same in all.
        received: the signal that this process was sent, or 0.
    """
    signals = torch.tensor([float(received == number) for number in STOPPING])
    seen = torch.cat([sums.flatten(), signals.to(sums.device, non_blocking=True)])
    *values, length = torch.cat([sum_over(ranks, seen), norm.reshape(1).to(seen)]).tolist()
    values, counts = values[: sums.numel()], values[sums.numel() :]
    losses, hits = values[::2], values[1::2]
    sent = next((int(number) for number, count in zip(STOPPING, counts, strict=True) if count), 0)
    return Verdict(losses, hits, all(map(math.isfinite, [*losses, length])), sent)


def place_seed(seed: int, iteration: int, number: int, rank: int) -> int:
    """Return a seed that follows from the place in the run, so that resuming needs no state."""
    place = f"{seed} {iteration} {number} {rank}".encode()
    return int.from_bytes(blake2b(place, digest_size=8).digest(), "little", signed=True)
