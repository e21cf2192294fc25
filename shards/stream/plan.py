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
from math import isqrt

import numpy as np
from numpy.typing import NDArray

_ROUNDS = 8
_MIX = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))  # splitmix64's finaliser
_SHIFTS = (np.uint64(30), np.uint64(27), np.uint64(31))


@dataclass(frozen=True)
class Plan:
    """The order of one dataset's samples over all steps, from (seed, name, epoch) alone."""

    name: str
    samples: int
    batch: int  # global
    seed: int

    def indices(self, step: int) -> NDArray[np.int64]:
        """Return the sample numbers (batch,) of a step; every epoch holds each sample once."""
        line = np.arange(step * self.batch, (step + 1) * self.batch)
        epochs, places = np.divmod(line, self.samples)
        chosen = np.empty(self.batch, np.int64)
        for epoch in range(int(epochs[0]), int(epochs[-1]) + 1):
            here = epochs == epoch
            chosen[here] = permute(places[here], self.samples, self._keys(epoch))
        return chosen

    def generator(self, step: int, position: int) -> np.random.Generator:
        """Return the source of randomness of one sample's clip and crop at a step.

        It is Philox, a counter-based generator: key (seed, name), counter (epoch, place in it).
        """
        epoch, place = divmod(step * self.batch + position, self.samples)
        key = _key_words("augment", self.seed, self.name, 2)
        return np.random.Generator(np.random.Philox(counter=[0, 0, place, epoch], key=key))

    def _keys(self, epoch: int) -> NDArray[np.uint64]:
        return _key_words(f"order {epoch}", self.seed, self.name, _ROUNDS)


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
        left, right = right, (left + _mix(right ^ key) % modulus) % modulus
    permuted: NDArray[np.uint64] = left * moduli[1] + right
    return permuted


def _mix(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    values = (values ^ (values >> _SHIFTS[0])) * _MIX[0]
    values = (values ^ (values >> _SHIFTS[1])) * _MIX[1]
    return values ^ (values >> _SHIFTS[2])


@lru_cache(maxsize=1024)
def _key_words(purpose: str, seed: int, name: str, words: int) -> NDArray[np.uint64]:
    text = f"{purpose}\0{seed}\0{name}".encode()
    keys = np.frombuffer(blake2b(text, digest_size=8 * words).digest(), "<u8").astype(np.uint64)
    keys.flags.writeable = False  # it is shared by every caller
    return keys
