"""A job that is ready to start: its shards open, its model built, its periods counted."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from ivvit_cli import __version__
from ivvit_cli.errors import UsageError
from ivvit_cli.models import InputSpec, JointModel, build_model
from ivvit_cli.training.data import Source, head_meta, open_sources
from ivvit_cli.training.fsdp import refuse_adapters
from ivvit_cli.training.job import Job
from ivvit_cli.training.sampling import epoch_length, mean_batch, sampling_weights
from ivvit_cli.training.schedule import JointSchedule, to_iterations


@dataclass(frozen=True)
class Timetable:
    """The moments and periods of a run in iterations; None for never before the end."""

    total: int
    warmup: int
    milestones: tuple[int, ...]
    validate: int | None
    save: int | None


@dataclass(frozen=True)
class Prepared:
    """A job whose shards are open and whose model is built, with fresh weights."""

    job: Job
    sources: Mapping[str, Source]
    model: JointModel
    input: InputSpec
    times: Timetable
    schedule: JointSchedule

    def meta(self) -> dict[str, Any]:
        """Return meta.json but for what changes from checkpoint to checkpoint."""
        spec = self.input
        return {
            "ivvit": __version__,
            "model": dict(self.job.model),
            "input": {"size": spec.size, "mean": list(spec.mean), "std": list(spec.std)},
            "eval": {
                **{key: self.job.eval[key] for key in ("views", "average", "batch")},
                "precision": self.job.train["precision"],
            },
            "heads": {name: head_meta(source) for name, source in self.sources.items()},
        }

    def fingerprints(self) -> dict[str, str]:
        """Return the sha256 of each training split's index, which names its samples in order."""
        return {
            name: source.dataset.info.splits[source.train.name].index_sha256
            for name, source in self.sources.items()
        }

    def plan(self) -> dict[str, Any]:
        """Return what `--dry-run` shows."""
        steps, updates = self.schedule.steps(self.times.total), self.schedule.updates(0)
        return {
            "datasets": {name: self._plan_of(name, steps[name]) for name in self.sources},
            "schedule": self.schedule.kind,
            "parameters": sum(p.numel() for p in self.model.parameters()),
            "trained": sum(p.numel() for p in self.model.parameters() if p.requires_grad),
            "input_size": self.input.size,
            "iterations": self.times.total,
            "updates": self.times.total * len(updates),
            "micro_batches_per_update": self.job.train["accumulate"],
            "optimiser": self.job.optim["name"],
            "lr": self.job.optim["lr"],
        }

    def _plan_of(self, name: str, steps: int) -> dict[str, Any]:
        source = self.sources[name]
        samples = len(source.train)
        batch = mean_batch(self.job.schedule, source, self.schedule.weights, name)
        return {
            "kind": source.dataset.kind,
            "samples": samples,
            "classes": len(source.dataset.classes),
            "batch": round(batch, 2),
            "steps_per_epoch": round(samples / batch, 2),
            "epochs": round(steps * batch / samples, 2),
            "loss_weight": source.spec.weight,
            "validation": source.validation.name if source.validation else None,
        }


def prepare(job: Job) -> Prepared:
    """Open the shards and build the model of a job.

    Raises:
        InputError: the shards of a dataset are missing, damaged or empty.
        UsageError: the values do not fit the shards or one another.
    """
    if job.train["deterministic"]:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)
    sources = open_sources(job.data, job.loader["cache"])
    times = resolve_periods(job, epoch_length(job.schedule, sources))
    torch.manual_seed(job.train["seed"])  # the same fresh weights in every process
    heads = {name: len(source.dataset.classes) for name, source in sources.items()}
    model = build_model(job.model, heads)
    refuse_unfit(job, model)
    schedule = JointSchedule(
        job.schedule["kind"],
        sampling_weights(job.schedule, sources),
        batch=job.schedule["batch"] or 0,
        seed=job.train["seed"],
        total=times.total,
    )
    return Prepared(job, sources, model, input_of(job, model), times, schedule)


def refuse_unfit(job: Job, model: JointModel) -> None:
    """Refuse what a model cannot be trained with.

    Raises:
        UsageError: FSDP cannot divide it.
    """
    if job.train["parallel"] == "fsdp":
        refuse_adapters(model)


def resolve_periods(job: Job, epoch: float | None) -> Timetable:
    """Return the moments of a job in iterations.

    Args:
        epoch: iterations per epoch (`epoch_length`); None where several datasets are trained.

    Raises:
        UsageError: a moment is given in epochs, but several datasets are trained.
    """
    schedule, optim = job.schedule, job.optim
    epochs = schedule["epochs"] and f"{schedule['epochs']}ep"
    return Timetable(
        total=schedule["iterations"] or _resolve("schedule.epochs", epochs, epoch),
        warmup=_resolve("optim.warmup", optim["warmup"], epoch),
        milestones=tuple(_resolve("optim.milestones", m, epoch) for m in optim["milestones"]),
        validate=_resolve("eval.every", job.eval["every"], epoch),
        save=_resolve("checkpoint.every", job.checkpoint["every"], epoch),
    )


def _resolve(key: str, moment: Any, epoch: float | None) -> Any:
    try:
        return None if moment is None else to_iterations(moment, epoch)
    except UsageError as error:
        raise UsageError(f"{key}={moment}: {error.message}", hint=error.hint) from None


def input_of(job: Job, model: JointModel) -> InputSpec:
    """Return what the model is fed: the recipe's values, else the backbone's own.

    Raises:
        UsageError: the backbone takes another size.
    """
    own, wanted = model.input, job.input
    size = wanted["size"] or own.size
    if size != own.size and not job.model["backbone_args"].get("dynamic_img_size"):
        raise UsageError(
            f"input.size is {size}, but {job.model['backbone']} takes {own.size} pixels",
            hint=f"set model.backbone_args.img_size={size}",
        )
    return InputSpec(size, wanted["mean"] or own.mean, wanted["std"] or own.std)
