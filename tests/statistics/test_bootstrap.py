"""scipy's own bootstrap and simulation as oracles."""

import numpy as np
import pytest
from scipy import stats

from harness.statistics import compare, paired_bootstrap


def test_without_clusters_it_is_scipys_on_the_differences():
    rng = np.random.default_rng(0)
    d = rng.exponential(size=80) - 0.8
    ours = paired_bootstrap(d, seed=3)
    theirs = stats.bootstrap((d,), np.mean, n_resamples=9_999, method="BCa", rng=np.random.default_rng(4))
    assert (ours.low, ours.high) == pytest.approx(theirs.confidence_interval, abs=0.02)
    assert ours.method == "BCa"
    assert ours == paired_bootstrap(d, seed=3)


def test_it_leans_where_the_outcomes_do():
    # Of a skewed sample the BCa interval reaches further to the long side, Student's does not.
    d = np.random.default_rng(1).exponential(size=30)
    e = paired_bootstrap(d)
    assert e.high - e.value > 1.1 * (e.value - e.low)


@pytest.mark.slow
def test_resampled_clusters_cover_what_resampled_documents_miss():
    """20 groups of 10 alike documents: the interval over groups holds, the one over documents is far too short."""
    rng, hits, naive, runs = np.random.default_rng(2), 0, 0, 300
    clusters = np.repeat(np.arange(20), 10).tolist()
    for _ in range(runs):
        d = np.repeat(rng.normal(size=20), 10) + rng.normal(size=200)
        one, other = paired_bootstrap(d, clusters), paired_bootstrap(d)
        hits += one.low <= 0 <= one.high
        naive += other.low <= 0 <= other.high
    assert 0.90 <= hits / runs <= 0.98
    assert naive / runs < 0.70


def test_documents_of_large_clusters_weigh_as_documents():
    # One group of 90 documents and nine of one: the mean is the documents' mean.
    d = np.array([1.0] * 90 + [0.0] * 9)
    assert paired_bootstrap(d, ["big"] * 90 + list("abcdefghi")).value == pytest.approx(90 / 99)


def test_comparison_with_a_bootstrap_interval_keeps_its_exact_test():
    rng = np.random.default_rng(5)
    a, b = (rng.random(120) < 0.6).astype(float), (rng.random(120) < 0.5).astype(float)
    one, other = compare(a, b), compare(a, b, interval="bootstrap")
    assert (one.p, one.difference.method, other.difference.method) == (other.p, "Bonett-Price", "BCa")
    assert other.difference.low == pytest.approx(one.difference.low, abs=0.02)


def test_where_no_resample_differs_the_interval_still_has_a_width():
    same = compare([1.0] * 50, [1.0] * 50, interval="bootstrap").difference
    assert same.low < 0 < same.high


def test_mcnemar_of_other_outcomes_is_refused():
    with pytest.raises(ValueError, match="right/wrong outcomes"):
        compare([0.5, 1.0], [0.1, 0.2], test="mcnemar")
    with pytest.raises(ValueError, match="unknown test 'z'"):
        compare([0.5], [0.1], test="z")
