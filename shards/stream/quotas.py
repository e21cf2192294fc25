"""Quotas: how many of the first N samples of a mixture are of each dataset."""

from collections.abc import Sequence
from fractions import Fraction
from functools import lru_cache


@lru_cache(maxsize=4096)
def apportion(weights: tuple[float, ...], total: int) -> tuple[int, ...]:
    """Divide a whole number in proportion to weights, into whole numbers.

    By Webster's method (Balinski and Young, Fair Representation, 1982): it is exact wherever the
    proportions can be met exactly, so over an epoch of sizes as weights; and no part ever shrinks
    while the total grows, so that the differences of two totals are the quotas of a batch.

    Args:
        weights: positive; equal claims are served in their order.
    """
    exact = [Fraction(weight) for weight in weights]
    unit = total / sum(exact)
    # No part of Webster's is below its share by as many as there are parts; from there, one by one.
    parts = [max(0, int(weight * unit) - len(exact)) for weight in exact]
    while sum(parts) < total:
        parts[_next(exact, parts)] += 1
    return tuple(parts)


def _next(weights: Sequence[Fraction], parts: Sequence[int]) -> int:
    claims = [w / (2 * part + 1) for w, part in zip(weights, parts, strict=True)]
    return claims.index(max(claims))
