"""What `ivvit model info` tells of a recipe's model; nothing is computed and nothing downloaded."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from ivvit_cli.errors import EnvironmentFault
from ivvit_cli.models import JointModel, build_model
from ivvit_cli.models.cost import (
    activation_bytes,
    count_multiply_adds,
    count_parameters,
    state_bytes,
)
from ivvit_cli.models.weights import is_remote
from ivvit_cli.models.weights.load import match_weights
from ivvit_cli.models.weights.parts import match_part
from ivvit_cli.models.weights.source import read_source
from ivvit_cli.training.data import DataSpec, open_sources
from ivvit_cli.training.job import Job
from ivvit_cli.training.prepared import input_of
from shards.stream.views import Views
from shards.urls import is_url


def describe(job: Job, views: Views, counts: Mapping[str, int]) -> dict[str, Any]:
    """Return parameters, multiply-adds, memory and weights of a job's model as plain values.

    Args:
        views: how many views of a sample an evaluation looks at; an image has crops alone.
        counts: the number of classes of datasets whose shards are not there; a head of which it is
            unknown is left out.

    Raises:
        UsageError: the model cannot be built so.
        InputError: shards or weights that are there are damaged, or do not fit.
    """
    classes = _class_names(job)
    sizes = {name: len(names) for name, names in classes.items()} | dict(counts)
    with torch.device("meta"):
        model = build_model(job.model, {name: sizes.get(name, 1) for name in job.data})
    parts = count_parameters(model)
    unknown = [name for name in job.data if name not in sizes]
    for name in unknown:
        del parts[f"head {name}"]
    trained, size = sum(part.trainable for part in parts.values()), input_of(job, model).size
    return {
        "backbone": job.model["backbone"],
        "temporal": job.model["temporal"],
        "size": size,
        "views": str(views),
        "parameters": {
            "total": sum(part.total for part in parts.values()),
            "trainable": trained,
            "parts": {name: vars(part) for name, part in parts.items()},
            "without_head": unknown,
        },
        "state_bytes": state_bytes(model, job.optim["name"]),
        "datasets": {
            name: _cost(model, name, spec, job, size, views) for name, spec in job.data.items()
        },
        "weights": _weights(model, job, classes),
        "parts": {part: _part(model, part, source) for part, source in job.parts.items()},
    }


def _class_names(job: Job) -> dict[str, Sequence[str]]:
    there = {
        name: spec
        for name, spec in job.data.items()
        if not is_url(spec.folder) and Path(spec.folder).is_dir()
    }
    sources = open_sources(there, job.loader["cache"])
    return {name: source.dataset.classes for name, source in sources.items()}


def _cost(
    model: JointModel, name: str, spec: DataSpec, job: Job, size: int, views: Views
) -> dict[str, Any]:
    frames = spec.clip["frames"] if spec.clip else None
    shape = (3, size, size) if frames is None else (frames, 3, size, size)
    count = views.crops if frames is None else views.clips * views.crops
    adds = count_multiply_adds(model, shape, name)
    memory = activation_bytes(
        model,
        shape,
        name,
        bf16=job.train["precision"] != "fp32",
        checkpointing=job.train["activation_checkpointing"],
    )
    batch = -(-(spec.batch or job.schedule["batch"]) // job.train["accumulate"])
    return {
        "frames": frames,
        "views": count,
        "multiply_adds": adds.total,
        "multiply_adds_without_attention": adds.linear,
        "multiply_adds_of_views": count * adds.total,
        "multiply_adds_of_views_without_attention": count * adds.linear,
        "batch": batch,
        "activation_bytes": memory,
        "step_bytes": batch * memory,
    }


def _weights(model: JointModel, job: Job, classes: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    source, head = job.model["weights"], job.model["head"]
    if source is None:
        return {"source": None, "report": ["random"]}
    return _tried_on(
        source,
        lambda: match_weights(
            model, read_source(source), source, head=head, classes=classes
        ).report.lines(),
    )


def _part(model: JointModel, part: str, source: str) -> dict[str, Any]:
    return _tried_on(source, lambda: [match_part(model, part, source)[1]])


def _tried_on(source: str, match: Callable[[], list[str]]) -> dict[str, Any]:
    if is_remote(source):
        return {"source": source, "report": [f"{source}: fetched when training starts"]}
    try:
        return {"source": source, "report": match()}
    except EnvironmentFault as error:
        return {"source": source, "report": [f"{source}: not there yet", f"  {error.hint}"]}
