"""From plain values to a run that is ready to start: datasets, model, optimiser, loop."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ivvit_cli import __version__
from ivvit_cli.errors import UsageError
from ivvit_cli.models import InputSpec, JointModel, build_model
from ivvit_cli.training.data import DataSpec, Source, head_meta, open_sources, train_stream
from ivvit_cli.training.distributed import Ranks
from ivvit_cli.training.journal import Journal
from ivvit_cli.training.loop import Loading, Periods, Trainer
from ivvit_cli.training.optim import LearningRate, build_optimiser
from ivvit_cli.training.progress import Progress
from ivvit_cli.training.resume import Saved, restore
from ivvit_cli.training.schedule import (
    epoch_length,
    epochs_to_iterations,
    to_iterations,
    updates_of,
)
from ivvit_cli.training.update import Update
from ivvit_cli.training.validation import Validation
from shards.stream.views import parse_views

_OPTIMISER_KEYS = ("name", "lr", "weight_decay", "betas", "momentum", "nesterov")

Section = Mapping[str, Any]


@dataclass(frozen=True)
class Job:
    """A training as plain values: the sections of a recipe, each a mapping as the schema has it."""

    model: Section
    input: Section
    data: Mapping[str, DataSpec]
    schedule: Section
    optim: Section
    train: Section
    eval: Section
    checkpoint: Section
    loader: Section


@dataclass(frozen=True)
class Prepared:
    """A job whose shards are open and whose model is built, with fresh weights.

    `epoch` counts the iterations that show a single dataset once; None where there are several.
    """

    job: Job
    sources: Mapping[str, Source]
    model: JointModel
    input: InputSpec
    total: int
    epoch: float | None

    def iterations(self, period: int | str | None) -> int | None:
        """Return a period of the recipe in iterations."""
        return None if period is None else to_iterations(period, self.epoch)

    def meta(self) -> dict[str, Any]:
        """Return meta.json but for what changes from checkpoint to checkpoint."""
        spec = self.input
        return {
            "ivvit": __version__,
            "model": dict(self.job.model),
            "input": {"size": spec.size, "mean": list(spec.mean), "std": list(spec.std)},
            "eval": {key: self.job.eval[key] for key in ("views", "average", "batch")},
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
        accumulate = self.job.train["accumulate"]
        datasets = {
            name: {
                "kind": source.dataset.kind,
                "samples": len(source.train),
                "classes": len(source.dataset.classes),
                "batch": source.spec.batch,
                "iterations_per_epoch": round(len(source.train) / source.spec.batch, 2),
                "epochs": round(self.total * source.spec.batch / len(source.train), 2),
                "validation": source.validation.name if source.validation else None,
            }
            for name, source in self.sources.items()
        }
        return {
            "datasets": datasets,
            "parameters": sum(p.numel() for p in self.model.parameters()),
            "input_size": self.input.size,
            "iterations": self.total,
            "updates": self.total * len(updates_of(self.job.schedule["kind"], list(datasets), 0)),
            "micro_batches_per_update": accumulate,
            "optimiser": self.job.optim["name"],
            "lr": self.job.optim["lr"],
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
    sources = open_sources(job.data)
    epoch = epoch_length(
        [len(source.train) for source in sources.values()],
        [source.spec.batch for source in sources.values()],
    )
    epochs, iterations = job.schedule["epochs"], job.schedule["iterations"]
    total = iterations if epochs is None else epochs_to_iterations(epochs, epoch)
    torch.manual_seed(job.train["seed"])  # the same fresh weights in every process
    heads = {name: len(source.dataset.classes) for name, source in sources.items()}
    model = build_model(job.model, heads)
    return Prepared(job, sources, model, _input_of(job, model), total, epoch)


def _input_of(job: Job, model: JointModel) -> InputSpec:
    own, wanted = model.input, job.input
    size = wanted["size"] or own.size
    if size != own.size and not job.model["backbone_args"].get("dynamic_img_size"):
        raise UsageError(
            f"input.size is {size}, but {job.model['backbone']} takes {own.size} pixels",
            hint=f"set model.backbone_args.img_size={size}",
        )
    return InputSpec(size, wanted["mean"] or own.mean, wanted["std"] or own.std)


def make_trainer(
    prepared: Prepared,
    run: Path,
    *,
    device: torch.device,
    ranks: Ranks,
    saved: Saved | None,
    journal: Journal | None,
) -> Trainer:
    """Put the loop together; with `saved`, in the state of that checkpoint.

    Raises:
        InputError: the checkpoint's weights do not fit the model.
        UsageError: a value is none that the loop can work with.
    """
    job, spec = prepared.job, prepared.input
    model = prepared.model.to(device)
    optimiser = build_optimiser(
        model.parameters(), **{key: job.optim[key] for key in _OPTIMISER_KEYS}
    )
    if saved:
        restore(saved, model, optimiser)
    if job.train["compile"]:
        compile_blocks(model)
    update = Update(
        model,
        size=spec.size,
        mean=spec.mean,
        std=spec.std,
        label_smoothing=job.optim["label_smoothing"],
        bf16=wants_bf16(job.train["precision"], device),
    )
    return Trainer(
        run=run,
        update=update,
        optimiser=optimiser,
        streams={
            name: train_stream(name, source, size=spec.size, seed=job.train["seed"])
            for name, source in prepared.sources.items()
        },
        validation=_validation(prepared),
        schedule=job.schedule["kind"],
        total=prepared.total,
        rate=_learning_rate(prepared),
        periods=_periods(prepared),
        loading=Loading(**job.loader),
        progress=saved.progress if saved else Progress(),
        meta=prepared.meta(),
        data=prepared.fingerprints(),
        seed=job.train["seed"],
        clip_norm=job.optim["clip_norm"],
        accumulate=job.train["accumulate"],
        device=device,
        ranks=ranks,
        journal=journal,
    )


def wants_bf16(precision: str, device: torch.device) -> bool:
    """Tell whether the model runs under bf16 autocast; `auto` means on CUDA."""
    return precision == "bf16" or (precision == "auto" and device.type == "cuda")


def compile_blocks(model: JointModel) -> None:
    """Compile each block for itself: short compilations, of which equal blocks share one."""
    for block in model.encoder.vit.blocks:
        block.compile(dynamic=False)


def _learning_rate(prepared: Prepared) -> LearningRate:
    optim = prepared.job.optim
    return LearningRate(
        base=optim["lr"],
        kind=optim["lr_schedule"],
        total=prepared.total,
        warmup=prepared.iterations(optim["warmup"]) or 0,
        milestones=[to_iterations(each, prepared.epoch) for each in optim["milestones"]],
        gamma=optim["gamma"],
    )


def _periods(prepared: Prepared) -> Periods:
    job = prepared.job
    return Periods(
        log=job.train["log_every"],
        validate=prepared.iterations(job.eval["every"]),
        save=prepared.iterations(job.checkpoint["every"]),
        keep=job.checkpoint["keep"],
    )


def _validation(prepared: Prepared) -> Validation:
    job, spec, sources = prepared.job, prepared.input, prepared.sources
    return Validation(
        splits={name: each.validation for name, each in sources.items() if each.validation},
        clips={name: source.spec.clip for name, source in sources.items()},
        views=parse_views(job.eval["views"]),
        size=spec.size,
        mean=spec.mean,
        std=spec.std,
        average=job.eval["average"],
        batch=job.eval["batch"],
        threads=job.loader["threads"],
    )
