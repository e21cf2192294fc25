"""How far a run is: everything but weights and moments that a resumed run continues from."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from ivvit_cli.training.guard import Guard


@dataclass
class Tally:
    """One dataset's updates since the last line in metrics.jsonl, over all processes.

    `seconds` is the time they took, `waited` the part of it that passed until the data was there.
    """

    updates: int = 0
    samples: int = 0
    loss: float = 0.0  # sum over updates
    correct: float = 0.0
    seconds: float = 0.0
    waited: float = 0.0

    def add(self, *, samples: int, loss: float, correct: float) -> None:
        """Count an update that changed the weights."""
        self.updates += 1
        self.samples += samples
        self.loss += loss
        self.correct += correct

    def time(self, seconds: float, waited: float) -> None:
        """Count an update's time, also that of a skipped one."""
        self.seconds += seconds
        self.waited += waited

    @property
    def mean_loss(self) -> float | None:
        """The mean over the updates; None where there was none."""
        return self.loss / self.updates if self.updates else None

    @property
    def top1(self) -> float | None:
        """The percentage of correct samples, as the weights were at their update."""
        return 100 * self.correct / self.samples if self.samples else None


@dataclass(frozen=True)
class Best:
    """A dataset's best validation so far."""

    top1: float  # percent
    iteration: int


@dataclass
class RunProgress:
    """Where a run stands after `iteration` iterations; `validated` is the last one validated."""

    iteration: int = 0
    validated: int = 0
    guard: Guard = field(default_factory=Guard)
    best: dict[str, Best] = field(default_factory=dict)
    tallies: dict[str, Tally] = field(default_factory=dict)

    def tally(self, dataset: str) -> Tally:
        """Return the dataset's tally, which begins empty."""
        return self.tallies.setdefault(dataset, Tally())

    def improve(self, dataset: str, top1: float) -> bool:
        """Note a validation of this iteration, and tell whether it is the dataset's best."""
        if dataset in self.best and top1 <= self.best[dataset].top1:
            return False
        self.best[dataset] = Best(top1, self.iteration)
        return True

    def state(self) -> dict[str, Any]:
        """Return this as plain values."""
        return asdict(self)

    @classmethod
    def restored(cls, state: Mapping[str, Any]) -> "RunProgress":
        """Return what `state` described."""
        return cls(
            iteration=state["iteration"],
            validated=state["validated"],
            guard=Guard(**state["guard"]),
            best={name: Best(**best) for name, best in state["best"].items()},
            tallies={name: Tally(**tally) for name, tally in state["tallies"].items()},
        )
