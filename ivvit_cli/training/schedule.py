"""The joint schedule: which datasets each update sees, as a pure function of the iteration."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from ivvit_cli.errors import UsageError
from shards.stream.dice import Dice, whole
from shards.stream.plan import key_words
from shards.stream.quotas import apportion

_EPOCHS = re.compile(r"(\d+(?:\.\d+)?) ?ep")
_BLOCK = 256  # iterations of `sampled` whose datasets are shuffled together

KINDS = ("sequential", "weighted", "accumulated", "sampled", "task_by_task")


@dataclass(frozen=True)
class JointSchedule:
    """The updates of every iteration.

    - `sequential`: one update per dataset, in their order (IV-ViT 5.2; PolyViT's alternating).
    - `accumulated`: one update on the batches of all datasets (PolyViT's accumulating).
    - `weighted`: one update on `batch` samples of all datasets, of each in proportion to its weight
      (CoVeR 3.2): its quota, which may be none.
    - `sampled`: one update on one dataset, drawn in proportion to the weights; in blocks of 256
      iterations, in which each has its exact share (PolyViT's weighted and uniform sampling).
    - `task_by_task`: one dataset after the other, each for its share of the run (PolyViT).

    Args:
        kind: one of KINDS.
        weights: of the datasets, in their order.
        batch: of `weighted`.
        seed: of `sampled`.
        total: the run's iterations, which `task_by_task` divides.

    Raises:
        UsageError: there is no schedule of this kind.
    """

    kind: str
    weights: Mapping[str, float]
    batch: int = 0
    seed: int = 0
    total: int = 0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise UsageError(
                f"no joint schedule {self.kind!r}", hint=f"there are {', '.join(KINDS)}"
            )

    @property
    def datasets(self) -> list[str]:
        """Return the names of the datasets, in their order."""
        return list(self.weights)

    @property
    def sees_all(self) -> bool:
        """Tell whether every update has samples of every dataset."""
        if self.kind == "weighted":  # a quota may be one below its share
            return min(self.weights.values()) * self.batch >= 2 * sum(self.weights.values())
        return self.kind == "accumulated" or len(self.weights) == 1

    def updates(self, iteration: int) -> list[dict[str, int]]:
        """Return the updates of one iteration, in order; each maps datasets to their plan steps."""
        match self.kind:
            case "sequential":
                return [{name: iteration} for name in self.weights]
            case "accumulated":
                return [dict.fromkeys(self.weights, iteration)]
            case "weighted":
                before, after = (self._taken(k * self.batch) for k in (iteration, iteration + 1))
                present = [a < b for a, b in zip(before, after, strict=True)]
                return [
                    {n: iteration for n, any_ in zip(self.weights, present, strict=True) if any_}
                ]
            case "sampled":
                return [self._sampled(iteration)]
            case _:
                return [self._in_turn(iteration)]

    def between(self, start: int, stop: int) -> Iterator[dict[str, int]]:
        """Yield the updates of the iterations [start, stop)."""
        for iteration in range(start, stop):
            yield from self.updates(iteration)

    def steps(self, iterations: int) -> dict[str, int]:
        """Return how many plan steps of each dataset the first iterations take."""
        shares = {"sampled": self._sampled_before, "task_by_task": self._in_turn_before}
        if self.kind not in shares:
            return dict.fromkeys(self.weights, iterations)
        return dict(zip(self.weights, shares[self.kind](iterations), strict=True))

    def _taken(self, count: int) -> tuple[int, ...]:
        return apportion(tuple(self.weights.values()), count)

    def _sampled(self, iteration: int) -> dict[str, int]:
        block, place = divmod(iteration, _BLOCK)
        number = _order(self._shares(block), self.seed, block)[place]
        return {self.datasets[number]: self._sampled_before(iteration)[number]}

    def _sampled_before(self, iteration: int) -> tuple[int, ...]:
        block, place = divmod(iteration, _BLOCK)
        begun = _order(self._shares(block), self.seed, block)[:place]
        before = self._taken(block * _BLOCK)
        return tuple(count + begun.count(number) for number, count in enumerate(before))

    def _shares(self, block: int) -> tuple[int, ...]:
        ends = self._taken(block * _BLOCK), self._taken((block + 1) * _BLOCK)
        return tuple(after - before for before, after in zip(*ends, strict=True))

    def _in_turn(self, iteration: int) -> dict[str, int]:
        before = self._in_turn_before(iteration)
        shares = self._taken(self.total)
        turns = zip(self.weights, before, shares, strict=True)
        return next({name: done} for name, done, share in turns if done < share)

    def _in_turn_before(self, iteration: int) -> tuple[int, ...]:
        done, rest = [], iteration
        for share in self._taken(self.total):
            done.append(min(rest, share))
            rest -= done[-1]
        return tuple(done)


@lru_cache(maxsize=8)
def _order(shares: tuple[int, ...], seed: int, block: int) -> tuple[int, ...]:
    """Return the numbers of datasets, each as often as its share says, shuffled."""
    order = np.repeat(np.arange(len(shares)), shares)
    turns = Dice(key_words(f"schedule {block}", seed, "", 1)).throw("clip", len(order))[0]
    for place in range(len(order) - 1, 0, -1):  # Fisher and Yates
        other = int(whole(turns[place], place + 1))
        order[[place, other]] = order[[other, place]]
    return tuple(order.tolist())


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
