"""Accuracies from the scores of a split.

A label's rank is the number of classes that precede it in the order of falling score, where equal
scores keep the order of the classes, as `argmax` and `predict` do. A sample with a NaN among its
scores is never right.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class ClassCount:
    """How many samples of one class there are, and for how many its label came first or in five."""

    label: int
    samples: int
    top1: int
    top5: int


@dataclass(frozen=True)
class Confusion:
    """How many samples of a class got the label of another."""

    label: int
    taken_for: int
    samples: int


@dataclass(frozen=True, eq=False)
class Scores:
    """Every sample's scores, (S, C) float32, beside its label, (S,) int64, and its key; S > 0.

    The accuracies are percentages.
    """

    scores: NDArray[np.float32]
    labels: NDArray[np.int64]
    keys: Sequence[str]

    @property
    def top1(self) -> float:
        """The share of samples whose label has the highest score."""
        return self._share_within(1)

    @property
    def top5(self) -> float:
        """The share of samples whose label is among the five (or C, if fewer) highest scores."""
        return self._share_within(5)

    @property
    def mean_class(self) -> float:
        """Top-1 per class, averaged over the classes that have samples."""
        return 100 * float(np.mean([c.top1 / c.samples for c in self.per_class() if c.samples]))

    @property
    def undefined(self) -> int:
        """How many samples have a NaN among their scores."""
        return int(self._undefined.sum())

    def per_class(self) -> list[ClassCount]:
        """Return the counts of every class, in label order; a class may have no sample."""
        samples, top1, top5 = (
            np.bincount(self.labels[rows], minlength=self.scores.shape[1]).tolist()
            for rows in (slice(None), self._ranks < 1, self._ranks < 5)
        )
        return [
            ClassCount(label, *row)
            for label, row in enumerate(zip(samples, top1, top5, strict=True))
        ]

    def correct(self, places: int) -> int:
        """Return how many samples have their label among so many highest scores."""
        return int((self._ranks < places).sum())

    @property
    def hits(self) -> NDArray[np.bool_]:
        """Which samples have their label first, (S,)."""
        return self._ranks < 1

    def confusions(self, most: int) -> list[Confusion]:
        """Return the pairs of classes that are taken for one another most often, at most so many.

        Of equally many, the first in label order comes first.
        """
        wrong = (self._ranks > 0) & ~self._undefined
        pairs = Counter(
            zip(self.labels[wrong].tolist(), self.scores[wrong].argmax(1).tolist(), strict=True)
        )
        ordered = sorted(pairs.items(), key=lambda item: (-item[1], item[0]))
        return [Confusion(*pair, count) for pair, count in ordered[:most]]

    def _share_within(self, places: int) -> float:
        return 100 * self.correct(places) / len(self.labels)

    @cached_property
    def _undefined(self) -> NDArray[np.bool_]:
        return np.asarray(np.isnan(self.scores).any(axis=1))

    @cached_property
    def _ranks(self) -> NDArray[np.int64]:
        labels = self.labels[:, None]
        own = np.take_along_axis(self.scores, labels, axis=1)  # (S, 1)
        earlier = np.arange(self.scores.shape[1]) < labels  # (S, C)
        ranks: NDArray[np.int64] = ((self.scores > own) | (earlier & (self.scores == own))).sum(1)
        ranks[self._undefined] = np.iinfo(np.int64).max
        return ranks
