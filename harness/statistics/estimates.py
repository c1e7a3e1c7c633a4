"""A mean with its interval, with documents that belong together counted as such."""

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
    clusters = enough(clusters)
    error = None if clusters is None else cluster_standard_error(x, clusters)
    if clusters is None or error is None or 2 * quantile(clusters) * error <= plain.high - plain.low:
        return plain
    low, high = mean - quantile(clusters) * error, mean + quantile(clusters) * error
    if is_binary(x):
        low, high = max(0.0, low), min(1.0, high)
    return Estimate(mean, low, high, n, "cluster-robust")


def cluster_standard_error(values: np.ndarray, clusters: Sequence[Hashable]) -> float | None:
    """Cluster-robust standard error of a mean (CR1), or None with fewer than two clusters.

    ``sqrt(G/(G-1) * sum_g (sum_{i in g} (x_i - mean))^2) / n``: with intercept-only least squares
    the finite-sample factor (n-1)/(n-k) is 1.
    """
    sums = cluster_sums(values - values.mean(), clusters)
    count = len(sums)
    return None if count < 2 else math.sqrt(count / (count - 1) * float((sums**2).sum())) / len(values)


def cluster_sums(values: np.ndarray, clusters: Sequence[Hashable]) -> np.ndarray:
    """The sum of each cluster's values, in order of appearance."""
    places = {cluster: i for i, cluster in enumerate(dict.fromkeys(clusters))}
    own = [places[cluster] for cluster in clusters]
    assert len(own) == len(values), f"{len(values)} values, {len(own)} clusters"
    return np.bincount(own, weights=values)


def enough(clusters: Sequence[Hashable] | None) -> Sequence[Hashable] | None:
    """The clusters if they are many enough to be a sample of such, else None."""
    return clusters if clusters is not None and len(set(clusters)) >= MIN_CLUSTERS else None


def quantile(clusters: Sequence[Hashable]) -> float:
    """Student's 97.5% quantile for the number of clusters."""
    return float(stats.t.ppf(1 - ALPHA / 2, len(set(clusters)) - 1))


def is_binary(values: np.ndarray) -> bool:
    """Whether all outcomes are right or wrong."""
    return bool(np.isin(values, (0.0, 1.0)).all())
