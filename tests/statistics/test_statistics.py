"""statsmodels, scipy and brute force as oracles; then edges and implications."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.statistics import cluster_standard_error, compare, holm, mean_interval

BITS = st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=60)


def test_wilson_textbook():
    """Newcombe (1998), table I: 81 of 263 gives 0.2553 to 0.3662."""
    e = mean_interval([1.0] * 81 + [0.0] * 182)
    assert (e.low, e.high) == (pytest.approx(0.2553, abs=5e-5), pytest.approx(0.3662, abs=5e-5))


@pytest.mark.parametrize("k", [0, 1, 7, 20])
def test_wilson_against_statsmodels(k):
    proportion = pytest.importorskip("statsmodels.stats.proportion")
    e = mean_interval([1.0] * k + [0.0] * (20 - k))
    assert (e.low, e.high) == pytest.approx(proportion.proportion_confint(k, 20, method="wilson"), abs=1e-9)


def test_clustered_error_against_statsmodels():
    api = pytest.importorskip("statsmodels.api")
    rng = np.random.default_rng(0)
    groups = rng.integers(0, 8, 200)
    x = rng.normal(size=200) + groups
    fit = api.OLS(x, np.ones(200)).fit(cov_type="cluster", cov_kwds={"groups": groups, "use_correction": True})
    assert cluster_standard_error(x, groups.tolist()) == pytest.approx(float(fit.bse[0]), rel=1e-9)


def test_clusters_only_widen():
    x = [1.0, 1.0, 1.0, 0.0, 0.0, 0.0] * 20
    plain, grouped = mean_interval(x), mean_interval(x, [i % 12 for i in range(120)])
    assert grouped.high - grouped.low > plain.high - plain.low
    assert mean_interval(x, [i % 6 for i in range(120)]) == plain  # parts of a benchmark, not a sample of parts
    assert 0 <= grouped.low <= grouped.high <= 1


@given(BITS)
def test_mcnemar_against_statsmodels(pairs):
    tables = pytest.importorskip("statsmodels.stats.contingency_tables")
    a, b = (np.array(x, dtype=float) for x in zip(*pairs, strict=True))
    table = [[int(((a == i) & (b == j)).sum()) for j in (1, 0)] for i in (1, 0)]
    assert compare(a, b).p == pytest.approx(min(1.0, tables.mcnemar(table, exact=True).pvalue), abs=1e-12)


@given(BITS)
def test_difference_lies_in_its_interval_and_turns_around_with_the_sides(pairs):
    a, b = (list(map(float, x)) for x in zip(*pairs, strict=True))
    one, two = compare(a, b), compare(b, a)
    d = one.difference
    assert -1 <= d.low <= d.value <= d.high <= 1
    assert d.low < d.high
    assert (d.value, d.low, d.high) == pytest.approx((-two.difference.value, -two.difference.high, -two.difference.low))
    assert (one.gained, one.lost, one.p) == (two.lost, two.gained, two.p)
    assert one.resolvable >= 6 / len(a)


def test_coverage_of_the_paired_interval():
    """95% of intervals hold the truth, where flips are rare too."""
    rng = np.random.default_rng(1)
    for up, down, n in ((0.02, 0.02, 200), (0.10, 0.04, 200), (0.3, 0.1, 100)):
        hits = 0
        for _ in range(1000):
            flips = rng.choice([1.0, -1.0, 0.0], size=n, p=[up, down, 1 - up - down])
            c = compare(np.maximum(flips, 0), np.maximum(-flips, 0)).difference
            hits += c.low <= up - down <= c.high
        assert 0.93 <= hits / 1000 <= 0.99


def test_permutation_against_brute_force():
    a, b = [0.5, 0.25, 0.9, 0.1, 0.7, 0.3], [0.4, 0.35, 0.6, 0.0, 0.2, 0.25]
    d = np.array(a) - np.array(b)
    means = [abs(np.mean(d * signs)) for signs in product((1, -1), repeat=6)]
    assert compare(a, b).p == pytest.approx(np.mean([m >= abs(d.mean()) - 1e-12 for m in means]))


def test_permutation_where_one_document_or_none_changed():
    assert compare([0.5, 0.5, 0.7], [0.5, 0.5, 0.5]).p == 1.0
    assert compare([0.5, 0.5], [0.5, 0.5]).p == 1.0
    assert compare([0.5, 0.6, 0.7], [0.5, 0.5, 0.5]).p == 0.5
    assert compare([1.0], [0.0], test="permutation").p == 1.0


def test_resolvable_effect_is_found_with_the_power_it_claims():
    """Simulated: an effect of that size is significant in about 80% of runs."""
    rng = np.random.default_rng(2)
    n, spread = 400, 0.10
    base = rng.choice([1.0, -1.0, 0.0], size=(300, n), p=[spread / 2, spread / 2, 1 - spread])
    effect = float(np.mean([compare(np.maximum(f, 0), np.maximum(-f, 0)).resolvable for f in base]))
    up, down = (spread + effect) / 2, (spread - effect) / 2
    shifted = rng.choice([1.0, -1.0, 0.0], size=(600, n), p=[up, down, 1 - up - down])
    power = np.mean([compare(np.maximum(f, 0), np.maximum(-f, 0)).p < 0.05 for f in shifted])
    assert 0.70 <= power <= 0.88


def test_few_clusters_resolve_less():
    """With ten clusters Student's quantile counts: the resolvable effect exceeds the interval's half width."""
    rng = np.random.default_rng(3)
    clusters = [i % 10 for i in range(400)]
    shift = rng.normal(0, 0.3, 10)
    a = [float(rng.random() < 0.5 + shift[c]) for c in clusters]
    c = compare(a, [float(rng.random() < 0.5) for _ in clusters], clusters)
    assert c.difference.method == "cluster-robust"
    assert c.resolvable > 1.2 * (c.difference.high - c.difference.low) / 2


@pytest.mark.slow
@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_holm_against_statsmodels(ps):
    multitest = pytest.importorskip("statsmodels.stats.multitest")
    assert holm(ps) == pytest.approx(list(multitest.multipletests(ps, method="holm")[1]), abs=1e-12)


def test_other_documents_are_refused():
    with pytest.raises(ValueError, match="same documents; got 2 and 3"):
        compare([1, 0], [1, 0, 1])
    with pytest.raises(ValueError, match="got 0 and 0"):
        compare([], [])


def test_many_documents_that_change():
    c = compare([float(i % 7) for i in range(1319)], [-1.0] * 1319)
    assert c.p < 1e-30
    assert compare([1.0] * 1100, [0.0] * 1100, test="permutation").p < 1e-30


def test_the_bound_beyond_the_draws_is_never_below_the_exact_value():
    """All signs alike: the exact p of n documents is 2^(1-n), the bound 2 exp(-n/2)."""
    for n in (20, 40, 80):
        p = compare([1.0 + i / 1000 for i in range(n)], [0.0] * n).p
        assert 2.0 ** (1 - n) <= p <= 2.1 * np.exp(-n / 2 * 0.99)
