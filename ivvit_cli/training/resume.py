"""From a checkpoint back to the state of a run, so that it goes on as if it had never stopped."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from ivvit_cli.bounded import bounded_memory
from ivvit_cli.errors import InputError
from ivvit_cli.models.weights.frozen import Frozen, complete
from ivvit_cli.runs import (
    CHECKPOINTS,
    STATE_FILE,
    WEIGHTS_FILE,
    read_meta,
    step_name,
)
from ivvit_cli.training.checkpoint import link
from ivvit_cli.training.distributed import Ranks
from ivvit_cli.training.folder import cut_metrics
from ivvit_cli.training.fsdp import share
from ivvit_cli.training.progress import RunProgress


@dataclass(frozen=True)
class Saved:
    """What a checkpoint holds, in memory, with the frozen weights that it names."""

    checkpoint: Path
    weights: dict[str, Tensor]
    frozen: Frozen | None
    optimiser: dict[str, Any]
    progress: RunProgress
    data: dict[str, str]  # a fingerprint of each dataset's training samples
    threads: int  # of torch, on which the rounding of sums depends
    world: int
    average: Mapping[str, Any] | None = None


def read_saved(checkpoint: Path, backbone: str | None = None) -> Saved:
    """Read a checkpoint to the CPU; state.pt may hold tensors and plain values, nothing else.

    Args:
        backbone: where the frozen weights are, if not where the checkpoint says.

    Raises:
        InputError: it holds something else, or takes far more memory than its size.
        EnvironmentFault: frozen weights are not there.
    """
    path = checkpoint / STATE_FILE
    try:
        with bounded_memory(path):
            state = torch.load(path, map_location="cpu", weights_only=True)
    except (UnpicklingError, RuntimeError) as error:
        raise InputError(
            f"{path}: refused: it holds more than tensors and could run code"
        ) from error
    meta = read_meta(checkpoint)
    stored = load_file(checkpoint / WEIGHTS_FILE, device="cpu")
    weights = complete(stored, meta, checkpoint, backbone)
    frozen = None
    if meta.frozen:
        names = frozenset(weights.keys() - stored.keys())
        frozen = Frozen(backbone or meta.frozen.source, names, meta.frozen.sha256)
    return Saved(
        checkpoint=checkpoint,
        weights=weights,
        frozen=frozen,
        optimiser=state["optimiser"],
        progress=RunProgress.restored(state["progress"]),
        data=state["data"],
        threads=state["threads"],
        world=state["world"],
        average=state.get("average"),
    )


def restore(saved: Saved, optimiser: torch.optim.Optimizer) -> None:
    """Load the moments; the optimiser's settings stay those of the recipe."""
    parameters = [each for group in optimiser.param_groups for each in group["params"]]
    state = {
        number: {name: share(value, parameters[number]) for name, value in moments.items()}
        for number, moments in saved.optimiser["state"].items()
    }
    settings = [{k: v for k, v in g.items() if k != "params"} for g in optimiser.param_groups]
    optimiser.load_state_dict({**saved.optimiser, "state": state})
    for group, own in zip(optimiser.param_groups, settings, strict=True):
        group.update(own)


def rewind_run(run: Path, progress: RunProgress) -> None:
    """Let the run folder say what it said after these iterations.

    A best score whose checkpoint is gone or damaged is forgotten, so that the next takes its place.
    """
    cut_metrics(run, progress)
    for name, best in [*progress.best.items()]:
        folder = run / CHECKPOINTS / step_name(best.iteration)
        if folder.is_dir():  # a kill may have come between the save and its links
            link(run, f"best-{name}", folder)
        else:
            del progress.best[name]


def keep_arithmetic(saved: Saved, ranks: Ranks, warn: Callable[[str], None]) -> None:
    """Use as many threads as before, and say when results can only be equal up to rounding."""
    torch.set_num_threads(saved.threads)
    if saved.world != ranks.world:
        warn(
            f"the run had {saved.world} processes and now has {ranks.world}: the same samples in "
            "the same order, but sums are rounded differently"
        )
