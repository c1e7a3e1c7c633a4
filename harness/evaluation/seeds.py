"""One variant trained with several seeds: its score and its difference over documents and seeds together.

Documents and seeds are crossed, and both are samples: of questions, and of trainings. With d_ij the difference of seed
i on document j, the variance of the mean is that of the documents' means, plus that of the seeds' means, less what both
hold of their interaction (the variance components of a two-way layout), and never less than the greater of the two.
Intervals take Student's quantiles of both, weighted by the variances (Cochran 1964): Satterthwaite's degrees of freedom
hold too rarely with two or three seeds.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import optimize, stats

from harness.evaluation.cells import CellResult, Outcome
from harness.evaluation.pairing import Pairing, clusters_of, differing_keys, scored
from harness.evaluation.statistics import ALPHA, MIN_CLUSTERS, POWER, Comparison, Estimate, cluster_standard_error

METHOD = "documents x seeds"
Stored = tuple[CellResult, list[Outcome]]


@dataclass(frozen=True)
class Crossed:
    """What varies in a mean over seeds and documents.

    Attributes:
        error: standard error of the mean.
        of_seeds: variance of the mean that the seeds bring.
        of_documents: variance of the mean that the documents bring.
        seeds: degrees of freedom of the seeds.
        documents: degrees of freedom of the documents.
    """

    error: float
    of_seeds: float
    of_documents: float
    seeds: int
    documents: int

    def quantile(self, share: float) -> float:
        """Standard errors below which a share of the means lies (Cochran's weighted quantile)."""
        total = self.of_seeds + self.of_documents
        own = float(stats.t.ppf(share, self.seeds)), float(stats.t.ppf(share, self.documents))
        return (self.of_seeds * own[0] + self.of_documents * own[1]) / total if total else own[0]

    def p(self, mean: float) -> float:
        """Two-sided p-value of a mean: where its interval would just reach 0."""
        if not self.error:
            return float(mean == 0)
        away = abs(mean) / self.error
        if self.quantile(1 - 1e-12) <= away:
            return 2e-12
        return float(2 * optimize.brentq(lambda tail: self.quantile(1 - tail) - away, 1e-12, 0.5))


def crossed(values: np.ndarray, clusters: Sequence[Hashable] | None = None) -> Crossed:
    """What varies in the mean of values [seeds, documents].

    Args:
        values: two seeds at least, two documents at least.
        clusters: what makes documents alike; enough of them widen the documents' part.
    """
    k, n = values.shape
    assert k > 1 and n > 1, f"{k} seeds, {n} documents"
    rows, columns = values.mean(1), values.mean(0)
    of_seeds, of_documents = float(rows.var(ddof=1)) / k, float(columns.var(ddof=1)) / n
    freedom = n - 1
    if clusters is not None and len(set(clusters)) >= MIN_CLUSTERS:
        robust = cluster_standard_error(columns, clusters)
        if robust is not None and robust**2 > of_documents:
            of_documents, freedom = robust**2, len(set(clusters)) - 1
    residuals = values - rows[:, None] - columns[None] + values.mean()
    both = float((residuals**2).sum()) / ((k - 1) * (n - 1)) / (k * n)
    variance = max(of_seeds + of_documents - both, of_seeds, of_documents)
    return Crossed(math.sqrt(variance), of_seeds, of_documents, k - 1, freedom)


def _interval(values: np.ndarray, clusters: Sequence[Hashable] | None) -> tuple[Estimate, Crossed]:
    """The mean with its interval, and what varies in it."""
    found = crossed(values, clusters)
    mean, half = float(values.mean()), found.quantile(1 - ALPHA / 2) * found.error
    return Estimate(mean, mean - half, mean + half, values.shape[1], METHOD), found


def estimate_seeds(cells: Sequence[Stored]) -> Estimate:
    """The score of a variant over its seeds."""
    tables = [scored(*cell) for cell in cells]
    common = [key for key in tables[0] if all(key in table for table in tables)]
    values = _values(cells, tables, common)
    found, _ = _interval(values, clusters_of([tables[0][key] for key in common]))
    low, high = (
        (max(found.low, 0.0), min(found.high, 1.0)) if np.isin(values, (0.0, 1.0)).all() else (found.low, found.high)
    )
    return Estimate(found.value, low, high, found.n, METHOD)


def pair_seeds(cells: Sequence[Stored], other: Stored) -> Pairing:
    """Compares a variant's seeds with the one cell of the baseline, document by document."""
    differing = sorted({key for cell in cells for key in differing_keys(cell[0], other[0])})
    if differing:
        return Pairing(None, differing=tuple(differing))
    tables, theirs = [scored(*cell) for cell in cells], scored(*other)
    common = [key for key in theirs if all(key in table for table in tables)]
    unpaired = sum(len(table) + len(theirs) - 2 * len(common) for table in tables)
    if len(common) < 2:
        return Pairing(None, unpaired)
    d = _values(cells, tables, common) - _values([other], [theirs], common)
    difference, found = _interval(d, clusters_of([theirs[key] for key in common]))
    gained, lost = int((d > 0).sum()), int((d < 0).sum())
    resolvable = (found.quantile(1 - ALPHA / 2) + found.quantile(POWER)) * found.error
    comparison = Comparison(difference, found.p(difference.value), gained, lost, resolvable, f"t, {METHOD}")
    return Pairing(comparison, unpaired)


def _values(
    cells: Sequence[Stored],
    tables: Sequence[dict[tuple[str, int, str, str], Outcome]],
    common: Sequence[tuple[str, int, str, str]],
) -> np.ndarray:
    return np.array(
        [[table[key].metrics[cell[0].metric] for key in common] for cell, table in zip(cells, tables, strict=True)],
        dtype=float,
    )
