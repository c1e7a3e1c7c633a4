"""Majorities, ties, and agreement against statsmodels."""

import random

import pytest

from harness.lora_par.votes import fleiss_kappa, majority, settled

ONE, TWO = "system1", "system2"


@pytest.mark.parametrize(
    ("votes", "most"),
    [
        ([ONE, ONE, TWO], ONE),
        ([TWO, None, None], TWO),
        ([ONE, TWO], None),
        ([ONE, TWO, None], None),
        ([None, None], None),
        ([], None),
    ],
)
def test_the_majority(votes, most):
    assert majority(votes) == most


def test_ties_follow_the_rule_and_majorities_do_not():
    assert [settled([ONE, TWO], rule) for rule in (ONE, TWO, "drop")] == [ONE, TWO, None]
    assert [settled([ONE, ONE, TWO], rule) for rule in (ONE, TWO, "drop")] == [ONE] * 3


@pytest.mark.parametrize("raters", [2, 3, 5])
def test_kappa_is_that_of_statsmodels(raters):
    inter_rater = pytest.importorskip("statsmodels.stats.inter_rater")
    rng = random.Random(raters)
    votes = [[ONE if rng.random() < share else TWO for _ in range(raters)] for share in [0.1, 0.5, 0.9] * 40]
    table = [[row.count(ONE), row.count(TWO)] for row in votes]
    assert fleiss_kappa(votes) == pytest.approx(inter_rater.fleiss_kappa(table), abs=1e-12)
    unread = [[None] * raters, [ONE] * (raters - 1) + [None]]
    assert fleiss_kappa(votes + unread) == fleiss_kappa(votes)


def test_kappa_by_hand():
    """Two raters, four items, agreeing on three: P = 3/4, shares 5/8 and 3/8, chance 34/64; (48-34)/(64-34) = 7/15."""
    assert fleiss_kappa([[ONE, ONE], [ONE, ONE], [ONE, TWO], [TWO, TWO]]) == pytest.approx(7 / 15)


def test_kappa_says_nothing_where_there_is_nothing_to_say():
    assert fleiss_kappa([[ONE, ONE], [ONE, ONE]]) is None
    assert fleiss_kappa([[ONE], [TWO]]) is None
    assert fleiss_kappa([]) is None
    assert fleiss_kappa([[ONE, ONE], [TWO, TWO]]) == 1.0
