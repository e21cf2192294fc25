"""The real training step on real data, phase by phase."""

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from statistics import fmean
from typing import Any

import torch

from ivvit_cli.timing.clock import Timeline, spread
from ivvit_cli.timing.rehearsal import is_in_turn, trainer_of
from ivvit_cli.training.job import Job
from ivvit_cli.training.journal import BOTTLENECK
from ivvit_cli.training.loop import Trainer
from ivvit_cli.training.prepared import Prepared
from ivvit_cli.training.sampling import mean_batch

PHASES = ("wait", "transfer", "forward", "backward", "optimiser")


@dataclass(frozen=True)
class UpdateTime:
    """One update: its datasets, and the seconds of each of PHASES."""

    datasets: tuple[str, ...]
    phases: dict[str, float]

    @property
    def seconds(self) -> float:
        """All phases together."""
        return sum(self.phases.values())


def time_steps(job: Job, device: torch.device, seconds: float) -> dict[str, Any]:
    """Train for so many seconds, at least two iterations; return what each part of it took.

    Shares are of the whole time that was measured, and add up to 1. The hours are those of all
    updates of the recipe, without validations and checkpoints.

    Raises:
        IvvitError: as training.
    """
    prepared, trainer = trainer_of(job, device)
    timeline = Timeline(device)
    warmed, updates = _rehearse(replace(trainer, mark=timeline.mark), timeline, seconds)
    plan = prepared.plan()
    total = sum(update.seconds for update in updates)
    phases = {phase: _phase(phase, updates, total) for phase in PHASES}
    groups = _groups(prepared, plan, updates)
    return {
        "iterations": {"total": plan["iterations"], "warm_up": warmed},
        "updates": {"total": plan["updates"], "measured": len(updates)},
        "seconds": total,
        "phases": phases,
        "update_seconds": asdict(spread([update.seconds for update in updates])),
        "groups": groups,
        "datasets": {
            name: {key: found[key] for key in ("kind", "batch", "epochs")}
            for name, found in plan["datasets"].items()
        },
        "micro_batches": plan["micro_batches_per_update"],
        "waits": phases["wait"]["share"] > BOTTLENECK,
        "hours": sum(group["updates"] * group["mean_seconds"] for group in groups) / 3600,
        "peak_bytes": torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None,
    }


def _rehearse(trainer: Trainer, timeline: Timeline, seconds: float) -> tuple[int, list[UpdateTime]]:
    """Return how many iterations went by until all was in motion, and the updates after them."""
    start, done, warmed = time.monotonic(), 0, 0
    ahead = trainer.loading.prefetch + 1  # what the loader has made while the first was compiled
    names: list[tuple[str, ...]] = []
    timeline.begin()
    iterations = trainer.rehearse()
    try:
        for _ in iterations:
            seen = trainer.schedule.updates(trainer.progress.iteration - 1)
            names += [tuple(update) for update in seen]
            done, passed = done + 1, time.monotonic() - start
            if not warmed and (done * len(seen) > ahead or passed > seconds / 3):
                warmed, names = done, []
                timeline.begin()
            elif warmed and passed > seconds:
                break
    finally:
        iterations.close()
    return warmed, _updates(timeline.spans(), names)


def _updates(
    spans: Sequence[tuple[str, float]], names: Sequence[tuple[str, ...]]
) -> list[UpdateTime]:
    updates, remaining = [], iter(names)
    phases = dict.fromkeys(PHASES, 0.0)
    for phase, length in spans:
        phases[phase] += length
        if phase == PHASES[-1]:
            updates.append(UpdateTime(next(remaining), phases))
            phases = dict.fromkeys(PHASES, 0.0)
    return updates


def _phase(phase: str, updates: Sequence[UpdateTime], total: float) -> dict[str, Any]:
    lengths = [update.phases[phase] for update in updates]
    return {"share": sum(lengths) / total, "seconds": asdict(spread(lengths))}


def _groups(
    prepared: Prepared, plan: dict[str, Any], updates: Sequence[UpdateTime]
) -> list[dict[str, Any]]:
    """Return the kinds of updates: one for each dataset, or a single one on all of them."""
    schedule, section = prepared.schedule, prepared.job.schedule
    batches = {
        name: mean_batch(section, source, schedule.weights, name)
        for name, source in prepared.sources.items()
    }
    if is_in_turn(schedule):
        kinds = [([name], count) for name, count in schedule.steps(plan["iterations"]).items()]
    else:
        kinds = [(schedule.datasets, plan["updates"])]
    groups = []
    for names, count in kinds:
        lengths = [each.seconds for each in updates if set(each.datasets) <= set(names)]
        mean, samples = fmean(lengths), sum(batches[name] for name in names)
        groups.append(
            {
                "datasets": names,
                "updates": count,
                "samples": samples,
                "seconds": asdict(spread(lengths)),
                "mean_seconds": mean,
                "samples_per_second": samples / mean,
            }
        )
    return groups
