"""A job that is ready to start: its shards open, its model built, its periods counted."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ivvit_cli import __version__
from ivvit_cli.models import InputSpec, JointModel
from ivvit_cli.training.data import Source, head_meta
from ivvit_cli.training.job import Job
from ivvit_cli.training.sampling import mean_batch
from ivvit_cli.training.schedule import JointSchedule


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
