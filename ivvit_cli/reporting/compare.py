"""Runs side by side: accuracies, what their recipes differ in, and what they cost."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ivvit_cli.errors import InputError
from ivvit_cli.evaluation.statistics import mcnemar, paired_difference
from ivvit_cli.reporting.record import EvaluationRecord, RunRecord
from ivvit_cli.training.changes import list_changes


@dataclass(frozen=True)
class Difference:
    """Another run's accuracy less the first's on the same samples, in percentage points.

    Attributes:
        low, high: its 95 % interval, paired.
        p: of McNemar's exact test.
        samples: that both have scored.
    """

    points: float
    low: float
    high: float
    p: float
    samples: int


def compare(runs: Sequence[RunRecord]) -> dict[str, Any]:
    """Return the comparison of runs with the first of them, as plain values.

    Raises:
        InputError: none of them was evaluated, or an evaluation is damaged.
    """
    names = sorted({name for run in runs for name in run.evaluations})
    if not names:
        raise InputError(
            f"{runs[0].folder}: was never evaluated, nor was another of these runs",
            hint=f"ivvit eval {runs[0].folder}",
        )
    first = runs[0]
    return {
        "runs": [str(run.folder) for run in runs],
        "evaluations": {name: [_entry(run, first, name) for run in runs] for name in names},
        "recipes": [{str(run.folder): _changes(first, run)} for run in runs[1:]],
        "cost": {str(run.folder): run.cost for run in runs},
    }


def _entry(run: RunRecord, first: RunRecord, name: str) -> dict[str, Any] | None:
    own, other = run.evaluations.get(name), first.evaluations.get(name)
    if own is None:
        return None
    keys = ("samples", "top1", "top1_interval", "top5", "mean_class")
    entry = {key: own.figures.get(key) for key in keys}
    if run is not first and other is not None:
        difference = subtract(other, own)
        entry["difference"] = vars(difference) if difference else None
    return entry


def subtract(first: EvaluationRecord, second: EvaluationRecord) -> Difference | None:
    """Compare two evaluations on the samples that both have, by their keys; None if there are none.

    Raises:
        InputError: their scores cannot be read.
    """
    one, other = first.right, second.right
    both = one.keys() & other.keys()
    if not both:
        return None
    first_only = sum(one[key] and not other[key] for key in both)
    second_only = sum(other[key] and not one[key] for key in both)
    low, high = paired_difference(first_only, second_only, len(both))
    points = 100 * (second_only - first_only) / len(both)
    return Difference(points, low, high, mcnemar(first_only, second_only), len(both))


def _changes(first: RunRecord, run: RunRecord) -> dict[str, list[Any]]:
    return {
        ".".join(change.path): [change.before, change.after]
        for change in list_changes(first.recipe, run.recipe)
        if change.path != ("description",)
    }
