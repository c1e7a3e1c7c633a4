"""Two variants on the same documents: the difference, its interval, its test, and what could have been resolved."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from harness.statistics.bootstrap import RESAMPLES, paired_bootstrap
from harness.statistics.estimates import (
    ALPHA,
    POWER,
    Estimate,
    cluster_standard_error,
    cluster_sums,
    enough,
    is_binary,
    quantile,
)

TESTS = ("auto", "mcnemar", "permutation")
FEW_SIZES = 64  # of differences: drawing signs by size is faster below
INTERVALS = ("auto", "bootstrap")


@dataclass(frozen=True)
class Comparison:
    """A variant against the baseline on the same documents.

    Attributes:
        difference: mean difference with its 95% interval.
        p: two-sided p-value of no difference.
        gained: documents that got better.
        lost: documents that got worse.
        resolvable: smallest difference that these data resolve with 80% power at the 5% level.
        test: which test gave p.
        centre: middle of the interval that the standard error makes; that of few flips is drawn towards 0.
        error: standard error of the difference.
        freedom: degrees of freedom of the error; None where it is taken as normal.
    """

    difference: Estimate
    p: float
    gained: int
    lost: int
    resolvable: float
    test: str
    centre: float = 0.0
    error: float = math.inf
    freedom: float | None = None

    def p_beyond(self, bound: float) -> float:
        """Two-sided p-value of a true difference of ``bound``: by its own test at 0, else by the standard error."""
        if bound == 0:
            return self.p
        if not self.error:
            return float(self.centre == bound)
        away = abs(self.centre - bound) / self.error
        law = stats.norm if self.freedom is None else stats.t(self.freedom)
        return float(2 * law.sf(away)) if math.isfinite(away) else 1.0


def compare(
    ours: Sequence[float],
    baseline: Sequence[float],
    clusters: Sequence[Hashable] | None = None,
    seed: int = 0,
    test: str = "auto",
    interval: str = "auto",
) -> Comparison:
    """Compares two variants document by document.

    p is that of exact McNemar for right/wrong outcomes, else of a permutation of signs. Where documents belong
    together and are of enough groups, signs are permuted by group too, and the larger p counts.

    Args:
        ours: outcomes of the variant.
        baseline: outcomes of the baseline, in the same order of documents.
        clusters: what makes documents alike.
        seed: seed of permutations and resamples.
        test: ``mcnemar`` (right/wrong outcomes only), ``permutation``, or ``auto`` as above.
        interval: ``auto`` (Bonett and Price's or Student's, cluster-robust where that is wider), or ``bootstrap``
            (BCa).

    Raises:
        ValueError: if the lengths differ, there are no documents, or the test does not fit the outcomes.
    """
    a, b = np.asarray(ours, dtype=float), np.asarray(baseline, dtype=float)
    if a.shape != b.shape or not len(a):
        raise ValueError(f"a paired comparison needs the same documents; got {len(a)} and {len(b)}")
    if test not in TESTS or interval not in INTERVALS:
        raise ValueError(
            f"unknown test {test!r} or interval {interval!r}; known: {', '.join(TESTS)}; {', '.join(INTERVALS)}"
        )
    d, binary = a - b, is_binary(a) and is_binary(b)
    if test == "mcnemar" and not binary:
        raise ValueError("McNemar's test takes right/wrong outcomes (0 and 1) only; take test=permutation")
    gained, lost, n = int((d > 0).sum()), int((d < 0).sum()), len(d)
    mean, clusters = float(d.mean()), enough(clusters)
    if binary:
        estimate, centre, error = _adjusted_wald(gained, lost, n)
        freedom: float | None = None
        # Exact McNemar needs 6 documents that change, all one way, for p < 0.05.
        resolvable = max(_factor() * error, 6 / n)
    else:
        centre, freedom = mean, max(n - 1, 1)
        error = float(np.std(d, ddof=1) / math.sqrt(n)) if n > 1 else math.inf
        half = float(stats.t.ppf(1 - ALPHA / 2, freedom)) * error
        estimate = Estimate(mean, mean - half, mean + half, n, "Student")
        resolvable = _factor(freedom) * error
    if binary and test != "permutation":
        p = float(stats.binomtest(gained, gained + lost, 0.5).pvalue) if gained + lost else 1.0
        name = "McNemar exact"
    else:
        p, name = sign_flip(d, seed), "permutation"
    if clusters is not None and (robust := cluster_standard_error(d, clusters)) is not None:
        half, degrees = quantile(clusters) * robust, len(set(clusters)) - 1
        if 2 * half > estimate.high - estimate.low:
            estimate = Estimate(mean, mean - half, mean + half, n, "cluster-robust")
            centre, error, freedom = mean, robust, degrees
        resolvable = max(resolvable, _factor(degrees) * robust)
        if (by_cluster := sign_flip(cluster_sums(d, clusters), seed)) > p:
            p, name = by_cluster, "permutation of clusters"
    # Where nothing or everything changed alike, no resample differs: the formula's interval has a width there.
    if interval == "bootstrap" and (drawn := paired_bootstrap(d, clusters, seed)).low < drawn.high:
        estimate = drawn
    return Comparison(estimate, p, gained, lost, resolvable, name, centre, error, freedom)


def _adjusted_wald(gained: int, lost: int, n: int) -> tuple[Estimate, float, float]:
    """Bonett & Price (2012): Wald's interval for paired proportions after adding one pair to each side.

    Unlike Wald's own it has a width when no document changed. Returns the observed difference, and
    centre and standard error of the adjusted one.
    """
    up, down = (gained + 1) / (n + 2), (lost + 1) / (n + 2)
    error = math.sqrt((up + down - (up - down) ** 2) / (n + 2))
    half = float(stats.norm.ppf(1 - ALPHA / 2)) * error
    centre, mean = up - down, (gained - lost) / n
    low, high = max(-1.0, min(centre - half, mean)), min(1.0, max(centre + half, mean))
    return Estimate(mean, low, high, n, "Bonett-Price"), centre, error


def sign_flip(d: np.ndarray, seed: int, resamples: int = RESAMPLES) -> float:
    """Permutation test of paired differences by random signs; exact where few signs exist."""
    d = d[d != 0]  # the sign of nothing changes nothing
    if len(d) < 2:
        return 1.0  # one sign turned around is as far away
    sizes, counts = np.unique(np.abs(d), return_counts=True)
    if len(d) > math.log2(resamples) and len(sizes) <= FEW_SIZES:
        p = _signs_by_size(sizes, counts, abs(float(d.sum())), seed, resamples)
        return _beyond_draws(p, d, resamples)
    result = stats.permutation_test(
        (d, np.zeros_like(d)),
        lambda x, y, axis: np.mean(x - y, axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=resamples,
        batch=max(1, 4_000_000 // len(d)),
        rng=np.random.default_rng(seed),
    )
    return _beyond_draws(float(result.pvalue), d, resamples)


def _beyond_draws(p: float, d: np.ndarray, resamples: int) -> float:
    """A p-value that no draw reached: the draws end at a few 1e-4, however clear the difference.

    Hoeffding's bound on the sum of random signs, 2 exp(-S^2 / (2 sum d^2)), is never below the exact p-value.
    """
    if p > 2.5 / (resamples + 1):
        return p
    return min(p, 2 * math.exp(-(float(d.sum()) ** 2) / (2 * float((d**2).sum()))))


def _signs_by_size(sizes: np.ndarray, counts: np.ndarray, seen: float, seed: int, resamples: int) -> float:
    """The same for differences of few sizes (levels, tokens): of each size, how many are positive is binomial."""
    rng = np.random.default_rng(seed)
    positive = rng.binomial(counts, 0.5, size=(resamples, len(counts)))
    sums = np.abs(((2 * positive - counts) * sizes).sum(1))
    # As far, or as good as: sums of floats that are equal by the numbers may differ in their last digits.
    extreme = int((sums >= seen * (1 - 1e-12)).sum())
    return (extreme + 1) / (resamples + 1)


def _factor(degrees: int | None = None) -> float:
    """Standard errors of an effect that is resolved with 80% power: normal, or Student's with few degrees."""
    of = stats.norm.ppf if degrees is None else stats.t(degrees).ppf
    return float(of(1 - ALPHA / 2) + of(POWER))
