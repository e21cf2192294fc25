"""From a job that is ready to start to its loop: optimiser, losses, validation, settings."""

from pathlib import Path

import torch

from ivvit_cli.evaluation.device import wants_bf16
from ivvit_cli.evaluation.protocol import Protocol
from ivvit_cli.models import JointModel
from ivvit_cli.models.weights.frozen import Frozen
from ivvit_cli.runs import fit_weights
from ivvit_cli.training.average import WeightAverage
from ivvit_cli.training.compiling import compile_blocks
from ivvit_cli.training.data import Source, train_stream
from ivvit_cli.training.distributed import Ranks
from ivvit_cli.training.fsdp import shard
from ivvit_cli.training.job import Job
from ivvit_cli.training.journal import Journal
from ivvit_cli.training.loop import Trainer
from ivvit_cli.training.mixing import Mixing
from ivvit_cli.training.optim import LearningRate, build_optimiser, parameter_groups
from ivvit_cli.training.prepared import Prepared
from ivvit_cli.training.progress import RunProgress
from ivvit_cli.training.rand_augment import RandAugment
from ivvit_cli.training.resume import Saved, restore
from ivvit_cli.training.saving import Saver
from ivvit_cli.training.settings import Loading, Periods
from ivvit_cli.training.update import Update
from ivvit_cli.training.validation import Validation
from shards.stream.device import DeviceDecoder
from shards.stream.loader import TrainStream
from shards.stream.views import parse_views

_OPTIMISER_KEYS = ("name", "lr", "weight_decay", "betas", "momentum", "nesterov")


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
    job = prepared.job
    loading = _loading(job, device)
    if saved:
        fit_weights(prepared.model, saved.weights, saved.checkpoint)
    if job.train["parallel"] == "fsdp" and ranks.world > 1:
        shard(prepared.model, ranks, device)
    model = prepared.model.to(device)
    optimiser = _optimiser(job, model, saved)
    average = _average(job, model, saved)
    if job.train["compile"]:
        _compile(prepared, journal)
    model.encoder.vit.set_grad_checkpointing(job.train["activation_checkpointing"])
    bf16 = wants_bf16(job.train["precision"], device)
    return Trainer(
        update=_update(prepared, bf16),
        optimiser=optimiser,
        streams=_streams(prepared),
        validation=_validation(prepared, bf16, loading),
        saver=_saver(prepared, run, ranks, frozen),
        schedule=prepared.schedule,
        total=prepared.times.total,
        rate=_learning_rate(prepared),
        periods=Periods(job.train["log_every"], prepared.times.validate, prepared.times.save),
        loading=loading,
        progress=saved.progress if saved else RunProgress(),
        seed=job.train["seed"],
        clip_norm=job.optim["clip_norm"],
        accumulate=job.train["accumulate"],
        average=average,
        device=device,
        ranks=ranks,
        journal=journal,
    )


def _optimiser(job: Job, model: JointModel, saved: Saved | None) -> torch.optim.Optimizer:
    groups = parameter_groups(model, job.optim["layer_decay"])
    optimiser = build_optimiser(groups, **{key: job.optim[key] for key in _OPTIMISER_KEYS})
    if saved:
        restore(saved, optimiser)
    return optimiser


def _compile(prepared: Prepared, journal: Journal | None) -> None:
    modes = sum(2 if source.validation else 1 for source in prepared.sources.values())
    compilations = compile_blocks(prepared.model, passes=modes)
    if journal:
        journal.watch(compilations)


def _streams(prepared: Prepared) -> dict[str, TrainStream]:
    size, seed = prepared.input.size, prepared.job.train["seed"]
    return {
        name: train_stream(name, source, prepared.schedule, size=size, seed=seed)
        for name, source in prepared.sources.items()
    }


def _update(prepared: Prepared, bf16: bool) -> Update:
    spec, sources = prepared.input, prepared.sources
    return Update(
        prepared.model,
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


def _saver(prepared: Prepared, run: Path, ranks: Ranks, frozen: Frozen | None) -> Saver:
    return Saver(
        run,
        meta=prepared.meta() | {"frozen": frozen.note() if frozen else None},
        unsaved=frozen.names if frozen else frozenset(),
        data=prepared.fingerprints(),
        keep=prepared.job.checkpoint["keep"],
        ranks=ranks,
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
