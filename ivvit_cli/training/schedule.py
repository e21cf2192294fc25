"""The joint schedule: which datasets each update sees, as a pure function of the iteration."""

import re
from collections.abc import Iterator, Sequence

from ivvit_cli.errors import UsageError

_EPOCHS = re.compile(r"(\d+(?:\.\d+)?) ?ep")


def updates_of(kind: str, datasets: Sequence[str], iteration: int) -> list[dict[str, int]]:
    """Return the updates of one iteration, in order; each maps its datasets to their plan steps.

    `sequential` is one update per dataset in the given order (IV-ViT 5.2). Every dataset takes one
    step of its plan per iteration, so the plan step is the iteration.

    Raises:
        UsageError: there is no schedule of this kind.
    """
    if kind == "sequential":
        return [{dataset: iteration} for dataset in datasets]
    raise UsageError(f"no joint schedule {kind!r}", hint="there is: sequential")


def all_updates(
    kind: str, datasets: Sequence[str], start: int, stop: int
) -> Iterator[dict[str, int]]:
    """Yield the updates of the iterations [start, stop)."""
    for iteration in range(start, stop):
        yield from updates_of(kind, datasets, iteration)


def epoch_length(samples: Sequence[int], batches: Sequence[int]) -> float | None:
    """Return the iterations that show a single dataset once; None where there are several."""
    return samples[0] / batches[0] if len(samples) == 1 else None


def to_iterations(period: int | float | str, epoch: float | None) -> int:
    """Turn a number of iterations, or of epochs as in `3ep`, into iterations (at least 1, or 0).

    Args:
        epoch: iterations per epoch (`epoch_length`).

    Raises:
        UsageError: the text is neither, or there is no single dataset whose epochs could count.
    """
    if not isinstance(period, str):
        return int(period)
    if period.isdecimal():
        return int(period)
    match = _EPOCHS.fullmatch(period)
    if match is None:
        raise UsageError(f"{period!r} is neither iterations (500) nor epochs (3ep)")
    return epochs_to_iterations(float(match[1]), epoch)


def epochs_to_iterations(epochs: float, epoch: float | None) -> int:
    """Return the iterations in which a dataset is seen `epochs` times, rounded to the nearest.

    Raises:
        UsageError: several datasets are trained, so that an epoch has no single meaning.
    """
    if epoch is None:
        raise UsageError(
            "epochs count only where one dataset is trained: with several, each has its own",
            hint="give iterations",
        )
    return max(1, round(epochs * epoch)) if epochs else 0


def is_due(iteration: int, every: int | None) -> bool:
    """Tell whether something that happens every so many iterations happens after this one."""
    return every is not None and iteration > 0 and iteration % every == 0
