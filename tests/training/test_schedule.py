"""The order of updates, iterations and epochs, and the learning rate."""

import math
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ivvit_cli.config import load_recipe
from ivvit_cli.errors import UsageError
from ivvit_cli.training.job import job_of
from ivvit_cli.training.optim import LearningRate
from ivvit_cli.training.prepared import resolve_periods
from ivvit_cli.training.schedule import KINDS, JointSchedule, is_due, to_iterations

SIZES = st.lists(st.integers(1, 50), min_size=1, max_size=4)
NAMES = st.lists(st.text(min_size=1), min_size=1, max_size=5, unique=True)


def schedule(kind, weights, **options):
    named = {f"d{k}": float(weight) for k, weight in enumerate(weights)}
    return JointSchedule(kind, named, **options)


@given(NAMES, st.integers(0, 10**9))
def test_sequential_is_one_update_per_dataset_in_order(names, iteration):
    updates = JointSchedule("sequential", dict.fromkeys(names, 1)).updates(iteration)
    assert updates == [{name: iteration} for name in names]


@given(NAMES, st.integers(0, 10**9))
def test_accumulated_is_one_update_of_all(names, iteration):
    updates = JointSchedule("accumulated", dict.fromkeys(names, 1)).updates(iteration)
    assert updates == [dict.fromkeys(names, iteration)]


def test_weighted_leaves_out_who_has_no_sample():
    mixture = schedule("weighted", [90, 9, 1], batch=10)
    seen = [mixture.updates(i) for i in range(10)]
    assert all(len(updates) == 1 for updates in seen)
    names = [set(updates[0]) for updates in seen]
    assert [sum(f"d{k}" in each for each in names) for k in range(3)] == [10, 9, 1]
    for iteration, (update,) in enumerate(seen):
        assert set(update.values()) == {iteration}


@settings(derandomize=True, deadline=None, max_examples=30)
@given(st.sampled_from(KINDS), SIZES, st.integers(0, 700), st.integers(0, 60), st.integers(0, 60))
def test_a_run_in_two_parts_is_the_whole_run(kind, sizes, start, first, second):
    middle, stop = start + first, start + first + second
    joint = schedule(kind, sizes, batch=7, seed=3, total=1000)
    parts = [*joint.between(start, middle), *joint.between(middle, stop)]
    assert parts == list(joint.between(start, stop))


@settings(derandomize=True, deadline=None, max_examples=30)
@given(st.sampled_from(["sampled", "task_by_task"]), SIZES, st.integers(1, 700))
def test_every_step_of_a_dataset_comes_once_and_in_order(kind, sizes, total):
    joint = schedule(kind, sizes, seed=1, total=total)
    updates = list(joint.between(0, total))
    assert len(updates) == total
    for name, count in joint.steps(total).items():
        assert [update[name] for update in updates if name in update] == list(range(count))


@pytest.mark.parametrize("kind", ["sampled", "task_by_task"])
def test_datasets_have_their_share_of_the_iterations(kind):
    assert schedule(kind, [5, 2, 1], total=256).steps(256) == {"d0": 160, "d1": 64, "d2": 32}


def test_one_task_ends_before_the_next_begins():
    joint = schedule("task_by_task", [1, 3], total=8)
    assert [next(iter(update)) for update in joint.between(0, 8)] == ["d0"] * 2 + ["d1"] * 6


def test_sampling_is_shuffled_by_the_seed():
    orders = [
        [next(iter(update)) for update in schedule("sampled", [1, 1], seed=seed).between(0, 512)]
        for seed in (0, 0, 1)
    ]
    assert orders[0] == orders[1] != orders[2]
    assert orders[0][:256] != orders[0][256:]
    runs = sum(a != b for a, b in pairwise(orders[0]))
    assert 200 < runs < 312  # of a coin, 255.5 on average


def test_unknown_schedule():
    with pytest.raises(UsageError, match="no joint schedule 'random'"):
        schedule("random", [1])


@pytest.mark.parametrize(
    ("period", "iterations"), [(0, 0), (7, 7), ("7", 7), ("3ep", 75), ("0.5 ep", 12), ("0ep", 0)]
)
def test_periods(period, iterations):
    assert to_iterations(period, 25.0) == iterations


@pytest.mark.parametrize("period", ["ep", "3 epochs", "-3", "1e3"])
def test_what_is_no_period(period):
    with pytest.raises(UsageError, match="neither iterations"):
        to_iterations(period, 25)


def test_epochs_of_several_datasets_mean_nothing():
    with pytest.raises(UsageError, match="one dataset"):
        to_iterations("3ep", None)


def test_due():
    assert [i for i in range(10) if is_due(i, 3)] == [3, 6, 9]
    assert not is_due(5, None)


def test_constant_rate_with_warmup():
    rate = LearningRate(1.0, total=10, warmup=4)
    assert [rate.at(i) for i in range(6)] == [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]


def test_cosine_rate():
    rate = LearningRate(2.0, kind="cosine", total=12, warmup=2)
    assert rate.at(2) == 2.0
    assert rate.at(7) == pytest.approx(1.0)
    assert rate.at(12) == pytest.approx(0.0, abs=1e-12)
    assert rate.at(4) == pytest.approx(1 + math.cos(math.pi / 5))


def test_step_rate():
    rate = LearningRate(1.0, kind="step", total=20, milestones=(10, 14))
    assert [rate.at(i) for i in (9, 10, 13, 14, 19)] == pytest.approx([1, 0.1, 0.1, 0.01, 0.01])


def test_the_key_whose_epochs_mean_nothing_is_named():
    job = job_of(load_recipe("iv-vit", ["checkpoint.every=1ep"]))
    with pytest.raises(UsageError, match=r"checkpoint\.every=1ep: epochs count only"):
        resolve_periods(job, None)
    assert resolve_periods(job, 25).save == 25
