"""What `ivvit train --dry-run` tells, of a run that could start or lacks its shards."""

from math import ceil
from typing import Any

import torch

from ivvit_cli.models import JointModel, build_model
from ivvit_cli.training.forecast import Forecast, Load, sample_shape
from ivvit_cli.training.job import Job
from ivvit_cli.training.machine import Machine
from ivvit_cli.training.prepared import Prepared, input_of, refuse_unfit
from ivvit_cli.training.sampling import mean_batch


def plan_run(prepared: Prepared, machine: Machine) -> dict[str, Any]:
    """Return the plan of a run, and what it will take of a machine."""
    schedule, job = prepared.schedule, prepared.job
    steps = schedule.steps(prepared.times.total)
    loads = {}
    for name, source in prepared.sources.items():
        batch = mean_batch(job.schedule, source, schedule.weights, name)
        shape = sample_shape(source.spec.clip, prepared.input.size)
        loads[name] = Load(shape, ceil(batch), steps[name] * batch)
    return prepared.plan() | Forecast(job, prepared.model, loads, machine).document()


def plan_without_shards(job: Job, machine: Machine) -> dict[str, Any]:
    """Return what can be told before there are shards; heads are left out of the parameters.

    Where the sizes of datasets decide about an update (`weighted`), all of it is taken to be of the
    dataset whose samples are largest.

    Raises:
        UsageError: the model cannot be built so.
    """
    with torch.device("meta"):
        model = build_model(job.model, dict.fromkeys(job.data, 1))
    refuse_unfit(job, model)
    size, iterations = input_of(job, model).size, job.schedule["iterations"]
    return {
        "datasets": {
            name: {
                "kind": "image" if spec.clip is None else "video",
                "batch": spec.batch,
                "loss_weight": spec.weight,
            }
            for name, spec in job.data.items()
        },
        "schedule": job.schedule["kind"],
        "parameters": _without_heads(model, trained=False),
        "trained": _without_heads(model, trained=True),
        "input_size": size,
        "iterations": iterations,
        "micro_batches_per_update": job.train["accumulate"],
        "optimiser": job.optim["name"],
        "lr": job.optim["lr"],
    } | Forecast(job, model, _loads(job, size, iterations), machine).document()


def _without_heads(model: JointModel, *, trained: bool) -> int:
    parameters = model.encoder.parameters()
    return sum(p.numel() for p in parameters if p.requires_grad or not trained)


def _loads(job: Job, size: int, iterations: int | None) -> dict[str, Load]:
    shapes = {name: sample_shape(spec.clip, size) for name, spec in job.data.items()}
    if job.schedule["kind"] == "weighted":
        largest = max(shapes, key=lambda name: len(shapes[name]) * shapes[name][0])
        batches = {largest: job.schedule["batch"]}
    else:
        batches = {name: spec.batch for name, spec in job.data.items()}
    shared = job.schedule["kind"] in ("sampled", "task_by_task") and len(batches) > 1
    length = None if shared else iterations
    return {
        name: Load(shapes[name], batch, None if length is None else length * batch)
        for name, batch in batches.items()
    }
