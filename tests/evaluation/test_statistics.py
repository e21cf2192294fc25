"""Intervals, calibration and paired tests against published values and naive loops."""

from fractions import Fraction

import numpy as np
import pytest

from ivvit_cli.evaluation.statistics import calibration_error, mcnemar, paired_difference, wilson


@pytest.mark.parametrize(
    ("correct", "samples", "low", "high"),
    [(81, 263, 25.53, 36.62), (15, 148, 6.24, 16.05), (0, 20, 0, 16.11), (1, 29, 0.61, 17.18)],
)
def test_wilson_s_interval_is_that_of_newcombe_s_table(correct, samples, low, high):
    """Newcombe, Statistics in Medicine 17, 1998, Table I, method 3."""
    assert wilson(correct, samples) == pytest.approx((low, high), abs=0.006)


def test_wilson_s_interval_is_symmetric_and_holds_the_share():
    for samples in (1, 7, 500):
        for correct in range(samples + 1):
            low, high = wilson(correct, samples)
            assert 0 <= low <= 100 * correct / samples <= high <= 100
            assert wilson(samples - correct, samples) == pytest.approx((100 - high, 100 - low))


def test_calibration_is_that_of_naive_bins():
    generator = np.random.default_rng(0)
    logits = generator.normal(0, 2, (400, 5)).astype(np.float32)
    shares = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    labels = generator.integers(0, 5, 400)
    total = 0.0
    for k in range(15):
        inside = [
            s
            for s in range(400)
            if k / 15 < shares[s].max() <= (k + 1) / 15 or (k == 0 and shares[s].max() == 0)
        ]
        if inside:
            right = np.mean([shares[s].argmax() == labels[s] for s in inside])
            total += len(inside) / 400 * abs(right - np.mean([shares[s].max() for s in inside]))
    assert calibration_error(shares, labels) == pytest.approx(100 * total, abs=1e-4)


def test_certain_and_right_is_calibrated():
    shares = np.eye(3, dtype=np.float32)
    assert calibration_error(shares, np.arange(3)) == 0
    assert calibration_error(shares, np.array([1, 2, 0])) == pytest.approx(100)


@pytest.mark.parametrize(("b", "c", "p"), [(0, 0, 1), (5, 5, 1), (0, 6, 0.03125), (2, 10, 0.03857)])
def test_mcnemar_s_exact_test(b, c, p):
    assert mcnemar(b, c) == pytest.approx(p, abs=1e-5)
    assert mcnemar(c, b) == mcnemar(b, c)


def sums(total, most):
    ways, one = 0, 1
    for k in range(most + 1):
        ways, one = ways + one, one * (total - k) // (k + 1)
    return ways


def test_mcnemar_s_test_is_exact_of_many_too():
    for b, c in ((480, 540), (500, 502), (400, 640), (10_000, 10_300)):
        total = b + c
        exact = min(1.0, float(Fraction(2 * sums(total, min(b, c)), 2**total)))
        assert mcnemar(b, c) == pytest.approx(exact, rel=1e-8)
    assert mcnemar(501, 501) == 1
    assert mcnemar(501, 502) == pytest.approx(1)


def test_a_paired_interval_holds_the_difference_as_often_as_it_says():
    generator = np.random.default_rng(1)
    inside = 0
    for _ in range(2000):
        kinds = generator.choice(4, 200, p=(0.5, 0.1, 0.2, 0.2))
        b, c = int((kinds == 1).sum()), int((kinds == 2).sum())
        low, high = paired_difference(b, c, 200)
        inside += low <= 10 <= high
    assert 0.93 <= inside / 2000 <= 0.97
