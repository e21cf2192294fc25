"""A trainer that measures itself: fresh weights, the samples of nobody's run, nothing saved."""

import time
from dataclasses import replace
from pathlib import Path

import torch

from ivvit_cli.errors import UsageError
from ivvit_cli.training.assemble import make_trainer
from ivvit_cli.training.distributed import Ranks, own_device, ranks_of_environment
from ivvit_cli.training.job import Job
from ivvit_cli.training.loop import Trainer
from ivvit_cli.training.prepared import Prepared, prepare
from ivvit_cli.training.progress import RunProgress
from ivvit_cli.training.schedule import JointSchedule


def device_of(name: str) -> torch.device:
    """Return the device that is measured, the wanted one.

    Raises:
        UsageError: there is no such device, or torchrun started several processes.
        EnvironmentFault: this machine has no such GPU.
    """
    if ranks_of_environment().world > 1:
        raise UsageError("ivvit bench measures one process", hint="leave torchrun out")
    return own_device(Ranks(), name)


def is_in_turn(schedule: JointSchedule) -> bool:
    """Tell whether every update of a schedule sees one dataset, each of them sooner or later."""
    return schedule.kind in ("sequential", "sampled", "task_by_task")


def trainer_of(job: Job, device: torch.device) -> tuple[Prepared, Trainer]:
    """Return a job's trainer, ready to rehearse every kind of update that its schedule has.

    A schedule that comes to a dataset late visits each in turn here, as its updates cost the same.
    The samples are others in every call, so that those of the last are not read from memory.

    Raises:
        IvvitError: as `prepare` and `make_trainer`.
    """
    prepared = prepare(job)
    trainer = make_trainer(
        prepared, Path(), device=device, ranks=Ranks(), saved=None, frozen=None, journal=None
    )
    schedule = prepared.schedule
    if is_in_turn(schedule):
        schedule = JointSchedule("sequential", schedule.weights)
    progress = RunProgress(iteration=int(time.time()))
    return prepared, replace(trainer, schedule=schedule, progress=progress)
