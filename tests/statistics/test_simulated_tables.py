"""A thousand made-up tables under the null: how often something is found where nothing is, and what intervals cover."""

import numpy as np
import pytest

from harness.statistics import compare, mean_interval, resolve

pytestmark = pytest.mark.slow
TABLES, VARIANTS, TASKS = 1_000, 4, 3


def binary(rng, n, clusters):
    """Outcomes of a base and of a variant that is no better: what changes, changes as often either way.

    In clusters, whole groups of documents lean to one side or the other.
    """
    right = rng.random(n) < 0.6
    lean = np.full(n, 0.5) if clusters is None else rng.choice([0.1, 0.9], size=clusters.max() + 1)[clusters]
    flips = rng.random(n) < 0.15
    gains = rng.random(n) < lean
    return np.where(flips, gains, right).astype(float), np.where(flips, ~gains, right).astype(float)


def graded(rng, n, clusters):
    """Outcomes between 0 and 1, with long tails."""
    base = rng.beta(0.5, 0.5, size=n)
    shift = np.zeros(n) if clusters is None else rng.normal(0, 0.3, size=clusters.max() + 1)[clusters]
    return base + rng.standard_t(4, size=n) * 0.1 + shift, base


KINDS = {
    "right/wrong, 200 documents": (binary, 200, None),
    "right/wrong, 60 documents": (binary, 60, None),
    "right/wrong, 12 clusters": (binary, 240, 12),
    "graded, 100 documents": (graded, 100, None),
    "graded, 15 clusters": (graded, 150, 15),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_table_finds_nothing_where_nothing_is(kind):
    """Holm: any false finding in at most 5% of tables; BH the same, since all findings are false here."""
    draw, n, groups = KINDS[kind]
    # Signs of graded outcomes are permuted 9,999 times a comparison: fewer tables of those.
    tables = TABLES if draw is binary else 150
    rng, found, covered = np.random.default_rng(11), {"holm": 0, "bh": 0}, []
    clusters = None if groups is None else np.repeat(np.arange(groups), n // groups)
    for _ in range(tables):
        comparisons = []
        for _ in range(VARIANTS * TASKS):
            a, b = draw(rng, n, clusters)
            comparisons.append(compare(a, b, None if clusters is None else clusters.tolist()))
        covered += [c.difference.low <= 0 <= c.difference.high for c in comparisons]
        for by in found:
            found[by] += any(verdict != "unresolved" for _, verdict in resolve(comparisons, by))
    # 5% and three standard errors of as many tables.
    most = 0.05 + 3 * np.sqrt(0.05 * 0.95 / tables)
    assert found["holm"] / tables <= most, found
    assert found["bh"] / tables <= most, found
    assert 0.93 <= np.mean(covered) <= 0.985, np.mean(covered)


def test_half_the_effects_real_few_of_the_findings_false():
    """BH: of what it calls a gain or a regression, at most 5% on average is none; Holm finds less."""
    rng, false, counts = np.random.default_rng(12), [], {"holm": 0, "bh": 0}
    for _ in range(300):
        comparisons = []
        for i in range(12):
            up = 0.16 if i < 6 else 0.08
            flips = rng.choice([1.0, -1.0, 0.0], size=200, p=[up, 0.08, 0.92 - up])
            comparisons.append(compare(np.maximum(flips, 0), np.maximum(-flips, 0)))
        for by in counts:
            verdicts = [verdict != "unresolved" for _, verdict in resolve(comparisons, by)]
            counts[by] += sum(verdicts)
            if by == "bh":
                false.append(sum(verdicts[6:]) / max(1, sum(verdicts)))
    assert np.mean(false) <= 0.05
    assert counts["bh"] > counts["holm"]


@pytest.mark.parametrize("share", [0.5, 0.9, 0.99])
@pytest.mark.parametrize("groups", [None, 12])
def test_scores_are_covered(share, groups):
    rng, hits = np.random.default_rng(13), []
    n = 240
    clusters = None if groups is None else np.repeat(np.arange(groups), n // groups)
    for _ in range(TABLES):
        own = np.full(n, share)
        if clusters is not None:  # groups of their own difficulty, right in `share` of the cases on the whole
            strength = 20
            own = rng.beta(share * strength, (1 - share) * strength, size=groups)[clusters]
        x = (rng.random(n) < own).astype(float)
        e = mean_interval(x.tolist(), None if clusters is None else clusters.tolist())
        hits.append(e.low <= share <= e.high)
    # At least: near 1 they are cautious.
    assert np.mean(hits) >= 0.92, np.mean(hits)
