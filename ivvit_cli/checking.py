"""What `ivvit recipe check` finds: a job's shards, its model, and weights tried on."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from ivvit_cli.errors import EnvironmentFault
from ivvit_cli.meant import hint_at_shards
from ivvit_cli.models import JointModel, build_model, load_weights
from ivvit_cli.models.weights import is_remote, load_parts
from ivvit_cli.training.data import DataSpec, open_sources, shard_command
from ivvit_cli.training.job import Job
from ivvit_cli.training.prepared import input_of, resolve_periods
from shards.urls import is_url


def check_job(job: Job) -> dict[str, Any]:
    """Return the state of a job's model, weights, parts and datasets as plain values.

    The model has no memory for its weights, unless those of a file or a run are tried on. What is
    not there yet has a `state` other than `good`.

    Raises:
        UsageError: the model cannot be built so, or periods have no meaning.
        InputError: shards or weights that are there are damaged, or do not fit.
    """
    cache = job.loader["cache"]
    datasets = {name: _check_dataset(name, spec, cache) for name, spec in job.data.items()}
    with torch.device("meta"):
        model = build_model(job.model, {name: d["classes"] or 1 for name, d in datasets.items()})
    model.to_empty(device="cpu")
    found = _check_model(job, model)
    head = job.model["head"]
    sized = head if head and datasets[head]["classes"] else None  # of an unknown size nothing fits
    return {
        "model": found,
        "weights": _check_weights(model, job.model["weights"], sized),
        "parts": {part: _check_part(model, part, each) for part, each in job.parts.items()},
        "datasets": datasets,
    }


def what_lacks(job: Job, found: Mapping[str, Any]) -> list[str]:
    """Return what to do before training can start: weights to get, shards to make."""
    weights = (found["weights"], *found["parts"].values())
    hints = [f"{each['detail']}: {each['hint']}" for each in weights if each["state"] != "good"]
    missing = (name for name in job.data if found["datasets"][name]["state"] != "good")
    specs = ((name, job.data[name]) for name in missing)
    return hints + [hint_at_shards(spec.folder, shard_command(name, spec)) for name, spec in specs]


def _check_dataset(dataset: str, spec: DataSpec, cache: dict[str, str | None]) -> dict[str, Any]:
    if not is_url(spec.folder) and not Path(spec.folder).is_dir():
        return {"state": "no shards yet", "detail": str(spec.folder), "classes": None}
    source = open_sources({dataset: spec}, cache)[dataset]
    classes = len(source.dataset.classes)
    detail = f"{len(source.train)} {source.dataset.kind}s in {spec.split!r}, {classes} classes"
    return {"state": "good", "detail": detail, "classes": classes}


def _check_model(job: Job, model: JointModel) -> dict[str, Any]:
    # Whether epochs have a meaning is checked here; how long one is, the shards would tell.
    has_epochs = len(job.data) == 1 or job.schedule["kind"] == "weighted"
    resolve_periods(job, epoch=1.0 if has_epochs else None)
    parameters = sum(parameter.numel() for parameter in model.encoder.parameters())
    return {"parameters": parameters, "size": input_of(job, model).size}


def _check_weights(model: JointModel, source: str | None, head: str | None) -> dict[str, Any]:
    if source is None:
        return {"state": "good", "detail": "random"}
    return _check_source(source, lambda: load_weights(model, source, head).lines()[0])


def _check_part(model: JointModel, part: str, source: str) -> dict[str, Any]:
    return _check_source(source, lambda: load_parts(model, {part: source})[0])


def _check_source(source: str, load: Callable[[], str]) -> dict[str, Any]:
    if is_remote(source):
        return {"state": "good", "detail": f"{source}, fetched when training starts"}
    try:
        return {"state": "good", "detail": load()}
    except EnvironmentFault as error:
        return {"state": "not there yet", "detail": source, "hint": error.hint}
