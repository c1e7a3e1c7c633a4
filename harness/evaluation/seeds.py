"""One variant trained with several seeds: its score and its difference over documents and seeds together.

Documents and seeds are crossed, and both are samples: of questions, and of trainings. With d_ij the difference of seed
i on document j, the variance of the mean is that of the documents' means, plus that of the seeds' means, less what both
hold of their interaction (the variance components of a two-way layout), and never less than the greater of the two.
Intervals take Student's quantiles of both, weighted by the variances (Cochran 1964): Satterthwaite's degrees of freedom
hold too rarely with two or three seeds.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import optimize, stats

from harness.evaluation.cells import CellResult, Outcome
from harness.evaluation.pairing import NOT_FINITE, Pairing, clusters_of, differing_keys, pair, scored
from harness.statistics import (
    ALPHA,
    MIN_CLUSTERS,
    POWER,
    Comparison,
    Estimate,
    cluster_standard_error,
    compare,
    is_binary,
    mean_interval,
)

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


def _cell(values: np.ndarray) -> Estimate:
    """One cell of the mean counts: right/wrong outcomes as often right as the seeds are on average."""
    n = values.shape[1]
    return mean_interval([1.0] * round(values.mean() * n) + [0.0] * (n - round(values.mean() * n)))


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
    if len(common) < 2:
        return mean_interval(values.mean(0).tolist())
    found, _ = _interval(values, clusters_of([tables[0][key] for key in common]))
    low, high = found.low, found.high
    if is_binary(values):
        alone = _cell(values)
        low, high = max(min(low, alone.low), 0.0), min(max(high, alone.high), 1.0)
    return Estimate(found.value, low, high, found.n, METHOD)


def pair_seeds(
    cells: Mapping[str, Stored], others: Mapping[str, Stored], test: str = "auto", interval: str = "auto"
) -> Pairing:
    """Compares a variant's seeds with the baseline, document by document.

    Several seeds on both sides are compared seed by seed, with those that both have; a single cell stands against every
    seed of the other side.

    Args:
        cells: seed -> the variant's cell.
        others: seed -> the baseline's cell; one cell has any name.
        test: as in `compare`; several seeds have a test of their own.
        interval: as in `compare`; several seeds have an interval of their own.
    """
    couples = [(cells[seed], others[seed]) for seed in cells if seed in others]
    if not couples and 1 in (len(cells), len(others)):
        couples = [(one, other) for one in cells.values() for other in others.values()]
    if not couples:
        return Pairing(None, differing=("seeds",))
    if len(couples) == 1:
        return pair(*couples[0][0], *couples[0][1], test, interval)
    if differing := sorted({key for one, other in couples for key in differing_keys(one[0], other[0])}):
        return Pairing(None, differing=tuple(differing))
    ours, theirs = [scored(*one) for one, _ in couples], [scored(*other) for _, other in couples]
    common = [key for key in theirs[0] if all(key in table for table in (*ours, *theirs))]
    unpaired = sum(len(table) - len(common) for table in (*ours, *theirs))
    if len(common) < 2:
        return Pairing(None, unpaired)
    a = _values([one for one, _ in couples], ours, common)
    b = _values([other for _, other in couples], theirs, common)
    if not np.isfinite([a, b]).all():
        return Pairing(None, unpaired, (NOT_FINITE,))
    comparison = compare_seeds(a, b, clusters_of([theirs[0][key] for key in common]))
    return Pairing(comparison, unpaired)


def compare_seeds(a: np.ndarray, b: np.ndarray, clusters: Sequence[Hashable] | None = None) -> Comparison:
    """Outcomes [seeds, documents] of a variant against those of the baseline.

    Right/wrong outcomes are never told more surely than one cell of the mean counts tells them, by interval and exact
    test: more trainings do not make more documents, and rare changes have no normal distribution.
    """
    d = a - b
    difference, found = _interval(d, clusters)
    p, resolvable = found.p(difference.value), (found.quantile(1 - ALPHA / 2) + found.quantile(POWER)) * found.error
    gained, lost, (k, n) = int((d > 0).sum()), int((d < 0).sum()), d.shape
    if is_binary(a) and is_binary(b):
        up, down = round(gained / k), round(lost / k)
        alone = compare([1.0] * up + [0.0] * (n - up), [0.0] * up + [1.0] * down + [0.0] * (n - up - down))
        low, high = min(difference.low, alone.difference.low), max(difference.high, alone.difference.high)
        difference = Estimate(difference.value, max(low, -1.0), min(high, 1.0), n, METHOD)
        p, resolvable = max(p, alone.p), max(resolvable, alone.resolvable)
    # Student's law whose quantile is the interval's, for bounds other than 0.
    reach = found.quantile(1 - ALPHA / 2)
    error = (difference.high - difference.low) / 2 / reach
    centre = (difference.high + difference.low) / 2
    return Comparison(difference, p, gained, lost, resolvable, f"t, {METHOD}", centre, error, _freedom(reach))


def _freedom(reach: float) -> float:
    """Degrees of freedom at which Student's 97.5% quantile is ``reach``."""
    share, most = 1 - ALPHA / 2, 1e4
    if reach <= stats.t.ppf(share, most):
        return most
    return float(optimize.brentq(lambda v: stats.t.ppf(share, v) - reach, 0.9, most))


def _values(
    cells: Sequence[Stored],
    tables: Sequence[dict[tuple[str, int, str, str], Outcome]],
    common: Sequence[tuple[str, int, str, str]],
) -> np.ndarray:
    return np.array(
        [[table[key].metrics[cell[0].metric] for key in common] for cell, table in zip(cells, tables, strict=True)],
        dtype=float,
    )
