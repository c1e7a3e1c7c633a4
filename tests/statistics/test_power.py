"""Brute force over every outcome, and simulation, as oracles."""

from itertools import product

import numpy as np
import pytest
from scipy import stats

from harness.statistics import compare, documents_for, mcnemar_power, needed


def test_power_against_every_possible_table():
    """All 3^8 ways in which eight documents can gain, lose or stay."""
    n, changed, effect = 8, 0.9, 0.8
    up, down = (changed + effect) / 2, (changed - effect) / 2
    total = 0.0
    for ways in product((1, -1, 0), repeat=n):
        gained, lost = ways.count(1), ways.count(-1)
        p = stats.binomtest(gained, gained + lost, 0.5).pvalue if gained + lost else 1.0
        if p <= 0.05 and gained > lost:
            total += up**gained * down**lost * (1 - changed) ** (n - gained - lost)
    assert mcnemar_power(n, changed, effect) == pytest.approx(total, abs=1e-9)


@pytest.mark.parametrize(("effect", "changed", "level"), [(0.02, 0.05, 0.05), (0.05, 0.2, 0.05), (0.05, 0.06, 0.005)])
def test_planned_documents_have_the_power_in_simulation(effect, changed, level):
    n = documents_for(effect, changed, level)
    rng = np.random.default_rng(0)
    gained, lost, _ = rng.multinomial(n, [(changed + effect) / 2, (changed - effect) / 2, 1 - changed], size=4000).T
    both = gained + lost
    p = np.minimum(1, 2 * stats.binom.cdf(np.minimum(gained, lost), both, 0.5))
    assert np.mean(p < level) == pytest.approx(0.80, abs=0.02)


def test_more_changes_more_noise():
    counts = [documents_for(0.05, changed) for changed in (0.05, 0.1, 0.2, 0.4)]
    assert counts == sorted(counts)
    # Connor (1987): the normal approximation is near where many documents change.
    d, pd = 0.05, 0.4
    z = stats.norm.ppf(0.975) * np.sqrt(pd) + stats.norm.ppf(0.8) * np.sqrt(pd - d * d)
    assert counts[-1] == pytest.approx((z / d) ** 2, rel=0.05)


def test_needed_documents_resolve_the_difference_that_was_seen():
    rng = np.random.default_rng(1)
    up, down, n = 0.06, 0.03, 200
    flips = np.array([1.0] * 12 + [-1.0] * 6 + [0.0] * 182)
    more = needed(compare(np.maximum(flips, 0), np.maximum(-flips, 0)))
    assert more > n
    found = []
    for _ in range(400):
        drawn = rng.choice([1.0, -1.0, 0.0], size=more, p=[up, down, 1 - up - down])
        found.append(compare(np.maximum(drawn, 0), np.maximum(-drawn, 0)).p < 0.05)
    assert 0.74 <= np.mean(found) <= 0.90


def test_no_number_of_documents_resolves_nothing():
    same = compare([1.0, 0.0], [0.0, 1.0])
    assert needed(same) is None
    assert needed(same, 1e-308) is None


@pytest.mark.parametrize(("effect", "changed"), [(0.0, 0.1), (0.2, 0.1), (0.1, 1.5)])
def test_plans_that_cannot_be(effect, changed):
    with pytest.raises(ValueError, match="the effect must be above 0"):
        documents_for(effect, changed)


def test_a_power_that_cannot_be():
    with pytest.raises(ValueError, match="power 1 and level"):
        documents_for(0.1, 0.2, power=1.0)
