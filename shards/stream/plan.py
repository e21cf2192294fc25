"""The plan: which sample stands at which place of which step, as a pure function.

A dataset's samples are laid end to end, epoch after epoch, each epoch in an order of its own;
batches are cut from that line without regard to where epochs end. The order is never stored: it is
a permutation that is computed where it is asked for: a generalised Feistel network over the least
rectangle that holds the dataset, whose values outside the dataset are walked on until they fall
inside (Black and Rogaway 2002, "Ciphers with Arbitrary Finite Domains": generalised Feistel and
cycle walking). Hence any step is reached at once, and neither ranks nor workers nor resuming can
change what is drawn.
"""

from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from math import ceil, isqrt

import numpy as np
from numpy.typing import NDArray

from shards.stream.dice import Dice, mix
from shards.stream.quotas import apportion

_ROUNDS = 8
_AT_ONCE = 1024  # samples whose places are found together


@dataclass(frozen=True)
class Plan:
    """The order of one dataset's samples over all steps, from (seed, name, epoch) alone."""

    name: str
    samples: int
    batch: int  # global
    seed: int

    def span(self, step: int) -> range:
        """Return which places of the line a step takes."""
        return range(step * self.batch, (step + 1) * self.batch)

    @property
    def usual(self) -> int:
        """How many samples a step has, but for rare ones that have more."""
        return self.batch

    def indices(self, step: int) -> NDArray[np.int64]:
        """Return the sample numbers of a step; every epoch holds each sample once."""
        steps = max(_AT_ONCE // self.batch, 1)
        first = step // steps * steps
        start, own = self.span(first).start, self.span(step)
        chosen = _chosen(self, start, self.span(first + steps - 1).stop)
        return chosen[own.start - start : own.stop - start]

    def dice(self, step: int, positions: range) -> Dice:
        """Return the randomness of some samples' clips and crops at a step.

        It depends on seed, name, epoch and place in the epoch alone.
        """
        line = np.arange(positions.start, positions.stop) + self.span(step).start
        epochs, places = np.divmod(line, self.samples)
        starts = places.astype(np.uint64)
        for epoch in np.unique(epochs).tolist():
            starts[epochs == epoch] ^= key_words(f"augment {epoch}", self.seed, self.name, 1)
        return Dice(mix(starts))


@dataclass(frozen=True)
class SharedPlan(Plan):
    """The order of a dataset's samples where all datasets share each step's `batch` samples.

    Args:
        weights: of all datasets; a step's batch is divided in proportion to them (`apportion`).
        place: which of them this dataset is.
    """

    weights: tuple[float, ...]
    place: int

    def span(self, step: int) -> range:
        """Return which places of the line a step takes: its quota, which may be none."""
        before, after = (
            apportion(self.weights, end * self.batch)[self.place] for end in (step, step + 1)
        )
        return range(before, after)

    @property
    def usual(self) -> int:
        """The share of a batch, rounded up."""
        return ceil(self.batch * self.weights[self.place] / sum(self.weights))


@lru_cache(maxsize=64)
def _chosen(plan: Plan, start: int, stop: int) -> NDArray[np.int64]:
    """Return the sample numbers of places of the line."""
    line = np.arange(start, stop)
    epochs, places = np.divmod(line, plan.samples)
    chosen = np.empty(len(line), np.int64)
    for epoch in range(int(epochs[0]), int(epochs[-1]) + 1):
        here = epochs == epoch
        keys = key_words(f"order {epoch}", plan.seed, plan.name, _ROUNDS)
        chosen[here] = permute(places[here], plan.samples, keys)
    chosen.flags.writeable = False  # it is shared by every caller
    return chosen


def permute(places: NDArray[np.int64], samples: int, keys: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Map places in [0, samples) to distinct numbers in [0, samples); `keys` is (rounds,)."""
    high = isqrt(samples - 1) + 1
    low = -(-samples // high)  # high * low is the least such product that holds every sample
    values = _feistel(places.astype(np.uint64), high, low, keys)
    while (outside := values >= samples).any():
        values[outside] = _feistel(values[outside], high, low, keys)
    return values.astype(np.int64)


def _feistel(
    values: NDArray[np.uint64], high: int, low: int, keys: NDArray[np.uint64]
) -> NDArray[np.uint64]:
    """Permute [0, high * low): a word is a digit below `high` and one below `low`."""
    moduli = np.array([high, low], np.uint64)
    left, right = np.divmod(values, moduli[1])
    for turn, key in enumerate(keys):  # an even number of rounds, so the digits end where they were
        modulus = moduli[turn % 2]
        left, right = right, (left + mix(right ^ key) % modulus) % modulus
    permuted: NDArray[np.uint64] = left * moduli[1] + right
    return permuted


@lru_cache(maxsize=1024)
def key_words(purpose: str, seed: int, name: str, words: int) -> NDArray[np.uint64]:
    """Return words (words,) that follow from a purpose, a seed and a name, and look like chance."""
    text = f"{purpose}\0{seed}\0{name}".encode()
    keys = np.frombuffer(blake2b(text, digest_size=8 * words).digest(), "<u8").astype(np.uint64)
    keys.flags.writeable = False  # it is shared by every caller
    return keys
