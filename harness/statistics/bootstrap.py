"""The paired bootstrap: intervals without a formula, for outcomes of any kind."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
from scipy import stats

from harness.statistics.estimates import ALPHA, Estimate, cluster_sums, enough

RESAMPLES = 9_999


def paired_bootstrap(d: np.ndarray, clusters: Sequence[Hashable] | None = None, seed: int = 0) -> Estimate:
    """The mean difference with its BCa interval (Efron 1987), documents resampled, or clusters where there are enough.

    Where no two resamples differ (no document changed, or all changed alike) the interval is a point, which tells
    nothing: `compare` takes Bonett and Price's there.

    Args:
        d: differences by document.
        clusters: what makes documents alike.
        seed: of the resampling.
    """
    mean, n = float(d.mean()), len(d)
    clusters = enough(clusters)
    if clusters is None:
        sums, sizes = d, np.ones(n)
    else:
        sums, sizes = cluster_sums(d, clusters), cluster_sums(np.ones(n), clusters)
    method = "BCa" if clusters is None else "BCa over clusters"
    if len(sums) < 2 or np.ptp(sums - mean * sizes) == 0:
        return Estimate(mean, mean, mean, n, method)

    def ratio(sums: np.ndarray, sizes: np.ndarray, axis: int) -> np.ndarray:
        return np.asarray(sums.sum(axis) / sizes.sum(axis))

    found = stats.bootstrap(
        (sums, sizes),
        ratio,
        paired=True,
        vectorized=True,
        n_resamples=RESAMPLES,
        # Resamples are drawn in blocks: all at once would be hundreds of megabytes for MMLU's 14,042 documents.
        batch=max(1, 4_000_000 // len(sums)),
        confidence_level=1 - ALPHA,
        method="BCa",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    low, high = float(found.low), float(found.high)
    return Estimate(mean, min(low, mean), max(high, mean), n, method)
