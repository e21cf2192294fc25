"""Quotas of a mixture: exact over an epoch, never negative, near each share at any moment."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shards.stream.plan import Plan, SharedPlan
from shards.stream.quotas import apportion

SIZES = st.lists(st.integers(1, 5000), min_size=1, max_size=6).map(tuple)


def one_by_one(weights, total):
    """Webster's method seat by seat."""
    parts = [0] * len(weights)
    for _ in range(total):
        claims = [Fraction(w) / (2 * n + 1) for w, n in zip(weights, parts, strict=True)]
        parts[claims.index(max(claims))] += 1
    return tuple(parts)


@settings(derandomize=True, deadline=None, max_examples=60)
@given(SIZES, st.integers(0, 300))
def test_the_parts_are_those_of_the_method(weights, total):
    assert apportion(weights, total) == one_by_one(weights, total)


@settings(derandomize=True, deadline=None, max_examples=40)
@given(SIZES, st.integers(1, 200), st.integers(1, 40))
def test_an_epoch_holds_each_dataset_exactly_and_quotas_are_not_negative(sizes, batch, steps):
    for epochs in (1, 3):
        assert apportion(sizes, epochs * sum(sizes)) == tuple(epochs * n for n in sizes)
    ends = [apportion(sizes, step * batch) for step in range(steps + 1)]
    quotas = np.diff(np.array(ends), axis=0)
    assert (quotas >= 0).all()
    assert (quotas.sum(1) == batch).all()
    shares = np.arange(steps + 1)[:, None] * batch * np.array(sizes) / sum(sizes)
    assert np.abs(np.array(ends) - shares).max() < max(1, len(sizes) / 2)


def test_weights_need_not_be_whole():
    assert apportion((0.5, 0.25, 0.25), 8) == (4, 2, 2)
    assert apportion((2.0**0.5, 1.0), 10**9)[0] == round(10**9 * 2**0.5 / (1 + 2**0.5))


def plans(sizes, batch, seed=0):
    weights = tuple(map(float, sizes))
    return [SharedPlan(f"d{k}", n, batch, seed, weights, k) for k, n in enumerate(sizes)]


@pytest.mark.parametrize(("sizes", "batch"), [((30, 12, 3), 9), ((7,), 4), ((100, 1), 10)])
def test_an_epoch_shows_every_sample_once(sizes, batch):
    """It is an order of the same line that a plan of its own cuts into batches."""
    steps = -(-sum(sizes) // batch)
    for plan in plans(sizes, batch):
        drawn = np.concatenate([plan.indices(step) for step in range(steps + 1)])
        assert sorted(drawn[: plan.samples]) == list(range(plan.samples))
        alone = Plan(plan.name, plan.samples, 1, plan.seed)
        assert drawn[:20].tolist() == [alone.indices(k)[0] for k in range(min(20, len(drawn)))]
        dice = [plan.dice(s, range(len(plan.span(s)))).throw("crop") for s in range(steps)]
        thrown = np.concatenate(dice)[:20]
        own = [alone.dice(k, range(1)).throw("crop") for k in range(len(thrown))]
        assert np.array_equal(thrown, np.concatenate(own))


def test_a_late_step_is_reached_at_once():
    plan = plans((240_000, 1_281_167, 168_913), 128)[2]
    assert plan.usual == 13
    assert len(plan.indices(10**7)) in (12, 13)
    assert plan.span(10**7).stop == plan.span(10**7 + 1).start
