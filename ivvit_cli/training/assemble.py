"""From plain values to a run that is ready to start: datasets, model, optimiser, loop."""

import os
from pathlib import Path
from typing import Any

import torch

from ivvit_cli.errors import UsageError
from ivvit_cli.evaluation.device import wants_bf16
from ivvit_cli.evaluation.protocol import Protocol
from ivvit_cli.models import InputSpec, JointModel, build_model
from ivvit_cli.models.weights.frozen import Frozen
from ivvit_cli.runs import fit_weights
from ivvit_cli.training.average import WeightAverage
from ivvit_cli.training.compiling import compile_blocks
from ivvit_cli.training.data import Source, open_sources, train_stream
from ivvit_cli.training.distributed import Ranks
from ivvit_cli.training.fsdp import refuse_adapters, shard
from ivvit_cli.training.job import Job
from ivvit_cli.training.journal import Journal
from ivvit_cli.training.loop import Trainer
from ivvit_cli.training.mixing import Mixing
from ivvit_cli.training.optim import LearningRate, build_optimiser, parameter_groups
from ivvit_cli.training.prepared import Prepared, Timetable
from ivvit_cli.training.progress import RunProgress
from ivvit_cli.training.rand_augment import RandAugment
from ivvit_cli.training.resume import Saved, restore
from ivvit_cli.training.sampling import epoch_length, sampling_weights
from ivvit_cli.training.schedule import JointSchedule, to_iterations
from ivvit_cli.training.settings import Loading, Periods
from ivvit_cli.training.update import Update
from ivvit_cli.training.validation import Validation
from shards.stream.device import DeviceDecoder
from shards.stream.views import parse_views

_OPTIMISER_KEYS = ("name", "lr", "weight_decay", "betas", "momentum", "nesterov")


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


def make_trainer(
    prepared: Prepared,
    run: Path,
    *,
    device: torch.device,
    ranks: Ranks,
    saved: Saved | None,
    frozen: Frozen | None,
    journal: Journal | None,
) -> Trainer:
    """Put the loop together; with `saved`, in the state of that checkpoint.

    Args:
        frozen: what checkpoints name instead of storing it.

    Raises:
        InputError: the checkpoint's weights do not fit the model.
        UsageError: a value is none that the loop can work with.
        EnvironmentFault: `loader.decode` is gpu, and the device is none.
    """
    job, spec = prepared.job, prepared.input
    loading = _loading(job, device)
    if saved:
        fit_weights(prepared.model, saved.weights, saved.checkpoint)
    if job.train["parallel"] == "fsdp" and ranks.world > 1:
        shard(prepared.model, ranks, device)
    model = prepared.model.to(device)
    groups = parameter_groups(model, job.optim["layer_decay"])
    optimiser = build_optimiser(groups, **{key: job.optim[key] for key in _OPTIMISER_KEYS})
    if saved:
        restore(saved, optimiser)
    average = _average(job, model, saved)
    if job.train["compile"]:
        modes = sum(2 if source.validation else 1 for source in prepared.sources.values())
        compilations = compile_blocks(model, passes=modes)
        if journal:
            journal.watch(compilations)
    model.encoder.vit.set_grad_checkpointing(job.train["activation_checkpointing"])
    bf16 = wants_bf16(job.train["precision"], device)
    update = _update(prepared, model, bf16)
    return Trainer(
        run=run,
        update=update,
        optimiser=optimiser,
        streams={
            name: train_stream(
                name, source, prepared.schedule, size=spec.size, seed=job.train["seed"]
            )
            for name, source in prepared.sources.items()
        },
        validation=_validation(prepared, bf16, loading),
        schedule=prepared.schedule,
        total=prepared.times.total,
        rate=_learning_rate(prepared),
        periods=_periods(prepared),
        loading=loading,
        progress=saved.progress if saved else RunProgress(),
        meta=prepared.meta() | {"frozen": frozen.note() if frozen else None},
        unsaved=frozen.names if frozen else frozenset(),
        data=prepared.fingerprints(),
        seed=job.train["seed"],
        clip_norm=job.optim["clip_norm"],
        accumulate=job.train["accumulate"],
        average=average,
        device=device,
        ranks=ranks,
        journal=journal,
    )


def _update(prepared: Prepared, model: JointModel, bf16: bool) -> Update:
    spec, sources = prepared.input, prepared.sources
    return Update(
        model,
        size=spec.size,
        mean=spec.mean,
        std=spec.std,
        weights={name: source.spec.weight for name, source in sources.items()},
        mixing={
            name: Mixing(source.spec.augment["mixup"], source.spec.augment["cutmix"])
            for name, source in sources.items()
        },
        changes={name: _change(source) for name, source in sources.items()},
        label_smoothing=prepared.job.optim["label_smoothing"],
        bf16=bf16,
    )


def _average(job: Job, model: JointModel, saved: Saved | None) -> WeightAverage | None:
    wanted, kept = job.train["ema"] is not None, saved.average if saved else None
    if not wanted and not kept:
        return None
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    average = WeightAverage(trained, job.train["ema"] or 0.0)
    if kept:  # the model has the average, also where training goes on without one
        average.restore(kept["updates"], kept["weights"])
    return average if wanted else None


def _change(source: Source) -> RandAugment | None:
    section = source.spec.augment["rand_augment"]
    return RandAugment(**section) if section else None


def _loading(job: Job, device: torch.device) -> Loading:
    decoder = DeviceDecoder(device) if job.loader["decode"] == "gpu" else None
    return Loading(job.loader["threads"], job.loader["prefetch"], decoder)


def _learning_rate(prepared: Prepared) -> LearningRate:
    optim, times = prepared.job.optim, prepared.times
    return LearningRate(
        base=optim["lr"],
        kind=optim["lr_schedule"],
        total=times.total,
        warmup=times.warmup,
        milestones=times.milestones,
        gamma=optim["gamma"],
    )


def _periods(prepared: Prepared) -> Periods:
    job, times = prepared.job, prepared.times
    return Periods(
        log=job.train["log_every"],
        validate=times.validate,
        save=times.save,
        keep=job.checkpoint["keep"],
    )


def _validation(prepared: Prepared, bf16: bool, loading: Loading) -> Validation:
    job, spec, sources = prepared.job, prepared.input, prepared.sources
    views, average = parse_views(job.eval["views"]), job.eval["average"]
    return Validation(
        splits={name: each.validation for name, each in sources.items() if each.validation},
        protocols={
            name: Protocol(views, source.spec.clip, spec.size, average, bf16)
            for name, source in sources.items()
        },
        mean=spec.mean,
        std=spec.std,
        batch=job.eval["batch"],
        threads=loading.threads,
        decoder=loading.decoder,
    )
