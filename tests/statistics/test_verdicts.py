"""Laws that verdicts on statements obey, and their error rates in simulation."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.statistics import DIRECTIONS, compare, judge

TURNED = {
    "above": "below", "below": "above", "not_below": "not_above", "not_above": "not_below", "alike": "alike",
}  # fmt: skip
OPPOSITE = {"above": "not_above", "below": "not_below", "not_below": "below", "not_above": "above"}
WORDS = {"supported": "contradicted", "contradicted": "supported", "unresolved": "unresolved"}
FLIPS = st.tuples(st.integers(0, 60), st.integers(0, 60), st.integers(20, 200))


def outcomes(gained, lost, same):
    return [1.0] * gained + [0.0] * lost + [1.0] * same, [0.0] * gained + [1.0] * lost + [1.0] * same


@given(FLIPS, st.sampled_from(DIRECTIONS), st.floats(0.01, 0.3))
def test_turned_around_it_says_the_same(flips, direction, margin):
    a, b = outcomes(*flips)
    one, other = judge(compare(a, b), direction, margin), judge(compare(b, a), TURNED[direction], margin)
    assert (one.verdict, one.needed) == (other.verdict, other.needed)
    assert one.p == pytest.approx(other.p)


@given(FLIPS, st.sampled_from(sorted(OPPOSITE)), st.floats(0.0, 0.3))
def test_the_opposite_statement_has_the_opposite_verdict(flips, direction, margin):
    c = compare(*outcomes(*flips))
    one, other = judge(c, direction, margin), judge(c, OPPOSITE[direction], margin)
    assert other.verdict == WORDS[one.verdict]
    assert (one.p, one.p_against) == (other.p_against, other.p)


@given(FLIPS, st.sampled_from(DIRECTIONS), st.floats(0.01, 0.3))
def test_what_is_unresolved_says_how_many_more(flips, direction, margin):
    c = compare(*outcomes(*flips))
    found = judge(c, direction, margin)
    if found.verdict != "unresolved":
        assert found.needed is None
    elif found.needed is not None:
        assert found.needed > c.difference.n


def test_examples():
    better = compare(*outcomes(40, 5, 155))
    assert judge(better, "above").verdict == "supported"
    assert judge(better, "below").verdict == "contradicted"
    assert judge(better, "above", margin=0.15).verdict == "unresolved"
    assert judge(better, "not_above", margin=0.05).verdict == "contradicted"
    same = compare(*outcomes(1, 1, 498))
    assert judge(same, "alike", margin=0.02).verdict == "supported"
    assert judge(same, "not_below", margin=0.02).verdict == "supported"
    # Not significant is no support: few documents do not show that nothing changed.
    assert judge(compare(*outcomes(1, 1, 18)), "alike", margin=0.02).verdict == "unresolved"
    assert judge(better, "alike", margin=0.02).verdict == "contradicted"


def test_a_stricter_level_resolves_less():
    c = compare(*outcomes(14, 4, 182))
    assert judge(c, "above").verdict == "supported"
    assert judge(c, "above", level=0.005).verdict == "unresolved"


@pytest.mark.parametrize(("direction", "margin"), [("alike", 0.0), ("above", -0.1), ("better", 0.0)])
def test_statements_that_cannot_be(direction, margin):
    with pytest.raises(ValueError, match=r"margin|unknown direction"):
        judge(compare(*outcomes(1, 1, 8)), direction, margin)


@pytest.mark.parametrize(("up", "down", "direction", "margin"), [
    (0.05, 0.05, "above", 0.0), (0.03, 0.08, "not_below", 0.05), (0.10, 0.05, "alike", 0.05),
])  # fmt: skip
def test_on_the_edge_of_a_statement_it_is_seldom_supported(up, down, direction, margin):
    """The true difference is the bound itself: either verdict is an error, each in at most 2.5% of runs (and noise)."""
    rng, found = np.random.default_rng(7), []
    for _ in range(800):
        drawn = rng.choice([1.0, -1.0, 0.0], size=300, p=[up, down, 1 - up - down])
        c = compare(np.maximum(drawn, 0), np.maximum(-drawn, 0))
        found.append(judge(c, direction, margin).verdict)
    assert found.count("supported") / 800 <= 0.04
    assert found.count("contradicted") / 800 <= 0.04
