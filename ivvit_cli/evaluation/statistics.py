"""How far figures can be trusted: intervals, calibration, paired tests."""

from math import exp, fsum, lgamma, log, sqrt

import numpy as np
from numpy.typing import NDArray

_Z = 1.959963984540054  # of 95 %
_BINS = 15


def wilson(correct: int, samples: int) -> tuple[float, float]:
    """Return the 95 % interval of a share, in percent (Wilson, 1927, without continuity term)."""
    share, part = correct / samples, _Z**2 / samples
    centre = (share + part / 2) / (1 + part)
    half = _Z * sqrt(share * (1 - share) / samples + part / (4 * samples)) / (1 + part)
    low = 0.0 if correct == 0 else 100 * (centre - half)  # exactly, which rounding would spoil
    high = 100.0 if correct == samples else 100 * (centre + half)
    return low, high


def calibration_error(probabilities: NDArray[np.float32], labels: NDArray[np.int64]) -> float:
    """Return the expected calibration error in percent, over 15 bins of equal width.

    Guo et al., On Calibration of Modern Neural Networks, ICML 2017, Eq. 3.

    Args:
        probabilities: (S, C).
        labels: (S,).
    """
    confidence = probabilities.max(1).astype(np.float64)
    right = probabilities.argmax(1) == labels
    bins = np.clip(np.ceil(confidence * _BINS) - 1, 0, _BINS - 1).astype(int)
    counts = np.bincount(bins, minlength=_BINS)
    gaps = np.bincount(bins, right, _BINS) - np.bincount(bins, confidence, _BINS)
    return float(100 * np.abs(gaps).sum() / counts.sum())


def mcnemar(first_only: int, second_only: int) -> float:
    """Return the p-value of two models being equally often right on the same samples.

    McNemar, 1947, in its exact, two-sided form.

    Args:
        first_only, second_only: how many samples only one of the two gets right.
    """
    total, less = first_only + second_only, min(first_only, second_only)
    all_ways = lgamma(total + 1) - total * log(2)
    shares = (exp(all_ways - lgamma(k + 1) - lgamma(total - k + 1)) for k in range(less + 1))
    return min(1.0, 2 * fsum(shares))


def paired_difference(first_only: int, second_only: int, samples: int) -> tuple[float, float]:
    """Return the 95 % interval, in percentage points, of the second's accuracy less the first's.

    Agresti and Min, Statistics in Medicine 24, 2005: Wald's interval of matched pairs, with half a
    sample added to each of the four cells.

    Args:
        first_only, second_only: how many samples only one of the two gets right.
    """
    total, b, c = samples + 2, first_only + 0.5, second_only + 0.5
    difference = (c - b) / total
    half = _Z * sqrt((b + c) - (c - b) ** 2 / total) / total
    return 100 * (difference - half), 100 * (difference + half)
