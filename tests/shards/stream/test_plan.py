"""The plan: exact epochs, a pure function of its arguments, reached at any step at once."""

import subprocess
import sys
import time

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from shards.stream.plan import Plan

SURE = settings(derandomize=True, deadline=None)


@SURE
@given(
    samples=st.integers(1, 300),
    batch=st.integers(1, 40),
    seed=st.integers(0, 2**63),
    name=st.text(max_size=8),
)
def test_every_epoch_holds_every_sample_once(samples, batch, seed, name):
    plan = Plan(name, samples, batch, seed)
    steps = -(-3 * samples // batch)
    line = np.concatenate([plan.indices(step) for step in range(steps)])
    for epoch in range(3):
        order = line[epoch * samples : (epoch + 1) * samples]
        assert sorted(order) == list(range(samples))


@SURE
@given(samples=st.integers(1, 10**12), step=st.integers(0, 10**9))
def test_any_step_of_any_dataset_is_reached_at_once(samples, step):
    chosen = Plan("huge", samples, 64, 0).indices(step)
    assert chosen.min() >= 0
    assert chosen.max() < samples


def test_a_late_step_is_reached_without_the_steps_before():
    plan = Plan("k400", 240_000, 256, 0)
    start = time.perf_counter()
    plan.indices(10**9)
    plan.dice(10**9, range(256)).throw("crop", 22)
    assert time.perf_counter() - start < 30  # a billion steps would take hours


def test_steps_line_up_whatever_the_batch():
    small, large = Plan("a", 37, 4, 1), Plan("a", 37, 16, 1)
    joined = np.concatenate([small.indices(step) for step in range(12)])
    assert np.array_equal(joined, np.concatenate([large.indices(step) for step in range(3)]))
    late, early = small.dice(5, range(3, 4)), large.dice(1, range(7, 8))
    assert late.throw("flip") == early.throw("flip")


def test_seed_name_and_epoch_each_change_the_order():
    def order(name="a", seed=0, epoch=0):
        return Plan(name, 1000, 1000, seed).indices(epoch).tolist()

    orders = [order(), order(seed=1), order(name="b"), order(epoch=1)]
    assert order() == order()
    for i, first in enumerate(orders):
        for second in orders[:i]:
            assert sum(a == b for a, b in zip(first, second, strict=True)) < 20


def test_dice_are_of_one_sample_each():
    plan = Plan("a", 10, 4, 0)
    throws = [plan.dice(step, range(4)).throw("crop", 3) for step in range(50)]
    assert len(np.unique(throws)) == 600
    other = Plan("b", 10, 4, 0).dice(0, range(4)).throw("crop", 3)
    assert not np.isin(other, throws).any()


def test_dice_of_some_positions_are_those_of_the_whole_batch():
    """Positions 2 to 4 lie in two epochs."""
    plan = Plan("a", 7, 5, 0)
    whole = plan.dice(1, range(5)).throw("clip", 16)
    for start in range(5):
        for stop in range(start, 6):
            some = plan.dice(1, range(start, stop)).throw("clip", 16)
            assert np.array_equal(some, whole[start:stop])


def test_orders_are_even():
    """Each sample stands at each place about equally often, and neighbours are unrelated."""
    samples, epochs = 12, 3000
    counts = np.zeros((samples, samples))
    follows = np.zeros((samples, samples))
    for epoch in range(epochs):
        order = Plan("even", samples, samples, 7).indices(epoch)
        counts[np.arange(samples), order] += 1
        follows[order[:-1], order[1:]] += 1
    expected = epochs / samples  # 250, standard deviation 15
    assert np.abs(counts - expected).max() < 5 * 15.2
    off = follows[~np.eye(samples, dtype=bool)]
    assert np.abs(off - expected).max() < 6 * 15.2


def test_a_process_with_another_hash_seed_draws_the_same():
    code = (
        "from shards.stream.plan import Plan; p = Plan('ucf101', 9537, 6, 3);"
        "print(p.indices(5000).tolist(), p.dice(5000, range(2, 4)).throw('crop', 2).tolist())"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": seed, "PATH": ""},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    plan = Plan("ucf101", 9537, 6, 3)
    here = (
        f"{plan.indices(5000).tolist()} {plan.dice(5000, range(2, 4)).throw('crop', 2).tolist()}\n"
    )
    assert outputs == {here}


def test_the_order_of_a_run_is_pinned():
    """A change here changes what every resumed run draws."""
    plan = Plan("pinned", 10, 10, 0)
    assert plan.indices(0).tolist() == [1, 6, 3, 4, 2, 0, 7, 5, 8, 9]
    assert plan.dice(0, range(1)).throw("flip") == 0.7506750508060892
