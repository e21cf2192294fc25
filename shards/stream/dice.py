"""Random numbers without state: each is a function of who throws, what for, and which throw it is.

A generator of numpy's would have to be made for every sample, which costs as much as to decode a
third of a small image, and numpy does not promise that a later version draws the same from it.
"""

from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

Words = NDArray[np.uint64]
Turns = NDArray[np.float64]
Purpose = Literal["clip", "crop", "flip", "colour"]  # new ones last: they keep the others' throws

_PURPOSES = get_args(Purpose)
_THROWS = 1 << 32  # numbers kept for each purpose
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_FACTORS = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))
_SHIFTS = (np.uint64(30), np.uint64(27), np.uint64(31))


def mix(words: Words) -> Words:
    """Scramble 64-bit words, one to one (Stafford's variant 13 of MurmurHash3's finaliser)."""
    words = (words ^ (words >> _SHIFTS[0])) * _FACTORS[0]
    words = (words ^ (words >> _SHIFTS[1])) * _FACTORS[1]
    return words ^ (words >> _SHIFTS[2])


class Dice:
    """The random numbers of N samples.

    Each sample has a SplitMix64 (Steele, Lea and Flood 2014, "Fast Splittable Pseudorandom Number
    Generators") that starts at its own word. What is thrown for one purpose does not depend on what
    was thrown for others: another way to sample clips keeps every crop.

    Args:
        starts: (N,) words, as unlike as `mix` makes them.
    """

    def __init__(self, starts: Words) -> None:
        self._starts = starts

    def throw(self, purpose: Purpose, count: int = 1) -> Turns:
        """Return the first `count` numbers for a purpose: (N, count), uniform in [0, 1)."""
        first = _PURPOSES.index(purpose) * _THROWS + 1
        steps = np.arange(first, first + count, dtype=np.uint64) * _GOLDEN
        words = mix(self._starts[:, None] + steps)
        return (words >> np.uint64(11)).astype(np.float64) * 2.0**-53


def whole(turns: Turns, counts: NDArray[np.int64] | int) -> NDArray[np.int64]:
    """Turn numbers in [0, 1) into whole ones from 0 to counts - 1."""
    return (turns * counts).astype(np.int64)
