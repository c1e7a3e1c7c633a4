"""Intervals, paired comparisons and what the data could have resolved.

Everything is computed on outcomes by document. Documents that belong together (an MMLU subject, an
IOI template) widen the intervals through cluster-robust standard errors.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

ALPHA = 0.05
# Fewer groups than this are the benchmark's own parts (five types of problem, seven subjects), not a
# sample of such parts, and cluster-robust errors of so few mislead (Cameron & Miller 2015, section VI).
MIN_CLUSTERS = 10
POWER = 0.80


@dataclass(frozen=True)
class Estimate:
    """A mean with its 95% interval.

    Attributes:
        value: the mean.
        low: lower end of the interval.
        high: upper end.
        n: documents.
        method: how the interval was made.
    """

    value: float
    low: float
    high: float
    n: int
    method: str


@dataclass(frozen=True)
class Comparison:
    """A variant against the baseline on the same documents.

    Attributes:
        difference: mean difference with its 95% interval.
        p: two-sided p-value: exact McNemar for right/wrong outcomes, else sign-flip permutation.
        gained: documents that got better.
        lost: documents that got worse.
        resolvable: smallest difference that these data resolve with 80% power at the 5% level.
        test: which test gave p.
    """

    difference: Estimate
    p: float
    gained: int
    lost: int
    resolvable: float
    test: str


def mean_interval(values: Sequence[float], clusters: Sequence[Hashable] | None = None) -> Estimate:
    """The mean of outcomes with a 95% interval.

    Right/wrong outcomes get Wilson's interval, others Student's. With at least ``MIN_CLUSTERS``
    clusters the interval is that of the cluster-robust standard error if that is the wider one.
    """
    x = np.asarray(values, dtype=float)
    n, mean = len(x), float(np.mean(x))
    if is_binary(x):
        wilson = stats.binomtest(int(x.sum()), n).proportion_ci(method="wilson")
        plain = Estimate(mean, float(wilson.low), float(wilson.high), n, "Wilson")
    else:
        half = float(stats.t.ppf(1 - ALPHA / 2, n - 1) * np.std(x, ddof=1) / math.sqrt(n)) if n > 1 else math.inf
        plain = Estimate(mean, mean - half, mean + half, n, "Student")
    clusters = _enough(clusters)
    error = None if clusters is None else cluster_standard_error(x, clusters)
    if clusters is None or error is None or 2 * _quantile(clusters) * error <= plain.high - plain.low:
        return plain
    low, high = mean - _quantile(clusters) * error, mean + _quantile(clusters) * error
    if is_binary(x):
        low, high = max(0.0, low), min(1.0, high)
    return Estimate(mean, low, high, n, "cluster-robust")


def cluster_standard_error(values: np.ndarray, clusters: Sequence[Hashable]) -> float | None:
    """Cluster-robust standard error of a mean (CR1), or None with fewer than two clusters.

    ``sqrt(G/(G-1) * sum_g (sum_{i in g} (x_i - mean))^2) / n``: with intercept-only least squares
    the finite-sample factor (n-1)/(n-k) is 1.
    """
    groups: dict[Hashable, float] = {}
    residuals = values - values.mean()
    for residual, cluster in zip(residuals, clusters, strict=True):
        groups[cluster] = groups.get(cluster, 0.0) + float(residual)
    count = len(groups)
    if count < 2:
        return None
    return math.sqrt(count / (count - 1) * sum(v * v for v in groups.values())) / len(values)


def _enough(clusters: Sequence[Hashable] | None) -> Sequence[Hashable] | None:
    return clusters if clusters is not None and len(set(clusters)) >= MIN_CLUSTERS else None


def _quantile(clusters: Sequence[Hashable]) -> float:
    """Student's 97.5% quantile for the number of clusters."""
    return float(stats.t.ppf(1 - ALPHA / 2, len(set(clusters)) - 1))


def compare(
    ours: Sequence[float],
    baseline: Sequence[float],
    clusters: Sequence[Hashable] | None = None,
    seed: int = 0,
) -> Comparison:
    """Compares two variants document by document.

    Args:
        ours: outcomes of the variant.
        baseline: outcomes of the baseline, in the same order of documents.
        clusters: what makes documents alike.
        seed: seed of the permutation test.

    Raises:
        ValueError: if the lengths differ or there are no documents.
    """
    a, b = np.asarray(ours, dtype=float), np.asarray(baseline, dtype=float)
    if a.shape != b.shape or not len(a):
        raise ValueError(f"a paired comparison needs the same documents; got {len(a)} and {len(b)}")
    d = a - b
    gained, lost, n = int((d > 0).sum()), int((d < 0).sum()), len(d)
    if is_binary(a) and is_binary(b):
        estimate, error = _adjusted_wald(gained, lost, n)
        p = float(stats.binomtest(gained, gained + lost, 0.5).pvalue) if gained + lost else 1.0
        test = "McNemar exact"
        # Exact McNemar needs 6 documents that change, all one way, for p < 0.05.
        resolvable = max(_factor() * error, 6 / n)
    else:
        error = float(np.std(d, ddof=1) / math.sqrt(n)) if n > 1 else math.inf
        half = float(stats.t.ppf(1 - ALPHA / 2, n - 1)) * error if n > 1 else math.inf
        mean = float(d.mean())
        estimate = Estimate(mean, mean - half, mean + half, n, "Student")
        p, test = _sign_flip(d, seed), "permutation"
        resolvable = _factor(n - 1) * error if n > 1 else math.inf
    clusters = _enough(clusters)
    robust = None if clusters is None else cluster_standard_error(d, clusters)
    if clusters is not None and robust is not None:
        mean, half = float(d.mean()), _quantile(clusters) * robust
        if 2 * half > estimate.high - estimate.low:
            estimate = Estimate(mean, mean - half, mean + half, n, "cluster-robust")
        degrees = len(set(clusters)) - 1
        resolvable = max(resolvable, _factor(degrees) * robust)
    return Comparison(estimate, p, gained, lost, resolvable, test)


def is_binary(values: np.ndarray) -> bool:
    """Whether all outcomes are right or wrong."""
    return bool(np.isin(values, (0.0, 1.0)).all())


def _adjusted_wald(gained: int, lost: int, n: int) -> tuple[Estimate, float]:
    """Bonett & Price (2012): Wald's interval for paired proportions after adding one pair to each side.

    Unlike Wald's own it has a width when no document changed. Returns the observed difference, and
    the standard error of the adjusted one.
    """
    up, down = (gained + 1) / (n + 2), (lost + 1) / (n + 2)
    error = math.sqrt((up + down - (up - down) ** 2) / (n + 2))
    half = float(stats.norm.ppf(1 - ALPHA / 2)) * error
    centre, mean = up - down, (gained - lost) / n
    low, high = max(-1.0, min(centre - half, mean)), min(1.0, max(centre + half, mean))
    return Estimate(mean, low, high, n, "Bonett-Price"), error


def _sign_flip(d: np.ndarray, seed: int, resamples: int = 9_999) -> float:
    """Permutation test of paired differences by random signs; exact where few signs exist."""
    if not d.any():
        return 1.0
    result = stats.permutation_test(
        (d, np.zeros_like(d)),
        lambda x, y, axis: np.mean(x - y, axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=resamples,
        rng=np.random.default_rng(seed),
    )
    return float(result.pvalue)


def _factor(degrees: int | None = None) -> float:
    """Standard errors of an effect that is resolved with 80% power: normal, or Student's with few degrees."""
    quantile = stats.norm.ppf if degrees is None else stats.t(degrees).ppf
    return float(quantile(1 - ALPHA / 2) + quantile(POWER))


def holm(ps: Sequence[float]) -> list[float]:
    """Holm's adjusted p-values, in the order given."""
    order = sorted(range(len(ps)), key=lambda i: ps[i])
    adjusted, running = [0.0] * len(ps), 0.0
    for rank, i in enumerate(order):
        running = max(running, min(1.0, (len(ps) - rank) * ps[i]))
        adjusted[i] = running
    return adjusted
