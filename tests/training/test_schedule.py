"""The order of updates, iterations and epochs, and the learning rate."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ivvit_cli.config import load_recipe
from ivvit_cli.errors import UsageError
from ivvit_cli.training.assemble import resolve_periods
from ivvit_cli.training.job import job_of
from ivvit_cli.training.optim import LearningRate
from ivvit_cli.training.schedule import all_updates, epoch_length, is_due, to_iterations, updates_of

NAMES = st.lists(st.text(min_size=1), min_size=1, max_size=5, unique=True)


@given(NAMES, st.integers(0, 10**9))
def test_sequential_is_one_update_per_dataset_in_order(names, iteration):
    updates = updates_of("sequential", names, iteration)
    assert updates == [{name: iteration} for name in names]


@given(NAMES, st.integers(0, 20), st.integers(0, 20), st.integers(0, 20))
def test_a_run_in_two_parts_is_the_whole_run(names, start, first, second):
    middle, stop = start + first, start + first + second
    parts = [*all_updates("sequential", names, start, middle)]
    parts += all_updates("sequential", names, middle, stop)
    assert parts == list(all_updates("sequential", names, start, stop))
    assert len(parts) == len(names) * (first + second)


def test_unknown_schedule():
    with pytest.raises(UsageError, match="no joint schedule 'random'"):
        updates_of("random", ["a"], 0)


@pytest.mark.parametrize(
    ("period", "iterations"), [(0, 0), (7, 7), ("7", 7), ("3ep", 75), ("0.5 ep", 12), ("0ep", 0)]
)
def test_periods(period, iterations):
    assert to_iterations(period, epoch_length([100], [4])) == iterations


@pytest.mark.parametrize("period", ["ep", "3 epochs", "-3", "1e3"])
def test_what_is_no_period(period):
    with pytest.raises(UsageError, match="neither iterations"):
        to_iterations(period, 25)


def test_epochs_of_several_datasets_mean_nothing():
    with pytest.raises(UsageError, match="one dataset"):
        to_iterations("3ep", epoch_length([100, 50], [4, 4]))


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
