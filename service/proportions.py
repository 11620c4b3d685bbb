"""How sure a share is: the interval of Wilson's score, which also holds where the share is near 0 or 1."""

from __future__ import annotations

from math import sqrt
from statistics import NormalDist
from typing import NamedTuple


class Interval(NamedTuple):
    """Between which shares the true one lies, from 0 to 1."""

    low: float
    high: float


def wilson(count: int, of: int, confidence: float = 0.95) -> Interval:
    """The interval of a share of `count` in `of`; of nothing, anything may be true.

    Source: Wilson, Journal of the American Statistical Association 22 (1927) 209.
    """
    if not of:
        return Interval(0.0, 1.0)
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    share, weight = count / of, z * z / of
    middle = (share + weight / 2) / (1 + weight)
    half = z / (1 + weight) * sqrt(share * (1 - share) / of + weight / (4 * of))
    return Interval(max(0.0, middle - half), min(1.0, middle + half))
