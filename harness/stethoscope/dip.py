"""Hartigan's dip: how far a sample is from any distribution with one peak.

Hartigan & Hartigan, "The Dip Test of Unimodality", Annals of Statistics 13 (1985). The dip is the least
distance, over all distributions with one mode, between their distribution function and the sample's.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def dip(sample: Floats) -> float:
    """The dip of a sample, between ``1 / 2n`` and 1/4 (section 3 of the paper; steps (i) to (vii)).

    Args:
        sample: ``[n]`` distinct values in any order.

    Raises:
        ValueError: if the sample is empty, or holds a value twice or one that is no number.
    """
    values, n = np.unique(sample), len(sample)
    if not n or not np.isfinite(values).all() or len(values) < n:
        raise ValueError("the dip needs at least one value, all of them finite and distinct")
    below = np.arange(n) / n  # of the sample's distribution function: before the jump at a value ...
    above = below + 1 / n  # ... and after it
    low, high, double = 0, n - 1, 1 / n
    while True:
        gcm = low + _hull(values[low : high + 1], below[low : high + 1], convex=True)
        lcm = low + _hull(values[low : high + 1], above[low : high + 1], convex=False)
        gap, left, right = _widest(values, below, above, gcm, lcm)
        if gap <= double:
            return double / 2
        convex, concave = gcm[gcm <= left], lcm[lcm >= right]
        double = max(
            double,
            _distance(values, above, convex, below, np.subtract),
            _distance(values, below, concave, above, lambda step, hull: hull - step),
        )
        if (left, right) == (low, high) or gap <= double:
            return double / 2
        low, high = left, right


def _hull(x: Floats, y: Floats, convex: bool) -> NDArray[np.int64]:
    """Indices of the corners of the greatest convex minorant, or of the least concave majorant."""
    sign = 1.0 if convex else -1.0
    xs, ys = x.tolist(), (sign * y).tolist()
    out: list[int] = []
    for i in range(len(xs)):
        while len(out) > 1:
            a, b = out[-2], out[-1]
            # The corner b goes unless the slope grows there.
            if (ys[b] - ys[a]) * (xs[i] - xs[b]) < (ys[i] - ys[b]) * (xs[b] - xs[a]):
                break
            out.pop()
        out.append(i)
    return np.array(out)


def _widest(
    values: Floats, below: Floats, above: Floats, gcm: NDArray[np.int64], lcm: NDArray[np.int64]
) -> tuple[float, int, int]:
    """The widest gap between both hulls at a corner of either, and the modal interval it leaves."""
    at_gcm = np.interp(values[gcm], values[lcm], above[lcm]) - below[gcm]
    at_lcm = above[lcm] - np.interp(values[lcm], values[gcm], below[gcm])
    if at_gcm.max() > at_lcm.max():
        left = int(gcm[at_gcm.argmax()])
        return float(at_gcm.max()), left, int(lcm[lcm >= left][0])
    right = int(lcm[at_lcm.argmax()])
    return float(at_lcm.max()), int(gcm[gcm <= right][-1]), right


def _distance(
    values: Floats,
    step: Floats,
    corners: NDArray[np.int64],
    heights: Floats,
    difference: Callable[[Floats, Floats], Floats],
) -> float:
    """The widest distance between the step function and a piece of a hull."""
    inside = np.arange(corners[0], corners[-1] + 1)
    hull = np.interp(values[inside], values[corners], heights[corners])
    return float(difference(step[inside], hull).max())


@lru_cache(maxsize=8)
def uniform_dips(n: int, draws: int, seed: int) -> Floats:
    """Sorted dips of uniform samples: the least favourable distribution with one mode (section 4)."""
    generator = np.random.default_rng(seed)
    return np.sort([dip(generator.random(n)) for _ in range(draws)])


def dip_test(sample: Floats, draws: int = 1000, seed: int = 0) -> tuple[float, float]:
    """The dip and its p-value against one mode, by simulation.

    Args:
        sample: ``[n]`` values.
        draws: uniform samples to compare with; the least p-value is ``1 / (draws + 1)``.
        seed: of those samples.
    """
    found = dip(sample)
    dips = uniform_dips(len(sample), draws, seed)
    return found, (1 + int((dips >= found).sum())) / (draws + 1)
