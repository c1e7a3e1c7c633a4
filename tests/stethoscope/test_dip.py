"""The dip against its definition, solved as linear programs, one for each place of the mode."""

from itertools import pairwise

import numpy as np
import pytest
from scipy.optimize import linprog

from harness.stethoscope.dip import dip, dip_test, uniform_dips


def by_definition(sample):
    """The least distance of any distribution that is convex before a mode and concave after it."""
    return min(_with_mode(np.sort(sample), mode) for mode in range(len(sample)))


def _with_mode(x, mode):
    n = len(x)
    below, above = np.arange(n) / n, np.arange(1, n + 1) / n
    # Unknown: the function at each value (at the mode: before its jump), after the mode's jump, the distance.
    after, distance, rows, bounds = n, n + 1, [], []

    def at_most(terms, bound):
        row = np.zeros(n + 2)
        for index, factor in terms:
            row[index] += factor
        rows.append(row)
        bounds.append(bound)

    for i in range(n):
        # Continuous but at the mode, so it meets the sample's function on both sides of the jump.
        at_most([(after if i == mode else i, -1), (distance, -1)], -above[i])
        at_most([(i, 1), (distance, -1)], below[i])
    at_most([(mode, -1), (distance, -1)], -below[mode])
    at_most([(after, 1), (distance, -1)], above[mode])
    at_most([(mode, 1), (after, -1)], 0)
    left, right = list(range(mode + 1)), [after, *range(mode + 1, n)]
    for indices, places, sign in ((left, x[: mode + 1], 1), (right, x[mode:], -1)):
        for a, b in pairwise(indices):
            at_most([(a, 1), (b, -1)], 0)
        for j in range(1, len(indices) - 1):
            before, behind = 1 / (places[j] - places[j - 1]), 1 / (places[j + 1] - places[j])
            slopes = [(indices[j], before + behind), (indices[j - 1], -before), (indices[j + 1], -behind)]
            at_most([(i, sign * v) for i, v in slopes], 0)
    cost = np.zeros(n + 2)
    cost[distance] = 1
    return linprog(cost, A_ub=np.array(rows), b_ub=bounds, bounds=(None, None)).fun


@pytest.mark.parametrize("kind", ["normal", "uniform", "two", "exponential", "three"])
def test_is_the_least_distance_to_one_mode(kind):
    generator = np.random.default_rng(len(kind))
    for _ in range(8):
        n = int(generator.integers(2, 16))
        x = generator.exponential(size=n) if kind == "exponential" else generator.normal(size=n)
        if kind == "uniform":
            x = generator.random(n)
        if kind in ("two", "three"):
            x += 6.0 * generator.integers(0, 2 if kind == "two" else 3, n)
        assert dip(x) == pytest.approx(by_definition(x), abs=1e-9)


def test_bounds_and_invariance():
    generator = np.random.default_rng(0)
    x = generator.normal(size=500)
    assert 1 / 1000 <= dip(x) <= 0.25
    assert dip(3 * x - 7) == pytest.approx(dip(x))
    assert dip(-x) == pytest.approx(dip(x))
    # Two points far apart, each a cloud: the worst there is.
    assert dip(np.concatenate([x * 1e-6, x * 1e-6 + 1])) == pytest.approx(0.25, abs=2e-3)
    assert dip(np.arange(10.0)) == pytest.approx(1 / 20)
    assert dip(np.array([3.0])) == 0.5


@pytest.mark.parametrize("bad", [[], [1.0, float("nan")], [1.0, float("inf")], [1.0, 1.0]])
def test_what_has_no_dip_is_refused(bad):
    with pytest.raises(ValueError, match="finite and distinct"):
        dip(np.array(bad))


def test_p_tells_one_peak_from_two():
    generator = np.random.default_rng(1)
    one = generator.normal(size=300)
    two = np.concatenate([one, generator.normal(size=300) + 5])
    assert dip_test(one, draws=199)[1] > 0.2
    assert dip_test(two, draws=199)[1] == 1 / 200


def test_p_is_uniform_where_the_sample_is():
    """The least favourable case: of 200 uniform samples about a tenth falls below 0.1."""
    generator = np.random.default_rng(2)
    small = sum(dip_test(generator.random(60), draws=199)[1] <= 0.1 for _ in range(200))
    assert 8 <= small <= 34  # beyond: less than one in 10,000 by the binomial


def test_reference_depends_on_its_seed_alone():
    assert np.array_equal(uniform_dips(50, 20, 3), uniform_dips.__wrapped__(50, 20, 3))
    assert not np.array_equal(uniform_dips(50, 20, 3), uniform_dips(50, 20, 4))
