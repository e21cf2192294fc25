"""How often datasets are sampled, and how long an epoch of them is."""

from collections.abc import Mapping
from math import sqrt
from typing import Any

from ivvit_cli.training.data import Source


def sampling_weights(
    schedule: Mapping[str, Any], sources: Mapping[str, Source]
) -> dict[str, float]:
    """Return the datasets' weights, in their order, as the recipe's `schedule.sampling` says."""
    sampling = schedule["sampling"]
    if isinstance(sampling, Mapping):
        return {name: float(sampling[name]) for name in sources}
    return {name: _weight(sampling, source) for name, source in sources.items()}


def _weight(sampling: str, source: Source) -> float:
    match sampling:
        case "size":
            return float(len(source.train))
        case "sqrt":
            return sqrt(len(source.train))
        case "batch":
            assert source.spec.batch is not None  # as the recipe's form says
            return float(source.spec.batch)
        case _:
            return 1.0


def epoch_length(schedule: Mapping[str, Any], sources: Mapping[str, Source]) -> float | None:
    """Return the iterations that show all samples once; None where that has no one meaning.

    A single dataset has epochs; so has a mixture (`weighted`), of the samples of all.
    """
    if schedule["kind"] == "weighted":
        return sum(len(source.train) for source in sources.values()) / int(schedule["batch"])
    batches = [source.spec.batch for source in sources.values()]
    sizes = [len(source.train) for source in sources.values()]
    return sizes[0] / batches[0] if len(sizes) == 1 and batches[0] else None


def mean_batch(
    schedule: Mapping[str, Any], source: Source, weights: Mapping[str, float], name: str
) -> float:
    """Return how many samples of a dataset an update that sees it has, on average."""
    if schedule["kind"] != "weighted":
        assert source.spec.batch is not None  # as the recipe's form says
        return source.spec.batch
    return float(schedule["batch"] * weights[name] / sum(weights.values()))
