"""A job that is ready to start: its shards open, its model built, its periods counted."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ivvit_cli import __version__
from ivvit_cli.models import InputSpec, JointModel
from ivvit_cli.training.data import Source, head_meta
from ivvit_cli.training.job import Job
from ivvit_cli.training.schedule import updates_of


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
        accumulate = self.job.train["accumulate"]
        datasets = {
            name: {
                "kind": source.dataset.kind,
                "samples": len(source.train),
                "classes": len(source.dataset.classes),
                "batch": source.spec.batch,
                "iterations_per_epoch": round(len(source.train) / source.spec.batch, 2),
                "epochs": round(self.times.total * source.spec.batch / len(source.train), 2),
                "validation": source.validation.name if source.validation else None,
            }
            for name, source in self.sources.items()
        }
        return {
            "datasets": datasets,
            "parameters": sum(p.numel() for p in self.model.parameters()),
            "trained": sum(p.numel() for p in self.model.parameters() if p.requires_grad),
            "input_size": self.input.size,
            "iterations": self.times.total,
            "updates": self.times.total
            * len(updates_of(self.job.schedule["kind"], list(datasets), 0)),
            "micro_batches_per_update": accumulate,
            "optimiser": self.job.optim["name"],
            "lr": self.job.optim["lr"],
        }
