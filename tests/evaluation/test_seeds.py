"""Several seeds in one comparison: components by hand, coverage on made-up data, and what must not change."""

import math

import numpy as np
import pytest
from scipy import stats

from harness.evaluation.seeds import METHOD, compare_seeds, crossed
from harness.statistics import cluster_standard_error, compare


def test_the_components_by_hand():
    """Two seeds, three documents: rows 1 and 2, columns 0.5, 1.5, 2.5; no interaction.

    Seeds: var 0.5 / 2 = 0.25, of one degree. Documents: var 1 / 3, of two.
    """
    found = crossed(np.array([[0.0, 1.0, 2.0], [1.0, 2.0, 3.0]]))
    assert found.error == pytest.approx(math.sqrt(7 / 12))
    assert (found.seeds, found.documents) == (1, 2)
    weighted = (0.25 * 12.7062 + 4.30265 / 3) / (7 / 12)  # Student's quantiles from a table
    assert found.quantile(0.975) == pytest.approx(weighted, rel=1e-5)


def test_seeds_that_agree_leave_the_documents_interval():
    """Then it is Student's over documents."""
    row = np.random.default_rng(0).normal(size=50)
    found = crossed(np.stack([row] * 4))
    error = row.std(ddof=1) / math.sqrt(50)
    assert found.error == pytest.approx(error)
    assert found.quantile(0.975) == pytest.approx(stats.t.ppf(0.975, 49))
    assert found.p(row.mean()) == pytest.approx(stats.ttest_1samp(row, 0).pvalue, rel=1e-6)


def test_seeds_that_disagree_count_as_so_few_numbers():
    """Documents all alike: what is left is Student's over seeds."""
    means = np.array([0.1, 0.5, 0.3])
    found = crossed(np.repeat(means[:, None], 200, 1))
    assert found.error == pytest.approx(means.std(ddof=1) / math.sqrt(3))
    assert found.p(0.3) == pytest.approx(stats.ttest_1samp(means, 0).pvalue, rel=1e-6)


def test_clusters_widen_the_part_of_the_documents():
    rng = np.random.default_rng(1)
    groups = np.repeat(np.arange(20), 10)
    values = np.stack([rng.normal(size=20)[groups] + 0.1 * rng.normal(size=200)] * 3)
    plain, wide = crossed(values), crossed(values, groups.tolist())
    assert wide.error == pytest.approx(cluster_standard_error(values[0], groups.tolist()))
    assert wide.error > 2 * plain.error
    assert wide.documents == 19


def test_nothing_varies():
    found = crossed(np.zeros((3, 5)))
    assert (found.error, found.p(0.0)) == (0.0, 1.0)
    assert crossed(np.ones((3, 5))).p(1.0) == 0.0


@pytest.mark.parametrize("seeds", [2, 3, 5])
@pytest.mark.parametrize(
    ("of_seeds", "of_documents", "rest"), [(0.0, 1.0, 1.0), (0.3, 1.0, 1.0), (0.3, 0.0, 1.0), (0.05, 0.5, 0.0)]
)
def test_the_interval_covers(seeds, of_seeds, of_documents, rest):
    """1,500 made-up studies with known components: 95% intervals hold the mean in about 95% or more."""
    rng = np.random.default_rng(2)
    held = agree = 0
    for _ in range(1500):
        values = (
            of_seeds * rng.normal(size=(seeds, 1))
            + of_documents * rng.normal(size=(1, 60))
            + rest * rng.normal(size=(seeds, 60))
        )
        found, mean = crossed(values), float(values.mean())
        inside = abs(mean) <= found.quantile(0.975) * found.error
        held += inside
        agree += inside == (found.p(mean) >= 0.05)
    assert 0.92 <= held / 1500 <= 1.0
    assert agree == 1500


def test_what_it_is_called():
    assert METHOD == "documents x seeds"


def agreeing(gained, lost, n=300, seeds=3):
    """A variant and a baseline of right/wrong outcomes in which all seeds agree."""
    ours = [1.0] * gained + [0.0] * lost + [1.0] * (n - gained - lost)
    theirs = [0.0] * gained + [1.0] * lost + [1.0] * (n - gained - lost)
    return np.array([ours] * seeds), np.array([theirs] * seeds)


@pytest.mark.parametrize(("gained", "lost"), [(0, 0), (4, 0), (5, 0), (6, 0), (20, 5)])
def test_seeds_that_agree_say_no_more_than_one_of_them(gained, lost):
    """Rare changes have no normal distribution: the exact test of one cell bounds what its copies may claim."""
    ours, theirs = agreeing(gained, lost)
    pooled, alone = compare_seeds(ours, theirs), compare(ours[0].tolist(), theirs[0].tolist())
    assert pooled.p >= alone.p
    assert pooled.difference.low <= alone.difference.low
    assert pooled.difference.high >= alone.difference.high
    assert pooled.resolvable >= alone.resolvable
    assert (pooled.gained, pooled.lost) == (3 * gained, 3 * lost)


def test_changes_by_chance_are_seldom_resolved():
    """Right/wrong outcomes of which three in a hundred change, as many each way: at most 5% come out below 0.05."""
    rng = np.random.default_rng(3)
    found = 0
    for _ in range(600):
        base = np.ones((3, 200)) * (rng.random(200) < 0.6)
        documents = rng.random(200) < 0.03
        flips = documents[None] & (rng.random((3, 200)) < 0.8)
        ours = np.where(flips, rng.random((3, 200)) < 0.5, base)
        found += compare_seeds(ours, base).p < 0.05
    assert found / 600 <= 0.05
