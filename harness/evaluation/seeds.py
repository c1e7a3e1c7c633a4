"""One variant trained with several seeds: its score and its difference over documents and seeds together.

Documents and seeds are crossed, and both are samples: of questions, and of trainings. With d_ij the difference of seed
i on document j, the variance of the mean is that of the documents' means, plus that of the seeds' means, less what both
hold of their interaction (the variance components of a two-way layout), and never less than the greater of the two.
Degrees of freedom are Satterthwaite's, so few seeds that disagree make a wide interval.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence

import numpy as np
from scipy import stats

from harness.evaluation.cells import CellResult, Outcome
from harness.evaluation.pairing import Pairing, clusters_of, differing_keys, scored
from harness.evaluation.statistics import ALPHA, MIN_CLUSTERS, Comparison, Estimate, cluster_standard_error, factor

METHOD = "documents x seeds"
Stored = tuple[CellResult, list[Outcome]]


def crossed(values: np.ndarray, clusters: Sequence[Hashable] | None = None) -> tuple[float, float]:
    """Standard error of the mean of values [seeds, documents], and its degrees of freedom.

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
    if variance == 0:
        return 0.0, float(k - 1)
    terms = of_seeds**2 / (k - 1) + of_documents**2 / freedom + both**2 / ((k - 1) * (n - 1))
    return math.sqrt(variance), variance**2 / terms


def _interval(values: np.ndarray, clusters: Sequence[Hashable] | None) -> tuple[Estimate, float, float]:
    """The mean with its interval, its standard error and the degrees of freedom."""
    error, degrees = crossed(values, clusters)
    mean = float(values.mean())
    half = float(stats.t.ppf(1 - ALPHA / 2, degrees)) * error
    return Estimate(mean, mean - half, mean + half, values.shape[1], METHOD), error, degrees


def estimate_seeds(cells: Sequence[Stored]) -> Estimate:
    """The score of a variant over its seeds."""
    tables = [scored(*cell) for cell in cells]
    common = [key for key in tables[0] if all(key in table for table in tables)]
    values = _values(cells, tables, common)
    found, _, _ = _interval(values, clusters_of([tables[0][key] for key in common]))
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
    difference, error, degrees = _interval(d, clusters_of([theirs[key] for key in common]))
    p = float(2 * stats.t.sf(abs(difference.value) / error, degrees)) if error else float(difference.value == 0)
    gained, lost = int((d > 0).sum()), int((d < 0).sum())
    return Pairing(Comparison(difference, p, gained, lost, factor(degrees) * error, f"t, {METHOD}"), unpaired)


def _values(
    cells: Sequence[Stored],
    tables: Sequence[dict[tuple[str, int, str, str], Outcome]],
    common: Sequence[tuple[str, int, str, str]],
) -> np.ndarray:
    return np.array(
        [[table[key].metrics[cell[0].metric] for key in common] for cell, table in zip(cells, tables, strict=True)],
        dtype=float,
    )
