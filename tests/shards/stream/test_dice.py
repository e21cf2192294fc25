"""Dice: a written-out SplitMix64, even numbers, and purposes that do not touch one another."""

import numpy as np
import pytest

from shards.stream.dice import Dice, mix, whole

WORD = 2**64


def splitmix(state):
    """Steele, Lea and Flood's generator, as its authors' C code has it."""
    while True:
        state = (state + 0x9E3779B97F4A7C15) % WORD
        z = state
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 % WORD
        z = (z ^ (z >> 27)) * 0x94D049BB133111EB % WORD
        yield (z ^ (z >> 31)) >> 11


@pytest.mark.parametrize("start", [0, 1, 12345678901234567890, WORD - 1])
def test_throws_are_those_of_splitmix64(start):
    generator = splitmix(start)
    expected = [next(generator) * 2.0**-53 for _ in range(20)]
    assert Dice(np.array([start], np.uint64)).throw("clip", 20).tolist() == [expected]


def test_more_throws_begin_with_the_fewer_and_purposes_differ():
    dice = Dice(mix(np.arange(7, dtype=np.uint64)))
    throws = {purpose: dice.throw(purpose, 30) for purpose in ("clip", "crop", "flip")}
    for purpose, numbers in throws.items():
        assert np.array_equal(dice.throw(purpose, 3), numbers[:, :3])
    assert len(np.unique(list(throws.values()))) == 7 * 30 * 3


def test_numbers_are_even_and_neighbours_unrelated():
    throws = Dice(mix(np.arange(4000, dtype=np.uint64))).throw("crop", 25)
    assert throws.min() >= 0
    assert throws.max() < 1
    counts, _ = np.histogram(throws, 100, (0, 1))
    assert np.abs(counts - 1000).max() < 5 * 31.5
    centred = throws - 0.5
    for other in (centred[1:], centred[:, 1:]):  # the next sample, the next throw
        first = centred[: other.shape[0], : other.shape[1]]
        assert abs((first * other).mean() * 12) < 5 / np.sqrt(other.size)


def test_whole_numbers_stay_below_their_count():
    last = np.nextafter(1, 0)
    counts = np.arange(1, 10_000)
    assert np.array_equal(whole(np.full(len(counts), last), counts), counts - 1)
    assert whole(np.array([0.0, 0.5, 0.99]), 10).tolist() == [0, 5, 9]
