"""How many documents it takes."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from scipy import stats

from harness.statistics.estimates import ALPHA, POWER

if TYPE_CHECKING:
    from harness.statistics.paired import Comparison

MOST = 10_000_000  # documents; beyond that nobody asks


def needed(comparison: Comparison, bound: float = 0.0, level: float = ALPHA, power: float = POWER) -> int | None:
    """Documents (of as many per cluster) at which a difference as large as the one seen would be told from ``bound``.

    The standard error falls with the root of the documents: ``n ((z_{1-level/2} + z_power) error / |d - bound|)^2``.

    Returns:
        The number, never less than the documents there are; None if no number would do (the difference is the bound).
    """
    d = comparison.difference
    away = abs(d.value - bound)
    if away == 0 or not math.isfinite(comparison.error):
        return None
    factor = float(stats.norm.ppf(1 - level / 2) + stats.norm.ppf(power))
    times = factor * comparison.error / away
    if times > math.sqrt(MOST / d.n):  # squared it may be more than a float holds
        return None
    return max(math.ceil(d.n * times**2), d.n + 1)


def mcnemar_power(n: int, changed: float, effect: float, level: float = ALPHA) -> float:
    """Chance that exact McNemar resolves an effect in its own direction.

    The documents that change are binomial, and so are those among them that gain: both are summed over exactly, but for
    numbers of changes whose chance is below 1e-10.

    Args:
        n: documents.
        changed: share of the documents that change from right to wrong or back.
        effect: difference of the scores; at most ``changed``.
        level: two-sided.
    """
    _check(changed, effect)
    total = stats.binom(n, changed)
    flips = np.arange(int(total.ppf(5e-11)), int(total.ppf(1 - 5e-11)) + 1)
    gain = (changed + effect) / 2 / changed
    # The fewest gains among k changes that are significant: P(X >= g) <= level/2 under a fair coin.
    critical = stats.binom.isf(level / 2, flips, 0.5) + 1
    return float((total.pmf(flips) * stats.binom.sf(critical - 1, flips, gain)).sum())


def documents_for(effect: float, changed: float, level: float = ALPHA, power: float = POWER) -> int | None:
    """Documents with which exact McNemar resolves an effect with the power asked for.

    The power of an exact test saws as documents are added: a few more than this may lie a little below it again.

    Args:
        effect: difference of the scores, above 0.
        changed: share of documents that change; between ``effect`` and 1.
        level: two-sided; divided by the comparisons where many are made.
        power: chance of resolving it.

    Returns:
        The number; None if more than ten million.
    """
    _check(changed, effect)
    if not 0 < power < 1 or not 0 < level < 1:
        raise ValueError(f"power {power:g} and level {level:g} must lie between 0 and 1")
    low, high = 0, 16
    while mcnemar_power(high, changed, effect, level) < power:
        low, high = high, 2 * high
        if high > MOST:
            return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if mcnemar_power(middle, changed, effect, level) >= power else (middle, high)
    return high


def _check(changed: float, effect: float) -> None:
    if not 0 < effect <= changed <= 1:
        raise ValueError(
            f"effect {effect:g} and share of changing documents {changed:g}: the effect must be above 0, and no larger "
            "than that share, which is at most 1"
        )
