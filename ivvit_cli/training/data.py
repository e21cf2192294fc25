"""The datasets of a run: opened, checked against what the recipe asks of them, and drawn from."""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ivvit_cli.errors import InputError, UsageError
from ivvit_cli.evaluation.protocol import clip_arguments
from ivvit_cli.meant import hint_at_shards
from ivvit_cli.training.schedule import JointSchedule
from shards.convert.sources import SOURCES
from shards.manifest import DATASET_FILE
from shards.stream.dataset import ShardedDataset, open_dataset
from shards.stream.loader import TrainStream
from shards.stream.plan import Plan, SharedPlan
from shards.stream.reader import Split
from shards.stream.remote.cache import Cache
from shards.stream.remote.settings import choose_cache
from shards.urls import is_url


class MissingShards(InputError):
    """Datasets have no shards yet."""


@dataclass(frozen=True)
class DataSpec:
    """A dataset as a recipe describes it.

    Args:
        shards: the folder as the recipe writes it.
        folder: the same, resolved, or a URL.
        batch: samples per update, over all processes; None where they share one by weight.
        weight: of its loss.
        eval_split: None for `val`, else `test`, else none.
        clip, augment: the recipe's sections as plain values.
        min_short_side: of videos, in pixels; None for the size of a crop.
    """

    shards: str
    folder: Path | str
    batch: int | None
    weight: float
    split: str
    eval_split: str | None
    clip: Mapping[str, Any] | None
    augment: Mapping[str, Any]
    min_short_side: int | None


@dataclass(frozen=True)
class Source:
    """An opened dataset: its samples to train on, and those to validate on, if there are any."""

    spec: DataSpec
    dataset: ShardedDataset
    train: Split
    validation: Split | None


def open_sources(
    specs: Mapping[str, DataSpec], cache: Mapping[str, str | None]
) -> dict[str, Source]:
    """Open the shards of every dataset.

    Args:
        cache: the recipe's `loader.cache`, for the shards of URLs.

    Raises:
        MissingShards: there are none of a dataset.
        InputError: shards are damaged, lack a split, or hold no sample to train on.
        UsageError: a video dataset without `clip`, or an image dataset with one.
        EnvironmentFault: a URL cannot be read, or the cache cannot be written.
    """
    if missing := [name for name, spec in specs.items() if not _is_there(spec)]:
        places = [f"data.{name} at {Path(specs[name].folder).absolute()}" for name in missing]
        raise MissingShards(
            f"there are no finished shards of {', '.join(places)}",
            hint=_how_to_get(missing[0], specs[missing[0]]),
        )
    kept = choose_cache(cache["dir"], cache["limit"])
    return {name: _open_source(name, spec, kept) for name, spec in specs.items()}


def warn_of_small_cache(
    sources: Mapping[str, Source], cache: Mapping[str, str | None]
) -> str | None:
    """Return a warning where the remote shards of all datasets do not fit into the cache."""
    size = sum(
        source.dataset.info.splits[split.name].bytes
        for source in sources.values()
        for split in (source.train, source.validation)
        if split and split.is_remote
    )
    kept = choose_cache(cache["dir"], cache["limit"])
    if size <= kept.limit:
        return None
    return (
        f"the remote shards have {size / 1e9:.0f} GB, the cache {kept.folder} at most "
        f"{kept.limit / 1e9:.0f}: the rest is read over the network in every epoch; "
        "more: loader.cache.limit"
    )


def _is_there(spec: DataSpec) -> bool:
    return is_url(spec.folder) or Path(spec.folder, DATASET_FILE).is_file()


def _how_to_get(name: str, spec: DataSpec) -> str:
    inside = Path(spec.shards).parts[:1] == ("data",)
    below = ", or IVVIT_DATA=DIR in place of data/" if inside else ""
    return hint_at_shards(
        spec.folder,
        f"make them: {shard_command(name, spec)}; "
        f"or say where they are: data.{name}.shards=DIR{below}",
    )


def shard_command(name: str, spec: DataSpec) -> str:
    """Return the command that makes a dataset's shards, in the layout of its name if it is one."""
    folders = "imagefolder" if spec.clip is None else "videofolder"
    layout = name if name in SOURCES else folders
    return shlex.join(["ivvit", "shard", layout, "SRC", "-o", str(spec.folder)])


def _open_source(name: str, spec: DataSpec, cache: Cache) -> Source:
    dataset = open_dataset(spec.folder, cache)
    train = dataset[spec.split]
    if not len(train):
        raise InputError(f"data.{name}: the split {spec.split} of {spec.folder} holds no sample")
    if (dataset.kind == "video") != (spec.clip is not None):
        fault, hint = "has a `clip`", None
        if dataset.kind == "video":
            fault = "lacks a `clip`"
            hint = "for example clip: {sample: window, frames: 8, seconds: 2.67}"
        raise UsageError(
            f"data.{name}: {fault}, but {spec.folder} holds {dataset.kind}s", hint=hint
        )
    return Source(spec, dataset, train, _validation_split(spec, dataset))


def _validation_split(spec: DataSpec, dataset: ShardedDataset) -> Split | None:
    if spec.eval_split is not None:
        return dataset[spec.eval_split]
    held_out = [name for name in ("val", "test") if name in dataset.info.splits]
    filled = [name for name in held_out if dataset.info.splits[name].samples]
    return dataset[filled[0]] if filled else None


def train_stream(
    name: str, source: Source, schedule: JointSchedule, *, size: int, seed: int
) -> TrainStream:
    """Return a dataset's training samples, cropped for a square input of `size` pixels."""
    spec, samples = source.spec, len(source.train)
    augment = dict(spec.augment)
    augment["short_sides"] = augment.pop("short_side")
    for key in ("mixup", "cutmix", "rand_augment"):  # on rendered batches: the update's
        del augment[key]
    if schedule.kind == "weighted":
        weights, place = tuple(schedule.weights.values()), schedule.datasets.index(name)
        plan: Plan = SharedPlan(name, samples, schedule.batch, seed, weights, place)
    else:
        assert spec.batch is not None  # as the recipe's form says
        plan = Plan(name, samples, spec.batch, seed)
    return TrainStream(source.train, plan, size, **clip_arguments(spec.clip), **augment)


def head_meta(source: Source) -> dict[str, Any]:
    """Return what meta.json says about a dataset's head."""
    options = source.dataset.info.options
    return {
        "kind": source.dataset.kind,
        "classes": list(source.dataset.classes),
        "clip": None if source.spec.clip is None else dict(source.spec.clip),
        "conversion": {key: options.get(key) for key in ("short_side", "fps", "quality")},
        "shards": source.spec.shards,
        "eval_split": source.validation.name if source.validation else None,
        "min_short_side": source.spec.min_short_side,
    }
