"""Accuracies against a naive implementation that sorts one row at a time."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from ivvit_cli.evaluation.metrics import ClassCount, Scores


def scores_of(rows, labels):
    array = np.array(rows, dtype=np.float32)
    return Scores(array, np.array(labels, dtype=np.int64), [str(i) for i in range(len(rows))])


def naive_hits(row, label, places):
    """Whether the label is among the first places, by Python's stable sort."""
    if any(math.isnan(value) for value in row):
        return False
    order = sorted(range(len(row)), key=lambda c: -row[c])
    return label in order[:places]


def naive_share(rows, labels, places):
    hits = [naive_hits(row, label, places) for row, label in zip(rows, labels, strict=True)]
    return 100 * sum(hits) / len(hits)


def naive_mean_class(rows, labels):
    shares = []
    for label in sorted(set(labels)):
        mine = [row for row, other in zip(rows, labels, strict=True) if other == label]
        shares.append(naive_share(mine, [label] * len(mine), 1))
    return sum(shares) / len(shares)


@st.composite
def scored_samples(draw):
    samples, classes = draw(st.integers(1, 12)), draw(st.integers(1, 8))
    # few distinct values, so that ties are common
    value = st.sampled_from([-1.0, 0.0, 0.5, 2.0, math.inf, -math.inf, math.nan])
    rows = draw(arrays.arrays(np.float32, (samples, classes), elements=value))
    labels = draw(st.lists(st.integers(0, classes - 1), min_size=samples, max_size=samples))
    return rows.tolist(), labels


@settings(max_examples=200, deadline=None)
@given(scored_samples())
def test_every_figure_equals_the_naive_one(case):
    rows, labels = case
    ours = scores_of(rows, labels)
    assert ours.top1 == pytest.approx(naive_share(rows, labels, 1))
    assert ours.top5 == pytest.approx(naive_share(rows, labels, 5))
    assert ours.mean_class == pytest.approx(naive_mean_class(rows, labels))
    assert ours.undefined == sum(any(math.isnan(v) for v in row) for row in rows)
    assert sum(c.samples for c in ours.per_class()) == len(labels)
    assert sum(c.top1 for c in ours.per_class()) == round(ours.top1 * len(labels) / 100)
    assert sum(c.top5 for c in ours.per_class()) == round(ours.top5 * len(labels) / 100)


def test_the_first_of_equal_scores_wins_as_in_argmax():
    rows = [[1.0, 1.0, 0.0]] * 2
    assert np.argmax(rows[0]) == 0
    assert scores_of(rows, [0, 1]).top1 == 50.0


def test_a_constant_model_is_right_about_the_first_class_only():
    assert scores_of(np.zeros((10, 10)), range(10)).top1 == 10.0
    assert scores_of(np.zeros((10, 10)), range(10)).top5 == 50.0


def test_top5_of_three_classes_takes_all_of_them():
    assert scores_of([[3.0, 2.0, 1.0]], [2]).top5 == 100.0


def test_a_row_with_nan_is_never_right():
    ours = scores_of([[math.nan, 9.0], [0.0, 9.0]], [1, 1])
    assert (ours.top1, ours.top5, ours.undefined) == (50.0, 50.0, 1)


def test_classes_without_samples_do_not_count_in_the_mean():
    ours = scores_of([[1.0, 0.0, 0.0], [1.0, 0.0, 0.0], [1.0, 0.0, 0.0]], [0, 0, 2])
    assert ours.mean_class == 50.0
    assert ours.per_class() == [
        ClassCount(0, 2, 2, 2),
        ClassCount(1, 0, 0, 0),
        ClassCount(2, 1, 0, 1),
    ]
